"""Pairs counted by looking: boxes that intervals decide as a whole, the others split, the smallest pair by pair.

It is for sets that explode, and for lengths at which it is sooner done than any proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sparsec.analysis.diagonals import Along, along, by_diagonal
from sparsec.analysis.numbers import Uncounted
from sparsec.ir import nodes as ir
from sparsec.ir import vector
from sparsec.ir.boxes import Decided, decided
from sparsec.sets.context import afford

_CHUNK = 1 << 20  # pairs that are looked at together
_GRAIN = 32  # the side of the smallest boxes, where tiles are made of such
_MOST_FIRST = 4096  # boxes to begin with
_NANOSECONDS = {ir.Mod: 4.0, ir.FloorDiv: 3.0, ir.Member: 4.0, ir.And: 0.15, ir.Or: 0.15, ir.Not: 0.15, Along: 3.0}
_BOX_NANOSECONDS = {ir.Mod: 20.0, ir.FloorDiv: 10.0, ir.Member: 40.0, Along: 10.0}  # else 3
_BOXES_NANOSECONDS = 5000.0  # of a node, however few the boxes


@dataclass(frozen=True, eq=False)
class Looked:
    """What was seen of some queries and n keys, in boxes of `grain`, doubled as often as `level` says.

    A row of `whole` is (row, column, level) of a box that keeps all its pairs; one of `cells` is (row, column, pairs)
    of a smallest box.  Boxes without pairs are not there.
    """

    n: int
    queries: range
    grain: tuple[int, int]
    whole: np.ndarray  # int64 [., 3]
    cells: np.ndarray

    @property
    def pairs(self) -> int:
        row, column, level = self.whole.T
        return int((self._high(row, level) * self._wide(column, level)).sum() + self.cells[:, 2].sum())

    def tiles(self, tile: tuple[int, int]) -> tuple[int, int]:
        """(tiles that keep a pair, full ones: their keys all below n), of a size that is a multiple of the grain's."""
        row, column, level = self.whole.T
        sides = [side << level for side in self.grain]
        joined = (sides[0] % tile[0] == 0) & (sides[1] % tile[1] == 0)  # boxes that are made of whole tiles
        high, wide = self._high(row, level)[joined], self._wide(column, level)[joined]
        visited = int((-(-high // tile[0]) * -(-wide // tile[1])).sum())
        full = int((-(-high // tile[0]) * (wide // tile[1])).sum())
        places, kept = self._by_tile(tile, ~joined)
        return visited + len(places), full + int((kept == areas(places, self.n, tile, self.queries)).sum())

    def _by_tile(self, tile: tuple[int, int], apart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tiles that hold more than one box, by number, and the pairs that each keeps."""
        rows, columns, kept = [self.cells[:, 0]], [self.cells[:, 1]], [self.cells[:, 2]]
        for level in vector.distinct(self.whole[apart, 2]):
            row, column, _ = self.whole[apart & (self.whole[:, 2] == level)].T
            down, across = (each.ravel() for each in np.mgrid[: 1 << level, : 1 << level])
            row, column = ((side[:, None] << level) + step for side, step in ((row, down), (column, across)))
            rows, columns = [*rows, row.ravel()], [*columns, column.ravel()]
            kept.append(self._high(rows[-1], 0) * self._wide(columns[-1], 0))
        row, column, number = map(np.concatenate, (rows, columns, kept))
        there = number > 0
        place = row * self.grain[0] // tile[0] * -(-self.n // tile[1]) + column * self.grain[1] // tile[1]
        return vector.summed(place[there], number[there])

    def _high(self, row: np.ndarray, level: np.ndarray | int) -> np.ndarray:
        side = self.grain[0] << level
        return np.clip(len(self.queries) - row * side, 0, side)

    def _wide(self, column: np.ndarray, level: np.ndarray | int) -> np.ndarray:
        side = self.grain[1] << level
        return np.clip(self.n - column * side, 0, side)


def grain(tile: tuple[int, int]) -> tuple[int, int]:
    """Boxes that tiles of a size are made of, alike for many sizes: counts of one are counts of all."""
    return (_GRAIN, _GRAIN) if all(side % _GRAIN == 0 for side in tile) else tile


def looked(condition: ir.Set, n: int, queries: range, grain: tuple[int, int] = (_GRAIN, _GRAIN)) -> Looked:
    """The pairs of an affine condition.  Raises Uncounted where that takes more steps than there are left."""
    return _looked(condition, n, queries, grain)


@lru_cache(maxsize=16)
def _looked(condition: ir.Set, n: int, queries: range, grain: tuple[int, int]) -> Looked:
    rows, columns = -(-len(queries) // grain[0]), -(-n // grain[1])
    level = 0
    while (rows >> level) * (columns >> level) > _MOST_FIRST:
        level += 1
    condition, found = _by_diagonal(condition, n, queries), []
    price = _price(condition)
    row, column = (each.ravel() for each in np.mgrid[: -(-rows >> level), : -(-columns >> level)])
    while True:
        never, always = _decided(condition, price, row, column, (grain[0] << level, grain[1] << level), n, queries)
        found.append(np.stack([row[always], column[always], np.full(int(always.sum()), level)], 1))
        open_ = ~(never | always)
        row, column = row[open_], column[open_]
        if not level:
            break
        level -= 1
        row = (2 * row[:, None] + np.array([0, 0, 1, 1])).ravel()
        column = (2 * column[:, None] + np.array([0, 1, 0, 1])).ravel()
        inside = (row << level < rows) & (column << level < columns)
        row, column = row[inside], column[inside]
    kept = _pairs(condition, row, column, grain, n, queries)
    return Looked(n, queries, grain, np.concatenate(found), np.stack([row, column, kept], 1))


def kept(condition: ir.Set, places: np.ndarray, n: int, tile: tuple[int, int], queries: range) -> np.ndarray:
    """Pairs that an affine condition keeps in tiles by number: int64 [tiles].  Raises Uncounted."""
    row, column = np.divmod(places, -(-n // tile[1]))
    never, always = _decided(condition, _price(condition), row, column, tile, n, queries)
    high = np.minimum(tile[0], len(queries) - row * tile[0])
    found = np.where(always, high * np.minimum(tile[1], n - column * tile[1]), 0)
    open_ = ~(never | always)
    found[open_] = _pairs(condition, row[open_], column[open_], tile, n, queries)
    return found


def areas(places: np.ndarray, n: int, tile: tuple[int, int], queries: range) -> np.ndarray:
    """How many pairs a full tile has, by number; -1 where keys of the tile are beyond n."""
    row, column = np.divmod(places, -(-n // tile[1]))
    high = np.minimum(tile[0], len(queries) - row * tile[0])
    return np.where((column + 1) * tile[1] <= n, high * tile[1], -1)


def _decided(
    condition: ir.Set,
    price: tuple[int, float],
    row: np.ndarray,
    column: np.ndarray,
    sides: tuple[int, int],
    n: int,
    queries: range,
) -> Decided:
    """As `decided`, for boxes by row and column of their grid, at the price of the condition."""
    nodes, each = price
    _pay((nodes * _BOXES_NANOSECONDS + len(row) * each) / 1000)
    q, k = queries.start + row * sides[0], column * sides[1]
    at = {
        "q": (q, np.minimum(q + sides[0], queries.stop) - 1),
        "k": (k, np.minimum(k + sides[1], n) - 1),
        "n": (np.asarray(n), np.asarray(n)),
    }
    never, always = decided(condition, at, lambda leaf: along(leaf).decided(at["q"], at["k"]))
    return np.broadcast_to(never, row.shape), np.broadcast_to(always, row.shape)


def _pairs(
    condition: ir.Set, row: np.ndarray, column: np.ndarray, sides: tuple[int, int], n: int, queries: range
) -> np.ndarray:
    """Pairs kept in boxes, looked at one by one: int64 [boxes]."""
    found = np.zeros(len(row), np.int64)
    _pay(_steps(condition, len(row) * sides[0] * sides[1]))
    step = max(1, _CHUNK // (sides[0] * sides[1]))
    for start in range(0, len(row), step):
        some = slice(start, start + step)
        q = queries.start + (row[some] * sides[0])[:, None, None] + np.arange(sides[0])[:, None]
        k = (column[some] * sides[1])[:, None, None] + np.arange(sides[1])
        inside = (q < queries.stop) & (k < n)
        q, k = np.minimum(q, queries.stop - 1), np.minimum(k, n - 1)
        found[some] = (_holds(condition, q, k, n) & inside).sum((1, 2))
    return found


def _holds(condition: ir.Set, q: np.ndarray, k: np.ndarray, n: int) -> np.ndarray:
    return vector.holds(condition, {"q": q, "k": k, "n": n}, lambda leaf: along(leaf).holds(q, k))


def _by_diagonal(condition: ir.Set, n: int, queries: range) -> ir.Set:
    return by_diagonal(condition, n, queries, lambda part: _pay(_steps(part, n + len(queries))))


def _steps(condition: ir.Set, pairs: int) -> float:
    """About how many steps of a budget, microseconds, it takes to look at so many pairs."""
    return pairs * (2.0 + _looking(condition)[1]) / 1000  # 2 for clipping and adding up


def _looking(node: ir.Node | Along) -> tuple[frozenset[str], float]:
    """The variables of a node, and the nanoseconds that it takes for a pair; none for what q or k alone decides."""
    if isinstance(node, Along):
        return frozenset("qk"), _NANOSECONDS[Along]
    below = [_looking(part) for part in _below(node)]
    names = frozenset((node.name,)) if isinstance(node, ir.Var) else frozenset().union(*(names for names, _ in below))
    own = _NANOSECONDS.get(type(node), 1.0) * max(1, len(below) - 1) if names >= {"q", "k"} else 0.0
    return names, own + sum(each for _, each in below)


def _price(condition: ir.Set) -> tuple[int, float]:
    """How many nodes a condition has, and the nanoseconds that all take for a box."""
    prices = [_BOX_NANOSECONDS.get(type(node), 3.0) for node in _nodes(condition)]
    return len(prices), sum(prices)


def _nodes(node: ir.Node | Along) -> Iterator[ir.Node | Along]:
    yield node
    for part in _below(node):
        yield from _nodes(part)


def _below(node: ir.Node | Along) -> Iterable[ir.Node | Along]:
    match node:
        case Along():
            return ()
        case ir.And(parts) | ir.Or(parts):
            return parts
        case ir.Not(part):
            return (part,)
    return ir.children(node)


def _pay(steps: float) -> None:
    if not afford(int(steps)):
        raise Uncounted
