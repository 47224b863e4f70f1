"""Parts of a pattern without which it is proved to be the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sparsec.analysis.difference import difference
from sparsec.diagnostics import AddsNothing, Diagnostic, EmptyPattern, Fix, SparsecError
from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.lint.subject import Subject
from sparsec.lint.unbound import Unbound
from sparsec.lower.file import Keywords
from sparsec.syntax import ast
from sparsec.syntax.errors.repair import removal

_MOST_COMPARED = 400  # conditions, over all operands and heads
_MOST_LOOKS = 400_000  # at a part at a point, over all operands
_MOST_UNDECIDED = 8  # proofs that may end without an answer
_MOST_SAID = 20
_MOST_HEADS, _MOST_LAYERS = 4096, 12  # of the bindings that are tried


def adds_nothing(subject: Subject) -> Iterator[Diagnostic]:
    """Operands of unions, and what `\\` takes away, without which the pattern is the same for every head.

    Later operands go first, each from what the others left.  Those come with an edit that are needless whatever the
    text is bound to; of the others it is said what they are needless for, unless other heads or layers need them.
    """
    found = list(operands(subject.definition.body))
    if len(found) * max(1, len(subject.pattern.head_conditions)) > _MOST_COMPARED:
        return
    try:
        needless = _Needless(subject, Unbound(subject.entry), _MOST_LOOKS // max(1, len(found)))
    except SparsecError:
        return
    here_only: list[ast.Expr] = []
    dropped: list[ast.Expr] = []
    for operand in reversed(found):
        if needless.undecided >= _MOST_UNDECIDED or len(dropped) == _MOST_SAID:
            break
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

    def __init__(self, subject: Subject, unbound: Unbound, most_looks: int) -> None:
        """`most_looks` are taken for a difference before a proof.  May raise SparsecError."""
        self.subject, self.unbound, self.most_looks = subject, unbound, most_looks
        self.undecided = 0  # proofs that ended without an answer
        body = subject.definition.body
        values = {id(part): self._value(part) for part in _parts(body) if not _joined(part)}
        heads = range(subject.pattern.heads or 1)
        self.heads = {tuple(_index(value, head) for value in values.values()): head for head in heads}.values()
        self.known = {  # by node of the pattern's own body
            (part, head): ir.FALSE if value is None else value.conditions[_index(value, head)]
            for part, value in values.items()
            for head in self.heads
        }
        for part in _parts(body):
            self.known |= {(id(part), head): self._condition(part, head) for head in self.heads}

    def here(self, parts: list[ast.Expr]) -> bool:
        """Proved for the pattern as it is bound."""
        whole = self.subject.definition.body
        body = without(whole, parts)
        if body is None:
            return False
        pairs = [(self._condition(whole, head), self._condition(body, head)) for head in self.heads]
        return any(other != ir.FALSE for _, other in pairs) and self._same(pairs)

    def _value(self, part: ast.Expr) -> ir.Pattern | None:
        """A part of the body as a pattern; None where it is empty."""
        try:
            return self.subject.lower(self.subject.scope_with(part))
        except SparsecError as error:
            if all(isinstance(each, EmptyPattern) for each in error.diagnostics):
                return None
            raise

    def _condition(self, node: ast.Expr, head: int) -> ir.Set:
        """What a body that is made of parts of the pattern's own lowers to."""
        if (known := self.known.get((id(node), head))) is not None:
            return known
        match node:
            case ast.Union(parts):
                return algebra.disjunction(*(self._condition(part, head) for part in parts))
            case ast.Binary("&", left, right):
                return algebra.conjunction(self._condition(left, head), self._condition(right, head))
            case ast.Binary("\\", left, right):
                return algebra.conjunction(
                    self._condition(left, head), algebra.complement(self._condition(right, head))
                )
        raise KeyError(f"no part of the pattern: {node!r}")

    def _same(self, pairs: Iterable[tuple[ir.Set, ir.Set]]) -> bool:
        """Whether the conditions of each pair are proved to keep the same pairs of positions."""
        return all(one == other or self._equal(one, other) for one, other in pairs)

    def _equal(self, one: ir.Set, other: ir.Set) -> bool:
        between = difference(one, other)
        if between.seen(self.most_looks):
            return False
        from sparsec.sets import budgets
        from sparsec.sets.context import OutOfBudget, budget

        try:
            with budget(budgets.scaled(budgets.WARNING, *between.parts)):
                return between.none()
        except OutOfBudget:
            self.undecided += 1
            return False

    def ever(self, parts: list[ast.Expr]) -> bool:
        """Proved for all parameters, heads and layers, of parts that are needless here."""
        if not self.subject.is_open:
            return True
        whole = self.subject.definition.body
        body = without(whole, parts)
        if body is None or not self.unbound.possible:
            return False
        before, after = (self.subject.with_body(self.unbound.body(each)) for each in (whole, body))
        return before is not None and after is not None and self._same(_pairs(before, after))

    def elsewhere(self, parts: list[ast.Expr]) -> bool:
        """Whether some other heads or layer are seen to need the parts."""
        body = without(self.subject.definition.body, parts)
        tried: set[tuple[ir.Set, ir.Set]] = set()
        for other in _others(self.subject):
            try:
                whole = self.subject.lower(self.subject.entry.scope, **other)
            except SparsecError:
                continue
            if body is None:  # nothing is left
                return True
            try:
                rest = self.subject.lower(self.subject.scope_with(body), **other)
            except SparsecError:  # nothing is left
                return True
            new = {pair for pair in _pairs(whole, rest) if pair[0] != pair[1]} - tried
            if any(difference(*pair).seen() for pair in new):
                return True
            tried |= new
        return False


