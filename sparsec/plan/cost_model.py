"""What a plan will cost, from exact counts of the tiles that its covers visit; and with it the choice of layouts.

The unit is one step of one head through all three kernels, each a tile of 64 x 64 pairs: some 13 ns of an H100 with
heads of 128 in 16 bits.  Forward, dq and dk/dv take 2, 3 and 4 products a tile: the first two follow the rows of the
plan, the last its columns.  What a program costs beside its steps, mostly bytes that it moves, was measured there too,
with torch's profiler on the kernels of past1024 (17 steps a program) and strided (3) of docs/benchmarks/patterns.
What tables add is an expectation, as if their entries were drawn evenly.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.plan.evaluate import listed_tiles, steps
from sparsec.plan.nodes import Begin, Contiguous, Cover, Gathered, Layout, Listed, Region, Residue, Variant
from sparsec.plan.programs import BLOCK

LENGTHS = tuple(1 << exponent for exponent in range(8, 21))  # at which costs are compared: 256 to 1 M
GATHERED = 1.2  # a step over gathered keys, nearly all of which are masked or copied first
LISTED = 1.5  # a step whose rows are gathered one by one
GROUPED = 5.0  # a step over slots of groups, with all that lists and joins them (raw/steps/groups_h100.json)
ASKED = 4.0  # a step by position whose pairs are asked whether they are of one group (the same)
FROM_LIST = 1.05  # a step whose tile comes from a list,
MASKED = 1.5  # and one with a mask from there
EVALUATED = 0.1  # what each operation of a mask adds to a step that evaluates it
_SHARE_AT = 1 << 14  # up to here whole tiles are counted beside ranges: their share hardly changes at longer n
PROGRAM = 5.5  # loading the rows of a tile, storing their results, forward and backward
CONTINUED = 2.5  # going on with what the kernels before have stored
LAUNCH = 64.0  # of three kernels, 4 us each, over 16 heads

_STEP = {Contiguous: 1.0, Residue: 1.0, Gathered: GATHERED, Listed: LISTED}


def cost(variant: Variant, n: int) -> float:
    """Predicted steps of forward and backward at self-attention of n positions."""
    passes = (_pass(kernel.begin, kernel.regions, n) for kernel in variant.of("forward"))
    return LAUNCH / 3 * len(variant.kernels) + sum(passes)


@lru_cache(maxsize=1024)  # heads share regions, and what the planner asked is asked again to be told
def _pass(begin: Begin, regions: tuple[Region, ...], n: int) -> float:
    """Steps over regions whose tiles of queries are done by one kernel, and those of the backward pass."""
    total = 0.0
    a_program = (PROGRAM + (CONTINUED if begin == "continue" else 0.0)) / 2  # half of it forward and in dq
    for place, region in enumerate(regions):
        rows, columns = steps(region.rows, region, n), steps(region.columns, region, n)
        programs = len(columns) + (0 if place else len(rows))
        total += a_program * programs + _work(region, n, rows, columns)
    return total


def _work(region: Region, n: int, rows: np.ndarray, columns: np.ndarray) -> float:
    if region.grouped:
        return GROUPED * float(rows.sum())
    on_rows, on_columns = (
        cover_work(cover, region, n, found) for cover, found in ((region.rows, rows), (region.columns, columns))
    )
    asked = any(isinstance(leaf, ir.DataTest) and isinstance(leaf.test, ir.Grouped) for leaf in ir.leaves(region.mask))
    return (ASKED if asked else 1.0) * _STEP[type(region.layout)] * float(5 * on_rows + 4 * on_columns) / 9


def cover_work(cover: Cover, region: Region, n: int, found: np.ndarray) -> float:
    """Steps of all programs over the tiles of a cover, of which ranges hold `found` for each program."""
    extra = len(found) * named(cover, region, n)
    masked = MASKED if cover.from_list else 1 + EVALUATED * _operations(region.mask, region.layout)
    if masked == 1:
        return float(found.sum() + extra)
    visited, whole = (x.sum() for x in listed_tiles(cover.side, region, n if cover.from_list else min(n, _SHARE_AT)))
    if cover.from_list:
        return float(FROM_LIST * whole + masked * (visited - whole + extra))
    whole = min(whole / max(visited, 1), 1.0) * found.sum()
    return float(whole + masked * (found.sum() - whole) + extra)


@lru_cache(maxsize=256)  # the same at all lengths
def _operations(mask: ir.Set, layout: Layout) -> int:
    """Operations on pairs in a mask with divisions; 0 for others, few of whose tiles are masked, and for gathered rows.

    What depends on q or on k alone is computed once for a row or a column.
    """
    parts = set(ir.walk(mask))  # each once: compilers do what is written twice once
    if layout != Contiguous() or not any(isinstance(part, ir.FloorDiv | ir.Mod) for part in parts):
        return 0
    return sum(_of_node(part) for part in parts if {"q", "k"} <= ir.names(part))


def _of_node(node: ir.Node) -> int:
    match node:
        case ir.FloorDiv(_, divisor) | ir.Mod(_, divisor):
            return 3 if divisor & (divisor - 1) == 0 else 5  # shifts, or a multiplication and its corrections
        case ir.And(parts) | ir.Or(parts):
            return len(parts) - 1
        case ir.Member(_, values):
            return 2 * len(values)
    return 1


def named(cover: Cover, region: Region, n: int) -> float:
    """Tiles that tables add to a program, on average; those that its ranges meet already are not taken off."""
    total = 0.0
    for leaf in cover.tables:
        entries, share = _entries(leaf, n)
        if region.layout == Listed():
            total += share * _distinct(n, entries * BLOCK) / BLOCK
        else:
            wide = max(1.0, leaf.size / BLOCK)  # tiles of a block
            total += share * wide * _distinct(n / (BLOCK * wide), entries * max(1.0, BLOCK / leaf.size))
    return total


def _entries(leaf: ir.Table, n: int) -> tuple[float, float]:
    """How many blocks a row of the table names, and the share of all rows that do."""
    if isinstance(leaf, ir.Blocks):
        return sum(map(len, leaf.rows)) / max(len(leaf.rows), 1), min(1.0, len(leaf.rows) * leaf.size / n)
    return leaf.count, 1.0


def _distinct(places: float, draws: float) -> float:
    """Expected distinct places among even draws."""
    return places * -math.expm1(draws * math.log1p(-1 / places)) if places > 1 else min(places, draws)
