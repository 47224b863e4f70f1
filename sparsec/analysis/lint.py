"""What is legal but odd about a pattern, as far as it can be proved.

Integer sets are loaded only where a look at a few points does not settle the matter; what exceeds its budget is
not reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

from sparsec.analysis.replaced import replaced
from sparsec.analysis.samples import differ, sees_itself
from sparsec.diagnostics import AddsNothing, Diagnostic, EmptyPattern, Fix, NotCausal, RowsWithoutKeys, SparsecError
from sparsec.ir import nodes as ir
from sparsec.ir.lower_lint import past_only
from sparsec.syntax import ast
from sparsec.syntax.repair import removal

_OPERATIONS = 50_000  # isl steps for one proof
_MOST_CONDITIONS = 8
_MOST_LOWERED = 400  # conditions lowered anew, over all operands and heads
_MOST_TABLES = 3
_PAST_WORDS = {"causal", "past", "autoregressive", "unidirectional"}
_NOT_WORDS = {"non", "not", "no", "un", "anti"}

Lower = Callable[[ast.File], ir.Pattern]


def lint(file: ast.File, pattern: ir.Pattern, lower: Lower) -> list[Diagnostic]:
    """Warnings about one pattern of a file; `lower` makes it from a changed file, SparsecError where that fails."""
    definition = next(each for each in file.definitions if each.kind == "pattern" and each.name == pattern.name)
    return [
        *_without_keys(definition, pattern),
        *_not_causal(definition, pattern),
        *_adds_nothing(file, definition, pattern, lower),
    ]


def _without_keys(definition: ast.Definition, pattern: ir.Pattern) -> Iterator[Diagnostic]:
    """The shortest call in which some query has no key, whatever the tables list; or that none ever has one."""
    doubtful = [condition for condition in pattern.conditions if not sees_itself(condition)]
    found = [witness for condition in doubtful[:_MOST_CONDITIONS] if (witness := _asked("lonely_row", condition))]
    if len(found) == len(pattern.conditions) and all(_asked("no_pair", condition) for condition in pattern.conditions):
        yield EmptyPattern(name=definition.name, span=definition.name_span)
    elif found:
        first = min(found, key=lambda witness: (witness.n, witness.q))
        fix = Fix("let each query see itself", definition.body.span, f"{definition.body.span.text} | k == q")
        yield RowsWithoutKeys(row=first.q, n=first.n, span=definition.body.span, fixes=(fix,))


def _not_causal(definition: ast.Definition, pattern: ir.Pattern) -> Iterator[Diagnostic]:
    words = re.findall(r"[a-z]+", definition.name.lower())
    if not _PAST_WORDS & set(words) or _NOT_WORDS & set(words):
        return
    doubtful = [condition for condition in pattern.conditions if not past_only(condition)]
    found = [witness for condition in doubtful[:_MOST_CONDITIONS] if (witness := _asked("sure_later_key", condition))]
    if found:
        first = min(found, key=lambda witness: (witness.n, witness.q, witness.k))
        body = definition.body.span
        fix = Fix("leave out later keys", body, f"k <= q & ({body.text})")
        yield NotCausal(name=definition.name, q=first.q, k=first.k, span=definition.name_span, fixes=(fix,))


def _asked(question: str, condition: ir.Set):
    from sparsec.sets import queries
    from sparsec.sets.context import OutOfBudget, budget

    try:
        with budget(_OPERATIONS):
            return getattr(queries, question)(condition)
    except OutOfBudget:
        return None


def _adds_nothing(
    file: ast.File, definition: ast.Definition, pattern: ir.Pattern, lower: Lower
) -> Iterator[Diagnostic]:
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
