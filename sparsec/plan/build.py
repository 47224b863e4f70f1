"""Pattern -> Plan.

The ladder, per cover: exact segments (at most MOST_SEGMENTS), else one hull, else a hull that knows no floors, else
every tile; tables are visited beside the segments.  Each rung is correct, because a partial tile is masked by the
condition itself; a lower rung only visits more tiles.
"""

from __future__ import annotations

from dataclasses import replace

from sparsec.ir import nodes as ir
from sparsec.plan.above import Above, above, below
from sparsec.plan.nodes import Choice, Cover, HeadPlan, Natural, Part, Plan, Segment
from sparsec.sets import tiles
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.convert import relation
from sparsec.sets.simplify import simplify

MOST_SEGMENTS = 6
MOST_FULL_TERMS = 8
_OPERATIONS = 150_000  # isl steps a rung may take, about a tenth of a second


def build(pattern: ir.Pattern, layouts: bool = False) -> Plan:
    """The plan of every distinct condition of `pattern`; without `layouts`, in the natural order alone."""
    return Plan(pattern, tuple(_head_plan(pattern, index) for index in range(len(pattern.conditions))))


def _head_plan(pattern: ir.Pattern, index: int) -> HeadPlan:
    condition = simplify(pattern.conditions[index])
    heads = tuple(head for head, wanted in enumerate(pattern.head_conditions) if wanted == index)
    bound = above(condition)
    if bound.tables:  # then `condition` was left as it is
        affine = simplify(bound.affine)
        bound = replace(bound, affine=affine, tables=() if affine == ir.TRUE else bound.tables)
    part = Part(
        layout=Natural(),
        condition=condition,
        rows=_cover(bound, "q"),
        columns=_cover(bound, "k"),
        full=_full(condition),
        why="Positions as they are.",
    )
    return HeadPlan(heads=heads, condition=condition, choices=(Choice(0, (part,)),))


def _cover(bound: Above, side: str) -> Cover:
    """What a tile row or column visits: the highest rung of the ladder that the budget allows."""
    rungs = (
        ("hull" if bound.why else "exact", lambda: tiles.touched(relation(bound.affine), side, MOST_SEGMENTS)),
        ("hull", lambda: tiles.hull(relation(bound.affine), side)),
        ("hull", lambda: tiles.hull(relation(bound.affine).remove_divs(), side)),
    )
    why = bound.why
    for rung, reach in rungs:
        try:
            with budget(_OPERATIONS):
                return _found(reach(), side, rung, why, bound.tables)
        except OutOfBudget:
            why = why or "the set library exceeded its budget"
        except tiles.TooManyPieces:
            why = why or f"more than {MOST_SEGMENTS} segments"
    return Cover(side, (Segment(None, None, ir.TRUE, exact=False),), ordered=True, rung="all", why=why)


def _found(reach: tiles.Reach, side: str, rung: str, why: str, tables: tuple[ir.Leaf, ...]) -> Cover:
    exact = rung == "exact"
    if exact and not all(each.exact for each in reach.intervals):
        rung, why = "hull", "gaps inside the segments"
    segments = tuple(Segment(each.first, each.last, each.when, exact and each.exact) for each in reach.intervals)
    return Cover(side, segments, reach.ordered, rung, why, tables)


def _full(condition: ir.Set) -> ir.Set:
    try:
        with budget(_OPERATIONS):
            return tiles.full(relation(below(condition)), MOST_FULL_TERMS)
    except OutOfBudget:
        return ir.FALSE  # every tile gets the mask
