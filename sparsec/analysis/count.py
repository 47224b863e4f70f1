"""Exact numbers of pairs and of tiles at one n."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import numpy as np

from sparsec.analysis import dense, numbers, tables
from sparsec.analysis.dense import looked
from sparsec.analysis.numbers import Uncounted
from sparsec.ir import nodes as ir
from sparsec.ir.inputs import inputs_read
from sparsec.ir.vector import summed
from sparsec.sets import budgets, fixed_tiles
from sparsec.sets.context import OutOfBudget, afford, allowance, budget

_SHORT = 16_384  # keys
_MOST_CORRECTIONS = 1 << 24  # of tiles by boxes of tables, in one go
_A_STEP = 4  # corrections


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles of a grid over some queries, counted from the first, and the keys [0, n).

    full: all keys of the tile are below n, and every query of the call sees them all; partial: some pair is kept;
    empty: none is.
    """

    full: int
    partial: int
    empty: int

    @property
    def visited(self) -> int:
        return self.full + self.partial

    @property
    def total(self) -> int:
        return self.full + self.partial + self.empty


def count(condition: ir.Set, n: int, queries: range | None = None) -> int:
    """Pairs (q, k) with q in `queries`, by default 0..n, and 0 <= k < n in `condition`, exactly.

    `queries` are positions one after the other, as of a call with n_q and q_offset; they may lie outside 0..n.
    Raises Uncounted where it is too hard, and where data of the call decides.
    """
    queries = range(n) if queries is None else queries
    if inputs_read(condition):
        raise Uncounted
    if not ir.leaves(condition):
        return _number(condition, n, queries)
    if not tables.are_few(condition, n, queries):
        raise Uncounted
    try:
        changes = sum(boxes.pairs for some in tables.listed(condition, n, queries) for boxes in some)
    except OutOfBudget:
        raise Uncounted from None
    return count(tables.affine(condition), n, queries) + changes


def _number(condition: ir.Set, n: int, queries: range) -> int:
    with suppress(Uncounted), allowance(_look_first(n)):
        return looked(condition, n, queries).pairs
    try:
        return numbers.number(condition, n, queries)
    except (Uncounted, OutOfBudget):
        with allowance(budgets.LOOK):
            return looked(condition, n, queries).pairs


def _look_first(n: int) -> int:
    """Steps for looking before sets are asked: none at lengths at which boxes alone are many."""
    return budgets.LOOK_FIRST if n <= _SHORT else 0


def affine_count(condition: ir.Set, n: int) -> int:
    """Pairs of self-attention without tables at any n, by sets; looked at where these would have many divisions.

    Raises Uncounted.
    """
    if budgets.many_divisions(condition):
        with suppress(Uncounted), allowance(budgets.LOOK_LONG):
            return looked(condition, n, range(n)).pairs
    return numbers.number(condition, n)


def pattern_count(pattern: ir.Pattern, n: int, queries: range | None = None) -> int:
    """Pairs over all heads; of one head for a pattern that is the same for every head."""
    heads = Counter(pattern.head_conditions or (0,))
    return sum(number * count(pattern.conditions[index], n, queries) for index, number in heads.items())


def tile_counts(condition: ir.Set, n: int, tile: tuple[int, int], queries: range | None = None) -> Tiles:
    """Full, partial and empty tiles of tile[0] queries, by default of 0..n, by tile[1] keys, exactly.

    Raises Uncounted.
    """
    queries = range(n) if queries is None else queries
    if inputs_read(condition):
        raise Uncounted
    if ir.leaves(condition):
        try:
            return _with_tables(condition, n, tile, queries)
        except OutOfBudget:
            raise Uncounted from None
    visited, full = _visited(condition, n, tile, queries)
    total = -(-len(queries) // tile[0]) * -(-n // tile[1])
    return Tiles(full, visited - full, total - visited)


def _visited(condition: ir.Set, n: int, tile: tuple[int, int], queries: range) -> tuple[int, int]:
    """Tiles of an affine condition that are visited, and those that are full.  Raises Uncounted."""
    grain = dense.grain(tile)
    with suppress(Uncounted), allowance(_look_first(n)):
        return looked(condition, n, queries, grain).tiles(tile)
    try:
        return _by_sets(condition, n, tile, queries)
    except (OutOfBudget, Uncounted):
        with allowance(budgets.LOOK):
            return looked(condition, n, queries, grain).tiles(tile)


def _by_sets(condition: ir.Set, n: int, tile: tuple[int, int], queries: range) -> tuple[int, int]:
    """`_visited` by sets.  Raises OutOfBudget too."""
    with budget(budgets.scaled(budgets.COUNT, condition)):
        touched = fixed_tiles.touched(condition, n, tile, queries)
        lacking = fixed_tiles.not_full(condition, n, tile, queries)
    rows = -(-len(queries) // tile[0])
    visited = numbers.points([(1, touched)], n, rows)
    return visited, rows * (n // tile[1]) - numbers.points([(1, lacking)], n, rows)


def _with_tables(condition: ir.Set, n: int, tile: tuple[int, int], queries: range) -> Tiles:
    """The tiles of the affine condition, corrected where a table lists a pair."""
    if not tables.are_few(condition, n, queries):
        raise Uncounted
    plain = tables.affine(condition)
    whole = tile_counts(plain, n, tile, queries)
    full, visited = whole.full, whole.visited
    for some in tables.listed(condition, n, queries, tile[0]):
        places, changes = _by_tile(some, n, tile, queries)
        before, areas = dense.kept(plain, places, n, tile, queries), dense.areas(places, n, tile, queries)
        after = before + changes
        full += int((after == areas).sum()) - int((before == areas).sum())
        visited += int((after > 0).sum()) - int((before > 0).sum())
    return Tiles(full, visited - full, whole.total - visited)


def _by_tile(
    found: Iterable[tables.Boxes], n: int, tile: tuple[int, int], queries: range
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of tiles, each once, and by how much the boxes change what each keeps: int64 [tiles] both."""
    columns, parts = -(-n // tile[1]), [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for boxes in found:
        q, k = boxes.q - queries.start, boxes.k
        first, last = q // tile[0], (q + boxes.high - 1) // tile[0]
        left, right = k // tile[1], (k + boxes.wide - 1) // tile[1]
        down_most, across_most = _most(last - first), _most(right - left)
        work = len(q) * down_most * across_most
        if work > _MOST_CORRECTIONS or not afford(work // _A_STEP):
            raise Uncounted
        for down, across in product(range(down_most), range(across_most)):
            row, column = first + down, left + across
            high = np.minimum(q + boxes.high, (row + 1) * tile[0]) - np.maximum(q, row * tile[0])
            broad = np.minimum(k + boxes.wide, (column + 1) * tile[1]) - np.maximum(k, column * tile[1])
            there = (high > 0) & (broad > 0)
            parts.append(summed((row * columns + column)[there], (high * broad * boxes.change)[there]))
    return summed(*map(np.concatenate, zip(*parts, strict=True)))


def _most(further: np.ndarray) -> int:
    return 1 + int(further.max(initial=-1))
