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
class View:
    """What is looked at: queries and keys from the first of each pair up to, not including, the second."""

    queries: tuple[int, int]
    keys: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of queries and of keys."""
        return self.queries[1] - self.queries[0], self.keys[1] - self.keys[0]

    @property
    def exact(self) -> bool:
        """Whether all pairs are looked at, so that counts are counts and not estimates."""
        return max(self.shape) <= LIMIT


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


def whole(n: int) -> View:
    """All queries and keys of a square mask."""
    return View((0, n), (0, n))


def raster(parts: Sequence[Set], n: int, rows: int, columns: int, view: View | None = None) -> Raster:
    """The union of some sets at n >= 1 keys, all of it or a view; never more than LIMIT**2 pairs are evaluated."""
    view = view or whole(n)
    cells = min(rows, view.shape[0]), min(columns, view.shape[1])
    spans = view.queries, view.keys
    # Both axes share their positions, so that a thin diagonal is hit in each cell that it crosses.
    limit = LIMIT if view.exact or spans[0] == spans[1] else LIMIT // 2
    sampled = np.unique(np.concatenate([_positions(span, max(cells), limit) for span in spans]))
    axes = [sampled[(sampled >= first) & (sampled < last)] for first, last in spans]
    starts = [
        np.searchsorted(axis, first + edges(last - first, count)[:-1])
        for axis, (first, last), count in zip(axes, spans, cells, strict=True)
    ]
    sizes = [np.diff(np.append(start, len(axis))) for start, axis in zip(starts, axes, strict=True)]
    kept = [
        np.add.reduceat(np.add.reduceat(pairs.astype(np.int64), starts[0], axis=0), starts[1], axis=1)
        for pairs in _credited(parts, *axes, n)
    ]
    return Raster(np.stack(kept), np.outer(*sizes))


def densities(parts: Sequence[Set], n: int, view: View | None = None) -> np.ndarray:
    """Share of the viewed pairs that each set is credited with, float64 [parts]; an estimate unless view.exact."""
    view = view or whole(n)
    if view.exact:
        queries, keys = np.arange(*view.queries), np.arange(*view.keys)
    else:
        queries, keys = _spread(view.queries, _GOLDEN), _spread(view.keys, _SILVER)
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


def _positions(span: tuple[int, int], cells: int, limit: int) -> np.ndarray:
    """All positions, or at most `limit`: the first of each cell, where sinks and globals stand, and some within."""
    start, n = span[0], span[1] - span[0]
    if n <= limit:
        return np.arange(*span)
    step = np.arange(limit // cells)
    inside = (step + step * _GOLDEN % 1) / len(step)
    first, size = edges(n, cells)[:-1], np.diff(edges(n, cells))
    return start + np.unique(first[:, None] + np.floor(inside * size[:, None]).astype(np.int64))


def _spread(span: tuple[int, int], rotation: float) -> np.ndarray:
    """At most LIMIT positions, one in each stratum; two rotations give axes that share no rhythm."""
    n = span[1] - span[0]
    step = np.arange(min(n, LIMIT))
    return span[0] + np.floor((step + (step + 1) * rotation % 1) * n / len(step)).astype(np.int64)
