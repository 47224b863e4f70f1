"""Pattern -> Plan: each condition in the natural order alone, or split over the layouts that follow its structure.

The split is taken from the length on from which its predicted cost stays below that of the natural order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from sparsec.ir import nodes as ir
from sparsec.plan.cost_model import LENGTHS, cost, least_long, rising
from sparsec.plan.covers import part_of
from sparsec.plan.nodes import Choice, Columns, HeadPlan, Layout, Natural, Part, Plan, Residue, Scattered
from sparsec.plan.split import split
from sparsec.sets.block_alignment import block_size
from sparsec.sets.simplify import simplify

Parts = tuple[Part, ...]
Make = Callable[[ir.Set, Layout], Part]


def build(pattern: ir.Pattern, layouts: bool = True) -> Plan:
    """The plan of every distinct condition of `pattern`; without `layouts`, in the natural order alone."""
    make = cache(_part)  # heads that differ in one term share the others
    return Plan(pattern, tuple(_head_plan(pattern, index, layouts, make) for index in range(len(pattern.conditions))))


def natural(condition: ir.Set, make: Make | None = None) -> Parts:
    """All of a simplified condition in the natural order."""
    return ((make or _part)(condition, Natural()),)


def spread(condition: ir.Set, make: Make | None = None) -> Parts | None:
    """A simplified condition over the layouts that are proved to fit and have covers; None where there are none."""
    barred: frozenset[Layout] = frozenset()
    while True:
        places = split(condition, barred)
        if all(layout == Natural() for layout, _ in places):
            return None
        parts = tuple((make or _part)(some, layout) for layout, some in places)
        lost = {part.layout for part in parts if part.layout != Natural() and _lost(part)}
        if not lost:
            return parts
        barred |= lost


def _head_plan(pattern: ir.Pattern, index: int, layouts: bool, make: Make) -> HeadPlan:
    condition = simplify(pattern.conditions[index])
    heads = tuple(head for head, wanted in enumerate(pattern.head_conditions) if wanted == index)
    apart = spread(condition, make) if layouts else None
    return HeadPlan(heads, condition, _choices(natural(condition, make), apart))


_WORTH = 0.9  # of the cost in the natural order: predictions are not better than that


def _choices(alone: Parts, apart: Parts | None) -> tuple[Choice, ...]:
    """The split from the length on from which it is the cheaper, the natural order below."""
    least = None
    for n in reversed(LENGTHS if apart else ()):
        if cost(apart, n) > _WORTH * cost(alone, n):
            break
        least = n
    if least is None:
        return (Choice(0, alone),)
    return (Choice(0, apart),) if least == LENGTHS[0] else (Choice(0, alone), Choice(least, apart))


def _part(condition: ir.Set, layout: Layout) -> Part:
    part = part_of(condition, layout, _why(layout))
    rows, columns = (
        replace(cover, long=least_long(cover, part), rising=rising(cover, part)) for cover in (part.rows, part.columns)
    )
    return replace(part, rows=rows, columns=columns, block=_block(part))


def _block(part: Part) -> int:
    """`Part.block`: whole blocks, and no tile visited but for a pair that is kept."""
    operands = part.condition.parts if isinstance(part.condition, ir.Or) else (part.condition,)
    tight = all(cover.rung == "exact" and set(cover.tables) <= set(operands) for cover in (part.rows, part.columns))
    return block_size(part.condition) if tight and part.layout == Natural() else 1


def _lost(part: Part) -> bool:
    """Whether a part has to visit what its layout is there to spare it."""
    covers = part.rows, part.columns
    if part.layout == Scattered():
        return any(cover.segments for cover in covers)
    return any(cover.rung == "all" for cover in covers)


def _why(layout: Layout) -> str:
    match layout:
        case Residue(stride):
            return f"Queries see only keys a multiple of {stride} away."
        case Columns():
            return "No query sees the keys between."
        case Scattered():
            return "A table names pairs that lie far apart."
        case Natural():
            return "Positions as they are."
