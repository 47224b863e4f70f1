"""Parts of a pattern without which it is proved to be the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

from sparsec.analysis.replaced import replaced
from sparsec.analysis.samples import differ
from sparsec.diagnostics import AddsNothing, Diagnostic, Fix, SparsecError
from sparsec.ir import nodes as ir
from sparsec.syntax import ast
from sparsec.syntax.repair import removal

_OPERATIONS = 50_000  # isl steps for one proof
_MOST_LOWERED = 400  # conditions lowered anew, over all operands and heads
_MOST_TABLES = 3

Lower = Callable[[ast.File], ir.Pattern]


def adds_nothing(file: ast.File, definition: ast.Definition, pattern: ir.Pattern, lower: Lower) -> Iterator[Diagnostic]:
    """Operands of unions, and what `\\` takes away, without which the pattern is the same for every head.

    Later operands go first, each from what the others left.
    """
    found = list(operands(definition.body))
    if len(found) * max(1, len(pattern.head_conditions)) > _MOST_LOWERED:
        return
    dropped: list[ast.Expr] = []

    def needless(parts: list[ast.Expr]) -> bool:
        body = without(definition.body, parts)
        if body is None:
            return False
        declarations = tuple(replace(each, body=body) if each is definition else each for each in file.declarations)
        try:
            return _same(pattern, lower(replace(file, declarations=declarations)))
        except SparsecError:  # nothing is left of it, say
            return False

    for operand in reversed(found):
        if needless([*dropped, operand]):
            alone = not dropped or needless([operand])  # it may need the others to go first
            dropped.append(operand)
            fixes = (Fix("remove it", removal(operand.span, definition.span), ""),) if alone else ()
            yield AddsNothing(operand=_short(operand.span.text), span=operand.span, fixes=fixes)


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
    heads = range(one.heads or other.heads or 1)
    pairs = dict.fromkeys((_of_head(one, head), _of_head(other, head)) for head in heads)
    return all(first == second or _equal(first, second) for first, second in pairs)


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


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else words[:57] + "..."
