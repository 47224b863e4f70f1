"""Parts of a pattern without which it is proved to be the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from sparsec.analysis.replaced import replaced
from sparsec.analysis.samples import differ
from sparsec.analysis.subject import Subject
from sparsec.analysis.unbound import Unbound
from sparsec.diagnostics import AddsNothing, Diagnostic, Fix, SparsecError
from sparsec.ir import nodes as ir
from sparsec.syntax import ast
from sparsec.syntax.repair import removal

_OPERATIONS = 50_000  # isl steps for one proof
_MOST_LOWERED = 400  # conditions lowered anew, over all operands and heads
_MOST_TABLES = 3
_MOST_HEADS, _MOST_LAYERS = 4096, 12  # of the bindings that are tried


def adds_nothing(subject: Subject) -> Iterator[Diagnostic]:
    """Operands of unions, and what `\\` takes away, without which the pattern is the same for every head.

    Later operands go first, each from what the others left.  Those come with an edit that are needless whatever the
    text is bound to; of the others it is said what they are needless for, unless other heads or layers need them.
    """
    found = list(operands(subject.definition.body))
    if len(found) * max(1, len(subject.pattern.head_conditions)) > _MOST_LOWERED:
        return
    needless = _Needless(subject, Unbound(subject.entry))
    here_only: list[ast.Expr] = []
    dropped: list[ast.Expr] = []
    for operand in reversed(found):
        if not needless.here([*dropped, operand]):
            continue
        if not needless.ever([*dropped, operand]):
            here_only.append(operand)
            continue
        alone = not dropped or needless.ever([operand])  # it may need the others to go first
        dropped.append(operand)
        span = subject.definition.span
        fixes = (Fix("remove it", removal(operand.span, span), "", safe=True),) if alone else ()
        yield AddsNothing(operand=operand.span.brief, span=operand.span, fixes=fixes)
    for operand in here_only:
        if needless.here([*dropped, operand]) and not needless.elsewhere([*dropped, operand]):
            dropped.append(operand)
            yield AddsNothing(operand=operand.span.brief, where=subject.where(), span=operand.span)


class _Needless:
    """Whether a pattern is the same without some of its operands: here, for every binding, or not for another one."""

    def __init__(self, subject: Subject, unbound: Unbound) -> None:
        self.subject, self.unbound = subject, unbound

    def here(self, parts: list[ast.Expr]) -> bool:
        """Proved for the pattern as it is bound."""
        body = without(self.subject.definition.body, parts)
        rest = self.subject.with_body(body) if body is not None else None
        return rest is not None and _same(self.subject.pattern, rest)

    def ever(self, parts: list[ast.Expr]) -> bool:
        """Proved for all parameters, heads and layers, of parts that are needless here."""
        if not self.subject.is_open:
            return True
        whole = self.subject.definition.body
        body = without(whole, parts)
        if body is None or not self.unbound.possible:
            return False
        whole, rest = (self.subject.with_body(self.unbound.body(each)) for each in (whole, body))
        return whole is not None and rest is not None and _same(whole, rest)

    def elsewhere(self, parts: list[ast.Expr]) -> bool:
        """Whether some other heads or layer are seen to need the parts."""
        body = without(self.subject.definition.body, parts)
        tried: set[tuple[ir.Set, ir.Set]] = set()
        for other in _others(self.subject):
            try:
                whole = self.subject.lower(self.subject.entry.scope, **other)
            except SparsecError:
                continue
            try:
                rest = self.subject.lower(self.subject.scope_with(body), **other)
            except SparsecError:  # nothing is left
                return True
            new = {pair for pair in _pairs(whole, rest) if pair[0] != pair[1]} - tried
            if any(differ(*pair) for pair in new):
                return True
            tried |= new
        return False


def _others(subject: Subject) -> Iterator[dict[str, int]]:
    """Other numbers of heads, other layers and numbers of layers that the text can be bound to."""
    counts = subject.lower.counts
    if subject.varies & {"h", "H"}:
        yield from ({"heads": heads} for heads in (2 * counts["H"], 32) if heads <= _MOST_HEADS)
    if "layer" in subject.varies:
        yield from ({"layer": layer} for layer in range(min(counts.get("L", _MOST_LAYERS), _MOST_LAYERS)))
    if "L" in subject.varies:
        first = counts.get("layer", 0)
        yield from ({"layers": layers} for layers in (counts["L"] + 1, 2 * counts["L"]) if layers > first)


def operands(node: ast.Expr) -> Iterator[ast.Expr]:
    """Parts of unions and right sides of `\\`, in the order of writing."""
    match node:
        case ast.Union(parts):
            for part in parts:
                yield part
                yield from operands(part)
        case ast.Binary("\\", left, right):
            yield from operands(left)
            yield right
        case ast.Binary("&", left, right):
            yield from operands(left)
            yield from operands(right)


def without(node: ast.Expr, dropped: list[ast.Expr]) -> ast.Expr | None:
    """`node` without the dropped operands; None where nothing is left of it."""
    if any(node is each for each in dropped):
        return None
    match node:
        case ast.Union(parts):
            kept = tuple(part for part in (without(part, dropped) for part in parts) if part is not None)
            return replace(node, parts=kept) if len(kept) > 1 else kept[0] if kept else None
        case ast.Binary("&" | "\\" as op, left, right):
            left, right = without(left, dropped), without(right, dropped)
            if left is None or right is None:
                return left if op == "\\" else None
            return replace(node, left=left, right=right)
    return node


def _same(one: ir.Pattern, other: ir.Pattern) -> bool:
    """Whether two patterns are proved to keep the same pairs for every head."""
    return all(first == second or _equal(first, second) for first, second in _pairs(one, other))


def _pairs(one: ir.Pattern, other: ir.Pattern) -> dict[tuple[ir.Set, ir.Set], None]:
    """The conditions of both for each head, every pair of them once."""
    heads = range(one.heads or other.heads or 1)
    return dict.fromkeys((_of_head(one, head), _of_head(other, head)) for head in heads)


def _of_head(pattern: ir.Pattern, head: int) -> ir.Set:
    return pattern.conditions[pattern.head_conditions[head] if pattern.head_conditions else 0]


def _equal(one: ir.Set, other: ir.Set) -> bool:
    tables = tuple(dict.fromkeys((*ir.leaves(one), *ir.leaves(other))))
    if len(tables) > _MOST_TABLES or differ(one, other):
        return False
    from sparsec.sets.context import OutOfBudget, budget
    from sparsec.sets.convert import reachable

    # A pair is in a table or not: equal in all cases is equal.
    for values in product((ir.TRUE, ir.FALSE), repeat=len(tables)):
        case = dict(zip(tables, values, strict=True))
        try:
            with budget(_OPERATIONS):
                if not reachable(replaced(one, case)).is_equal(reachable(replaced(other, case))):
                    return False
        except OutOfBudget:
            return False
    return True
