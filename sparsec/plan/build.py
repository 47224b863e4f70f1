"""Pattern -> Plan.

The ladder, per cover: exact segments (at most MOST_SEGMENTS), else one hull, else every tile.  Each rung is
correct, because a partial tile is masked by the condition itself; a lower rung only visits more tiles.
"""

from __future__ import annotations

from sparsec.ir import nodes as ir
from sparsec.plan.nodes import Cover, HeadPlan, Plan, Segment
from sparsec.sets import tiles
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.convert import relation
from sparsec.sets.simplify import simplify

MOST_SEGMENTS = 6
MOST_FULL_TERMS = 8
_OPERATIONS = 300_000  # isl steps a rung may take; about a quarter of a second


def build(pattern: ir.Pattern) -> Plan:
    """The plan of every distinct condition of `pattern`."""
    return Plan(pattern, tuple(_head_plan(pattern, index) for index in range(len(pattern.conditions))))


def _head_plan(pattern: ir.Pattern, index: int) -> HeadPlan:
    condition = simplify(pattern.conditions[index])
    heads = tuple(head for head, wanted in enumerate(pattern.head_conditions) if wanted == index)
    return HeadPlan(
        heads=heads,
        condition=condition,
        rows=_cover(condition, "q"),
        columns=_cover(condition, "k"),
        full=_full(condition),
    )


def _cover(condition: ir.Set, side: str) -> Cover:
    """What a tile row or column visits: the highest rung of the ladder that the budget allows."""
    try:
        with budget(_OPERATIONS):
            reach = tiles.touched(relation(condition), side, MOST_SEGMENTS)
            return _from_reach(reach, side, "exact", "")
    except OutOfBudget:
        why = "the set library exceeded its budget"
    except tiles.TooManyPieces:
        why = f"more than {MOST_SEGMENTS} segments"
    try:
        with budget(_OPERATIONS):
            return _from_reach(tiles.hull(relation(condition), side), side, "hull", why)
    except OutOfBudget:
        everything = Segment(None, None, ir.TRUE, exact=False)
        return Cover(side, (everything,), ordered=True, rung="all", why=why)


def _from_reach(reach: tiles.Reach, side: str, rung: str, why: str) -> Cover:
    segments = tuple(
        Segment(interval.first, interval.last, interval.when, interval.exact) for interval in reach.intervals
    )
    return Cover(side, segments, reach.ordered, rung, why)


def _full(condition: ir.Set) -> ir.Set:
    try:
        with budget(_OPERATIONS):
            return tiles.full(relation(condition, "lower"), MOST_FULL_TERMS)
    except OutOfBudget:
        return ir.FALSE  # every tile gets the mask
