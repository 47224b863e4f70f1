"""Which blocks of keys may be chosen: those that hold a pair of a set, for blocks of queries of any length."""

from __future__ import annotations

from sparsec.ir import nodes as ir
from sparsec.plan.covers import MOST_SEGMENTS
from sparsec.plan.nodes import Segment
from sparsec.sets import budgets, symbolic_tiles
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.redundancy import simplify
from sparsec.sets.to_isl import relation


def segments_of(condition: ir.Set) -> tuple[Segment, ...] | None:
    """The keys that queries q_lo..q_hi, one or more, see: segments that are touched from end to end.

    None where there are too many, or they can't be proved to be: then pairs have to be looked at.
    """
    try:
        with budget(budgets.PRECISION):
            pairs = relation(simplify(condition), parameters=symbolic_tiles.parameters(1))
            reach = symbolic_tiles.touched(pairs, "q", MOST_SEGMENTS, least=1)
    except (OutOfBudget, symbolic_tiles.TooManyPieces):
        return None
    if not all(each.exact for each in reach.intervals):
        return None
    return tuple(Segment(each.first, each.last, each.when, True) for each in reach.intervals)
