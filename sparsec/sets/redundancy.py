"""Conditions without redundant operands: those that the rest, or what is known already, makes needless.

    simplify(past(9) & causal) = past(9)
    given(~past(128), causal & stride(128)) = q - k >= 128

Only what integer sets prove to be needless goes.  What is left is as it was written, since people read it again in the
generated kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import TypeVar

import islpy as isl

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.sets import budgets
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.to_isl import reachable

_MOST_PARTS = 16  # the number of proofs grows with the square

Part = TypeVar("Part")


def irredundant(parts: Iterable[Part], needless: Callable[[Part, list[Part]], bool]) -> list[Part]:
    """The parts without each that is needless beside the rest, which is asked for one part after the other."""
    kept = list(parts)
    for part in list(kept):
        rest = [other for other in kept if other is not part]
        if needless(part, rest):
            kept = rest
    return kept


def _irredundant_from_last(parts: Iterable[Part], needless: Callable[[Part, list[Part]], bool]) -> list[Part]:
    """Later operands go first, as the less important ones; one stays."""
    asked = irredundant(reversed(list(parts)), lambda part, rest: bool(rest) and needless(part, rest[::-1]))
    return asked[::-1]


# ---------------------------------------------------------------- in all calls


def simplify(condition: ir.Set) -> ir.Set:
    """A condition with the same pairs in 0 <= q, 0 <= k < n, without needless operands.

    Non-goals: no reordering, no rewriting of comparisons; tables are left alone.
    """
    if ir.leaves(condition):
        return condition
    try:
        with budget(budgets.SIMPLIFY):
            return _simplified(condition, reachable(condition))
    except OutOfBudget:
        return condition


def _simplified(condition: ir.Set, pairs: isl.Set) -> ir.Set:
    """`condition`, whose pairs are `pairs`, without what adds nothing."""
    if pairs.is_empty():
        return ir.FALSE
    if reachable(ir.TRUE).is_subset(pairs):
        return ir.TRUE
    if not isinstance(condition, ir.And | ir.Or) or len(condition.parts) > _MOST_PARTS:
        return condition
    join = isl.Set.intersect if isinstance(condition, ir.And) else isl.Set.union
    operands = [(part, reachable(part)) for part in condition.parts]
    kept = _irredundant_from_last(operands, lambda _, rest: reduce(join, (some for _, some in rest)).is_equal(pairs))
    simple = [_simplified(part, some) if isinstance(part, ir.And | ir.Or) else part for part, some in kept]
    return simple[0] if len(simple) == 1 else type(condition)(tuple(simple))


# ---------------------------------------------------------------- where some facts hold


def given(condition: ir.Set, facts: ir.Set) -> ir.Set:
    """A condition with `given & facts = condition & facts`, in 0 <= q, 0 <= k < n; negations at the comparisons."""
    try:
        with budget(budgets.GIVEN):
            return _given(condition, reachable(facts), negated=False)
    except OutOfBudget:
        return condition


def _given(node: ir.Set, facts: isl.Set, negated: bool) -> ir.Set:
    match node:
        case ir.Not(part):
            return _given(part, facts, not negated)
        case ir.And(parts) | ir.Or(parts):
            rest = [_given(part, facts, negated) for part in parts]
            return _all(rest, facts) if isinstance(node, ir.And) != negated else _any(rest, facts)
    plain = algebra.complement(node) if negated else node
    if isinstance(node, ir.Leaf):
        return plain
    pairs = reachable(plain)
    return ir.TRUE if facts.is_subset(pairs) else ir.FALSE if facts.is_disjoint(pairs) else plain


def _all(parts: list[ir.Set], facts: isl.Set) -> ir.Set:
    """Their conjunction without the parts that the facts and the others imply."""

    def implied(part: ir.Set, rest: list[ir.Set]) -> bool:
        if ir.leaves(part):
            return False
        known = reduce(isl.Set.intersect, (reachable(other, "over") for other in rest), facts)
        return known.is_subset(reachable(part))

    joined = algebra.conjunction(*parts)
    return algebra.conjunction(*_irredundant_from_last(_operands(joined, ir.And), implied))


def _any(parts: list[ir.Set], facts: isl.Set) -> ir.Set:
    """Their disjunction without the parts that add nothing to the others where the facts hold."""

    def covered(part: ir.Set, rest: list[ir.Set]) -> bool:
        if ir.leaves(part):
            return False
        others = reduce(isl.Set.union, (reachable(other, "under") for other in rest))
        return reachable(part).intersect(facts).is_subset(others)

    joined = algebra.disjunction(*parts)
    return algebra.disjunction(*_irredundant_from_last(_operands(joined, ir.Or), covered))


def _operands(node: ir.Set, kind: type[ir.And] | type[ir.Or]) -> list[ir.Set]:
    return list(node.parts) if isinstance(node, kind) else [node]
