"""From a pattern to a small grid of cells: how many pairs each cell keeps, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sparsec.ir import reference
from sparsec.ir.nodes import Set

LIMIT = 2048  # most positions looked at along one axis: beyond it cells are sampled, never counted
_GOLDEN, _SILVER = 0.6180339887498949, 0.4142135623730951  # frac(j * either) is spread evenly and hits no period


@dataclass(frozen=True)
class Raster:
    """A union of sets at n keys and n queries, cut into rows x columns cells.

    `kept` is int64 [parts, rows, columns], the kept pairs among those looked at, each pair credited to the first
    set that holds it; `seen` is int64 [rows, columns], the pairs looked at.
    """

    kept: np.ndarray
    seen: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """Kept pairs over pairs looked at, float64 [rows, columns]."""
        return self.kept.sum(axis=0) / self.seen

    @property
    def owners(self) -> np.ndarray:
        """The set with the most pairs in each cell, int64 [rows, columns], -1 where no pair is kept."""
        return np.where(self.kept.any(axis=0), self.kept.argmax(axis=0), -1)


def exact(n: int) -> bool:
    """Whether all pairs are looked at, so that counts are counts and not estimates."""
    return n <= LIMIT


def raster(parts: Sequence[Set], n: int, rows: int, columns: int) -> Raster:
    """The union of some sets at n >= 1 keys, on at most n x n cells; never more than LIMIT**2 pairs are evaluated."""
    rows, columns = min(rows, n), min(columns, n)
    # Both axes share their positions, so that a thin diagonal is hit in each cell that it crosses.
    positions = _positions(n, max(rows, columns))
    starts = [np.searchsorted(positions, edges(n, cells)[:-1]) for cells in (rows, columns)]
    sizes = [np.diff(np.append(start, len(positions))) for start in starts]
    kept = [
        np.add.reduceat(np.add.reduceat(pairs.astype(np.int64), starts[0], axis=0), starts[1], axis=1)
        for pairs in _credited(parts, positions, positions, n)
    ]
    return Raster(np.stack(kept), np.outer(*sizes))


def densities(parts: Sequence[Set], n: int) -> np.ndarray:
    """Share of the n * n pairs that each set is credited with, float64 [parts]; an estimate unless exact(n)."""
    queries, keys = (np.arange(n), np.arange(n)) if exact(n) else (_spread(n, _GOLDEN), _spread(n, _SILVER))
    return np.array([pairs.mean() for pairs in _credited(parts, queries, keys, n)])


def edges(n: int, cells: int) -> np.ndarray:
    """The first position of each cell, and n: int64 [cells + 1]."""
    return np.arange(cells + 1) * n // cells


def _credited(parts: Sequence[Set], queries: np.ndarray, keys: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """For each set, bool [queries, keys]: the pairs that it holds and none before it does."""
    taken = np.zeros((len(queries), len(keys)), bool)
    for part in parts:
        held = reference.evaluate(part, queries, keys, n)
        yield held & ~taken
        taken |= held


def _positions(n: int, cells: int) -> np.ndarray:
    """All positions, or at most LIMIT: the first of each cell, where sinks and globals stand, and some within."""
    if exact(n):
        return np.arange(n)
    step = np.arange(LIMIT // cells)
    inside = (step + step * _GOLDEN % 1) / len(step)
    first, size = edges(n, cells)[:-1], np.diff(edges(n, cells))
    return np.unique(first[:, None] + np.floor(inside * size[:, None]).astype(np.int64))


def _spread(n: int, rotation: float) -> np.ndarray:
    """LIMIT positions, one in each stratum of n / LIMIT; two rotations give axes that share no rhythm."""
    step = np.arange(LIMIT)
    return np.floor((step + (step + 1) * rotation % 1) * n / LIMIT).astype(np.int64)
