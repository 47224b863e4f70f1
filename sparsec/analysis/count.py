"""Exact numbers of pairs and of tiles at one n."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sparsec.analysis import numbers, tables
from sparsec.analysis.closed_form import closed_form
from sparsec.analysis.numbers import Uncounted
from sparsec.ir import nodes as ir
from sparsec.sets import fixed_tiles
from sparsec.sets.context import OutOfBudget, budget

_OPERATIONS = 5_000_000
_MOST_CELLS = 1 << 28  # pairs of tiles that are looked at one by one


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
    Raises Uncounted where it is too hard.
    """
    queries = range(n) if queries is None else queries
    if not ir.leaves(condition):
        form = closed_form(condition) if queries == range(n) else None
        return _number(condition, n, queries) if form is None else form(n)
    if not tables.are_few(condition, n, queries):
        raise Uncounted
    changes = (int(change.sum()) for some in tables.listed(condition, n, queries) for _, _, change in some)
    return count(tables.affine(condition), n, queries) + sum(changes)


def _number(condition: ir.Set, n: int, queries: range) -> int:
    try:
        return numbers.number(condition, n, queries)
    except (Uncounted, OutOfBudget):
        return int(_all_kept(condition, n, (64, 64), queries)[0].sum())


def pattern_count(pattern: ir.Pattern, n: int, queries: range | None = None) -> int:
    """Pairs over all heads; of one head for a pattern that is the same for every head."""
    heads = Counter(pattern.head_conditions or (0,))
    return sum(number * count(pattern.conditions[index], n, queries) for index, number in heads.items())


def tile_counts(condition: ir.Set, n: int, tile: tuple[int, int], queries: range | None = None) -> Tiles:
    """Full, partial and empty tiles of tile[0] queries, by default of 0..n, by tile[1] keys, exactly.

    Raises Uncounted.
    """
    queries = range(n) if queries is None else queries
    if ir.leaves(condition):
        return _with_tables(condition, n, tile, queries)
    rows, columns = -(-len(queries) // tile[0]), -(-n // tile[1])
    try:
        with budget(_OPERATIONS):
            touched = fixed_tiles.touched(condition, n, tile, queries)
            lacking = fixed_tiles.not_full(condition, n, tile, queries)
        visited = numbers.points([(1, touched)], n)
        full = rows * (n // tile[1]) - numbers.points([(1, lacking)], n)
    except (OutOfBudget, Uncounted):
        kept, areas = _all_kept(condition, n, tile, queries)
        visited, full = int((kept > 0).sum()), int((kept == areas).sum())
    return Tiles(full, visited - full, rows * columns - visited)


def _all_kept(condition: ir.Set, n: int, tile: tuple[int, int], queries: range) -> tuple[np.ndarray, np.ndarray]:
    """`_kept` for every tile: the last resort for sets that explode."""
    _refuse(len(queries) * n, _MOST_CELLS)
    return _kept(condition, np.arange(-(-len(queries) // tile[0]) * -(-n // tile[1])), n, tile, queries)


def _with_tables(condition: ir.Set, n: int, tile: tuple[int, int], queries: range) -> Tiles:
    """The tiles of the affine condition, corrected where a table lists a pair."""
    if not tables.are_few(condition, n, queries):
        raise Uncounted
    plain, cells = tables.affine(condition), 0
    whole = tile_counts(plain, n, tile, queries)
    full, visited = whole.full, whole.visited
    for some in tables.listed(condition, n, queries, tile[0]):
        places, changes = _by_tile(some, n, tile, queries)
        cells += len(places) * tile[0] * tile[1] if plain != ir.FALSE else 0
        _refuse(cells, _MOST_CELLS)
        before, areas = _kept(plain, places, n, tile, queries)
        after = before + changes
        full += int((after == areas).sum()) - int((before == areas).sum())
        visited += int((after > 0).sum()) - int((before > 0).sum())
    return Tiles(full, visited - full, whole.total - visited)


def _by_tile(
    pairs: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], n: int, tile: tuple[int, int], queries: range
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of tiles, each once, and by how much the pairs change what each keeps: int64 [tiles] both."""
    columns = -(-n // tile[1])
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for q, k, change in pairs:
        found.append(_summed((q - queries.start) // tile[0] * columns + k // tile[1], change))
    return _summed(*map(np.concatenate, zip(*found, strict=True)))


def _summed(places: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct places, and the sum of the values of each."""
    places, where = np.unique(places, return_inverse=True)
    return places, np.bincount(where, weights=values, minlength=len(places)).astype(np.int64)


def _kept(
    plain: ir.Set, places: np.ndarray, n: int, tile: tuple[int, int], queries: range
) -> tuple[np.ndarray, np.ndarray]:
    """For tiles by number: pairs kept by an affine condition, and how many a full tile has (none is: -1)."""
    columns = -(-n // tile[1])
    kept = np.zeros(len(places), np.int64)
    step = max(1, (1 << 20) // (tile[0] * tile[1]))
    for start in range(0, len(places) if plain != ir.FALSE else 0, step):
        part = places[start : start + step]
        q = queries.start + (part // columns * tile[0])[:, None, None] + np.arange(tile[0])[:, None]
        k = (part % columns * tile[1])[:, None, None] + np.arange(tile[1])
        inside = tables.holds(plain, q, k, n, {}) & (q < queries.stop) & (k < n)
        kept[start : start + step] = inside.sum((1, 2))
    high = np.minimum(tile[0], len(queries) - places // columns * tile[0])
    whole = (places % columns + 1) * tile[1] <= n
    return kept, np.where(whole, high * tile[1], -1)


def _refuse(work: int, most: int) -> None:
    if work > most:
        raise Uncounted
