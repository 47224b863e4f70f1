"""Which tiles of a grid are full, partial or empty, as arrays over tiles; never anything over pairs.

Where a table lists blocks, the grid is made of cells that no block cuts.  On such a cell a table is true or false, so
each combination of tables that occurs leaves an affine condition, whose sets say what its cells are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sparsec.analysis import tables
from sparsec.analysis.replaced import replaced
from sparsec.ir import nodes as ir
from sparsec.sets import budgets, fixed_tiles
from sparsec.sets.affine import Affine
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.regions import Region, regions

_CELLS = 1 << 20  # cells looked at together, and pairs where sets give no answer

_Cells = tuple[np.ndarray, np.ndarray]  # bool: cells with a pair, and cells without a missing pair


@dataclass(frozen=True)
class Blocks:
    """Classes of tiles, bool [ceil(queries / tile[0]), ceil(n / tile[1])].

    full: the tile hangs over no edge and all its pairs are kept; partial: some pair is kept and the tile is not full.
    """

    partial: np.ndarray
    full: np.ndarray


def blocks(condition: ir.Set, n: int, tile: tuple[int, int], queries: range) -> Blocks:
    """The class of every tile of tile[0] queries by tile[1] keys, for consecutive `queries` and keys 0..n; exact.

    Time and memory grow with the number of tiles, or of cells that no block of a table cuts.
    """
    layout = _Layout.of(condition, n, tile, queries)
    some, full = (np.zeros((-(-len(queries) // tile[0]), -(-n // tile[1])), bool) for _ in range(2))
    for rows in layout.strips():
        some[rows], full[rows] = layout.strip(rows)
    full[len(queries) // tile[0] :] = False
    full[:, n // tile[1] :] = False
    return Blocks(some & ~full, full)


class _Layout:
    """Cells of one condition: `cell` divides the tiles and every table's blocks."""

    def __init__(self, condition: ir.Set, n: int, tile: tuple[int, int], queries: range, cell: tuple[int, int]) -> None:
        self.condition, self.n, self.tile, self.queries, self.cell = condition, n, tile, queries, cell
        self.sources = {leaf: tables.source(leaf) for leaf in ir.tables(condition)}
        self.affine: dict[ir.Set, _Affine] = {}

    @staticmethod
    def of(condition: ir.Set, n: int, tile: tuple[int, int], queries: range) -> _Layout:
        sizes = [leaf.size for leaf in ir.tables(condition)]
        offset = [queries.start] if sizes else []
        cell = math.gcd(tile[0], *sizes, *offset), math.gcd(tile[1], *sizes)
        return _Layout(condition, n, tile, queries, cell)

    def strips(self) -> Iterator[slice]:
        """Rows of tiles that are looked at together."""
        rows, columns = -(-len(self.queries) // self.tile[0]), -(-self.n // self.cell[1])
        step = max(1, _CELLS // (columns * self.tile[0] // self.cell[0]))
        return (slice(start, min(start + step, rows)) for start in range(0, rows, step))

    def strip(self, rows: slice) -> _Cells:
        """What the tiles of some rows are, bool [rows, tiles of keys]."""
        down, across = self.tile[0] // self.cell[0], self.tile[1] // self.cell[1]
        i = np.arange(rows.start * down, rows.stop * down)[:, None]
        j = np.arange(-(-self.n // self.tile[1]) * across)
        some, every = self._cells(i, j)
        shape = rows.stop - rows.start, down, len(j) // across, across
        return np.any(some.reshape(shape), (1, 3)), np.all(every.reshape(shape), (1, 3))

    def _cells(self, i: np.ndarray, j: np.ndarray) -> _Cells:
        """Cells by row [rows, 1] and column [columns]."""
        some, every = np.zeros((len(i), len(j)), bool), np.zeros((len(i), len(j)), bool)
        for held, where in self._combinations(i, j):
            condition = replaced(self.condition, dict(zip(self.sources, map(ir.Bool, held), strict=True)))
            some_here, every_here = self._affine(condition).cells(i, j)
            some |= some_here & where
            every |= every_here & where
        return some, every

    def _combinations(self, i: np.ndarray, j: np.ndarray) -> Iterator[tuple[tuple[bool, ...], np.ndarray]]:
        """Each combination of tables that occurs, and the cells where it does, bool [rows, columns]."""
        q, k = self.queries.start + i[:, 0] * self.cell[0], j * self.cell[1]
        held: list[tuple[bool, ...]] = [()]
        label = np.zeros((len(i), len(j)), np.int64)  # of each cell, its place in `held`
        for made in self.sources.values():
            label = 2 * label + _listed(made(self.n, range(int(q[0]), int(q[-1]) + 1)), q, k)
            found = np.flatnonzero(np.bincount(label.ravel()))
            held = [(*held[value // 2], bool(value % 2)) for value in found.tolist()]
            label = np.searchsorted(found, label)
        return ((each, label == place) for place, each in enumerate(held))

    def _affine(self, condition: ir.Set) -> _Affine:
        if condition not in self.affine:
            self.affine[condition] = _Affine.of(condition, self.n, self.cell, self.queries)
        return self.affine[condition]


@dataclass(frozen=True)
class _Affine:
    """The cells of a condition without tables: those with a pair, and those with a pair missing; None by evaluation."""

    condition: ir.Set
    n: int
    cell: tuple[int, int]
    queries: range
    sets: tuple[tuple[Region, ...], tuple[Region, ...]] | None

    @staticmethod
    def of(condition: ir.Set, n: int, cell: tuple[int, int], queries: range) -> _Affine:
        try:
            with budget(budgets.BLOCKS):
                touched = regions(fixed_tiles.touched(condition, n, cell, queries))
                sets = touched, regions(fixed_tiles.not_full(condition, n, cell, queries))
        except OutOfBudget:
            sets = None
        return _Affine(condition, n, cell, queries, sets)

    def cells(self, i: np.ndarray, j: np.ndarray) -> _Cells:
        if self.sets:
            touched, lacking = self.sets
            return inside(touched, i, j), ~inside(lacking, i, j)
        rows = [self._row(row, j) for row in i[:, 0].tolist()]
        return np.stack([some for some, _ in rows]), np.stack([every for _, every in rows])

    def _row(self, row: int, j: np.ndarray) -> _Cells:
        """One row of cells, pair by pair, a few queries at a time."""
        first = self.queries.start + row * self.cell[0]
        k = np.arange(len(j) * self.cell[1])
        some, every = np.zeros(len(j), bool), np.ones(len(j), bool)
        step = max(1, _CELLS // len(k))
        for start in range(first, min(first + self.cell[0], self.queries.stop), step):
            q = np.arange(start, min(start + step, first + self.cell[0], self.queries.stop))[:, None]
            kept = np.broadcast_to(tables.holds(self.condition, q, k, self.n, {}), (len(q), len(k)))
            shape = len(q), len(j), self.cell[1]
            some |= (kept & (k < self.n)).reshape(shape).any((0, 2))
            every &= (kept | (k >= self.n)).reshape(shape).all((0, 2))
        return some, every


def _listed(table: tables.Table, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Bool [q, k]: does the table list the key of this query?"""
    units = int(k[-1]) // table.size + 1
    row = q // table.size - table.first
    seen = np.zeros((int(row[-1]) + 1, units), bool)
    there = table.entries < units
    seen[table.rows[there], table.entries[there]] = True
    return seen[row][:, k // table.size]


def inside(pieces: tuple[Region, ...], i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Bool [rows, columns]: is cell (i, j) in one of the regions?"""
    result = np.zeros((len(i), len(j)), bool)
    for piece in pieces:
        values = {"i": i, "j": j}
        for index, (numerator, denominator) in enumerate(piece.floors):
            values[f"d{index}"] = _value(numerator, values) // denominator
        tests = [_value(value, values) == 0 for value in piece.equalities]
        tests += [_value(value, values) >= 0 for value in piece.inequalities]
        held = np.ones((1, 1), bool)
        for test in sorted(tests, key=np.size):
            held = held & test
        result |= held
    return result


def _value(value: Affine, values: dict[str, np.ndarray]) -> np.ndarray:
    terms = sorted((values[name] * factor for name, factor in value.terms), key=np.size)
    return sum(terms, np.asarray(value.constant))
