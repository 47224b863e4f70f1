"""Drops the operands of a condition that add nothing, and proves that the set stays the same.

Only what the integer sets show to be needless goes; the order of the rest is the writer's, because people read
it again in the generated kernel.
"""

from __future__ import annotations

from functools import reduce

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.sets import budgets
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.to_isl import reachable

_MOST_PARTS = 16  # the number of proofs grows with the square


def simplify(condition: ir.Set) -> ir.Set:
    """A condition with the same pairs in 0 <= q, 0 <= k < n, without needless operands.

    Non-goals: no reordering, no rewriting of comparisons; tables are left alone.
    """
    if ir.leaves(condition):
        return condition
    try:
        with budget(budgets.SIMPLIFY):
            return _proved(condition, reachable(condition))
    except OutOfBudget:
        return condition


def _proved(condition: ir.Set, pairs: isl.Set) -> ir.Set:
    """`condition`, whose pairs are `pairs`, without what adds nothing."""
    if pairs.is_empty():
        return ir.FALSE
    if reachable(ir.TRUE).is_subset(pairs):
        return ir.TRUE
    match condition:
        case ir.And(parts) | ir.Or(parts) if len(parts) <= _MOST_PARTS:
            return _without_needless(type(condition), parts, pairs)
    return condition


def _without_needless(kind: type, parts: tuple[ir.Set, ...], pairs: isl.Set) -> ir.Set:
    """kind(parts) without the operands that can go; later operands go first, as the less important ones."""
    join = isl.Set.intersect if kind is ir.And else isl.Set.union
    kept = [(part, reachable(part)) for part in parts]
    for place in reversed(range(len(parts))):
        rest = kept[:place] + kept[place + 1 :]
        if rest and reduce(join, (points for _, points in rest)).is_equal(pairs):
            kept = rest
    simple = [_proved(part, points) if isinstance(part, ir.And | ir.Or) else part for part, points in kept]
    return simple[0] if len(simple) == 1 else kind(tuple(simple))
