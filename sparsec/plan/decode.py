"""Pattern -> the plan of a decoding step: what one row, or a few rows side by side, visit of the keys of a cache.

A step has no tiles of queries: its covers hold for rows q_lo..q_hi, however few, and their ranges can be exact where
those of 16 rows are not.  Whatever has gaps as it stands is spread over layouts at every length, since a step waits for
the keys that it loads and for nothing else.
"""

from __future__ import annotations

from sparsec.ir import nodes as ir
from sparsec.plan.coordinates import pairs_of
from sparsec.plan.covers import cover_of_rows
from sparsec.plan.nodes import Contiguous, Cover, Group, Layout, Listed, Plan, Region, Variant
from sparsec.plan.split import split
from sparsec.sets.redundancy import given, simplify

_NO_COLUMNS = Cover("k", (), ordered=True, precision="exact", why="")  # a step has no tiles of keys


def decode_plan(pattern: ir.Pattern) -> Plan:
    """The plan of steps.  Regions have rows alone: no columns, no full tiles, no kernels."""
    return Plan(pattern, tuple(_group(pattern, index) for index in range(len(pattern.conditions))))


def _group(pattern: ir.Pattern, index: int) -> Group:
    condition = simplify(pattern.conditions[index])
    heads = tuple(head for head, wanted in enumerate(pattern.head_conditions) if wanted == index)
    return Group(heads, condition, (Variant(0, _regions(condition), (), score=pattern.score(index)),))


def _regions(condition: ir.Set) -> tuple[Region, ...]:
    """The condition as it stands where its ranges are exact, else spread over layouts as far as they have covers."""
    alone = (_region(condition, Contiguous()),)
    if alone[0].rows.precision == "exact":
        return alone
    barred: frozenset[Layout] = frozenset([Listed()])
    while True:
        places = split(condition, barred)
        regions = tuple(_region(some, layout) for layout, some in places)
        if len(regions) == 1 and regions[0].layout == Contiguous():
            return alone
        lost = {region.layout for region in regions if region.rows.precision == "all"} - {Contiguous()}
        if not lost:
            return regions
        barred |= lost


def _region(condition: ir.Set, layout: Layout) -> Region:
    mask = given(condition, facts) if (facts := pairs_of(layout)) != ir.TRUE else condition
    return Region(layout, condition, mask, cover_of_rows(mask, layout), _NO_COLUMNS, ir.FALSE, "")
