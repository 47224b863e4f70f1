"""Pattern -> Plan: each condition in the contiguous layout alone, or split over the layouts that follow its structure.

The split is taken from the length on from which its predicted cost stays below that of the contiguous layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from sparsec.ir import nodes as ir
from sparsec.ir.chosen_keys import keys_apart
from sparsec.ir.inputs import Input
from sparsec.plan.cost_model import LENGTHS, cost
from sparsec.plan.covers import region_of
from sparsec.plan.evaluate import longest_first, split_prefix
from sparsec.plan.groups import groups_apart
from sparsec.plan.lists import from_lists
from sparsec.plan.nodes import Contiguous, Gathered, Group, Layout, Listed, Plan, Region, Residue, Variant
from sparsec.plan.program import variant
from sparsec.plan.split import split
from sparsec.sets.block_alignment import block_size
from sparsec.sets.redundancy import simplify
from sparsec.sets.symbolic_tiles import MIN_TILE

Make = Callable[[ir.Set, Layout], Region]


def build(pattern: ir.Pattern, layouts: bool = True, lists: bool = True) -> Plan:
    """The plan of every distinct condition of `pattern`.

    Without `layouts` in the contiguous layout alone; without `lists` with ranges, however many tiles they visit.
    """
    make = cache(_region if lists else ranged)  # heads that differ in one term share the others
    return Plan(pattern, tuple(_group(pattern, index, layouts, make) for index in range(len(pattern.conditions))))


def contiguous(condition: ir.Set, make: Make | None = None) -> Variant:
    """All of a simplified condition in the contiguous layout."""
    return variant([(make or _region)(condition, Contiguous())])


def spread(condition: ir.Set, make: Make | None = None, inputs: tuple[Input, ...] = ()) -> Variant | None:
    """A simplified condition over the layouts that are proved to fit and have covers; None where there are none.

    `inputs`: those of the pattern, of which some are groups of tokens that the operator makes.
    """
    rest, groups = groups_apart(condition, inputs)
    if rest == ir.FALSE and groups:
        return variant(groups)
    apart = _over_layouts(rest, make)
    if not groups:
        return apart
    alone = contiguous(rest, make)
    static = apart if apart and cost(apart, _WITH_GROUPS) <= _WORTH * cost(alone, _WITH_GROUPS) else alone
    return variant([*static.regions, *groups])


def _over_layouts(condition: ir.Set, make: Make | None) -> Variant | None:
    barred: frozenset[Layout] = frozenset()
    while True:
        places = split(condition, barred)
        if all(layout == Contiguous() for layout, _ in places):
            return None
        regions = [(make or _region)(some, layout) for layout, some in places]
        lost = {region.layout for region in regions if region.layout != Contiguous() and _lost(region)}
        if not lost:
            return variant(regions)
        barred |= lost


def _group(pattern: ir.Pattern, index: int, layouts: bool, make: Make) -> Group:
    condition = simplify(pattern.conditions[index])
    heads = tuple(head for head, wanted in enumerate(pattern.head_conditions) if wanted == index)
    apart = spread(condition, make, pattern.inputs) if layouts else None
    weighed = contiguous(condition, make), *([apart] if apart else [])
    variants = tuple(replace(each, score=pattern.score(index)) for each in _variants(*weighed))
    rejected = tuple(each for each in weighed if all(each.regions is not taken.regions for taken in variants))
    return Group(heads, condition, variants, rejected)


_WITH_GROUPS = 65_536  # the length for which the layouts of all else are chosen where there are groups
_WORTH = 0.9  # of the cost in the contiguous layout: predictions are not better than that


def _variants(alone: Variant, apart: Variant | None = None) -> tuple[Variant, ...]:
    """The split from the length on from which it is the cheaper, the contiguous layout below."""
    least = None
    for n in reversed(LENGTHS):
        if apart is None or cost(apart, n) > _WORTH * cost(alone, n):
            break
        least = n
    if least is None:
        return (alone,)
    assert apart is not None
    return (apart,) if least == LENGTHS[0] else (alone, replace(apart, from_n=least))


def _region(condition: ir.Set, layout: Layout) -> Region:
    return _told(from_lists(region_of(condition, layout, _why(layout))))


def ranged(condition: ir.Set, layout: Layout) -> Region:
    """The region of a simplified condition in a layout, all of whose tiles come from ranges."""
    return _told(region_of(condition, layout, _why(layout)))


def _told(region: Region) -> Region:
    """A region with what its covers say about long programs, and with its blocks."""
    rows, columns = (
        replace(cover, split_prefix=split_prefix(cover, region), longest_first=longest_first(cover, region))
        for cover in region.covers
    )
    return _keys_apart(replace(region, rows=rows, columns=columns, block=_block(region)))


def _keys_apart(region: Region) -> Region:
    """A region with what it is beside the lists of single keys that it asks, and what each of them adds."""
    apart = keys_apart(region.mask) if region.layout == Contiguous() else None
    if apart is None:
        return region
    beside = ranged(simplify(apart.beside), Contiguous())
    lists = tuple(replace(each, kept=simplify(each.kept)) for each in apart.lists)
    return replace(region, beside_keys=beside, chosen_keys=lists)


def _block(region: Region) -> int:
    """`Region.block`: whole blocks, and no tile visited but for a pair that is kept."""
    operands = region.condition.parts if isinstance(region.condition, ir.Or) else (region.condition,)
    tight = all(cover.precision == "exact" and set(cover.tables) <= set(operands) for cover in region.covers)
    size = block_size(region.condition) if tight and region.layout == Contiguous() else 1
    return size if size >= MIN_TILE else 1


def _lost(region: Region) -> bool:
    """Whether a region has to visit what its layout is there to spare it."""
    if region.layout == Listed():
        return any(cover.segments for cover in region.covers)
    return any(cover.precision == "all" for cover in region.covers)


def _why(layout: Layout) -> str:
    match layout:
        case Residue(stride):
            return f"Queries see only keys a multiple of {stride} away."
        case Gathered():
            return "No query sees the keys between."
        case Listed():
            return "A table names pairs that lie far apart."
    return "Positions as they are."