def _others(subject: Subject) -> Iterator[Keywords]:
    """Other numbers of heads, other layers and numbers of layers that the text can be bound to."""
    counts = subject.lower.counts
    if subject.varies & {"h", "H"}:
        yield from (Keywords(heads=heads) for heads in (2 * counts["H"], 32) if heads <= _MOST_HEADS)
    if "layer" in subject.varies:
        yield from (Keywords(layer=layer) for layer in range(min(counts.get("L", _MOST_LAYERS), _MOST_LAYERS)))
    if "L" in subject.varies:
        first = counts.get("layer", 0)
        yield from (Keywords(layers=layers) for layers in (counts["L"] + 1, 2 * counts["L"]) if layers > first)


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


def _joined(node: ast.Expr) -> tuple[ast.Expr, ...]:
    """What a union, `&` or `\\` joins; nothing for another node."""
    if isinstance(node, ast.Union):
        return node.parts
    return (node.left, node.right) if isinstance(node, ast.Binary) and node.op in ("&", "\\") else ()


def _parts(node: ast.Expr) -> Iterator[ast.Expr]:
    """A body, and what unions, `&` and `\\` join to make it; the inner ones first."""
    for part in _joined(node):
        yield from _parts(part)
    yield node


def without(node: ast.Expr, dropped: list[ast.Expr]) -> ast.Expr | None:
    """`node` without the dropped operands; None where nothing is left of it."""
    return _left(node, frozenset(map(id, dropped)))


def _left(node: ast.Expr, dropped: frozenset[int]) -> ast.Expr | None:
    if id(node) in dropped:
        return None
    match node:
        case ast.Union(parts):
            here = [part for part in parts if id(part) not in dropped]
            if len(here) + len(dropped) > len(parts):  # some are further inside
                here = [left for part in here if (left := _left(part, dropped)) is not None]
            kept = tuple(here)
            return replace(node, parts=kept) if len(kept) > 1 else kept[0] if kept else None
        case ast.Binary("&" | "\\" as op, left, right):
            rest, taken = _left(left, dropped), _left(right, dropped)
            if rest is None or taken is None:
                return rest if op == "\\" else None
            return node if rest is left and taken is right else replace(node, left=rest, right=taken)
    return node


def _pairs(one: ir.Pattern, other: ir.Pattern) -> dict[tuple[ir.Set, ir.Set], None]:
    """The conditions of both for each head, every pair of them once."""
    heads = range(one.heads or other.heads or 1)
    return dict.fromkeys((one.conditions[_index(one, head)], other.conditions[_index(other, head)]) for head in heads)


def _index(pattern: ir.Pattern | None, head: int) -> int:
    """Which of the conditions is the head's."""
    return pattern.head_conditions[head] if pattern and pattern.head_conditions else 0
