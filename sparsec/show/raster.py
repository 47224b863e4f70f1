"""From a pattern to a small grid of cells: how many pairs each cell keeps, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sparsec.ir.algebra import disjunction
from sparsec.ir.nodes import Set
from sparsec.show import exact, looking

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
        """Whether all pairs are looked at, one by one."""
        return max(self.shape) <= LIMIT


@dataclass(frozen=True)
class Raster:
    """A union of sets at n keys and n queries, cut into rows x columns cells.

    `kept` is int64 [parts, rows, columns], the kept pairs among those looked at, each pair credited to the first
    set that holds it; `seen` is int64 [rows, columns], the pairs looked at.  `compared`: the last set is what two
    patterns share and those before it are what they don't, of which a single pair is to be seen.
    """

    kept: np.ndarray
    seen: np.ndarray
    compared: bool = False

    @property
    def shares(self) -> np.ndarray:
        """Kept pairs over pairs looked at, float64 [rows, columns]."""
        return self.kept.sum(axis=0) / self.seen

    @property
    def owners(self) -> np.ndarray:
        """The set with the most pairs in each cell, int64 [rows, columns], -1 where no pair is kept.

        Of compared patterns, what they share owns a cell only where there is nothing else.
        """
        kept = self.kept.copy()
        if self.compared:
            kept[-1] = np.where(kept[:-1].any(axis=0), 0, kept[-1])
        return np.where(kept.any(axis=0), kept.argmax(axis=0), -1)


def whole(n: int) -> View:
    """All queries and keys of a square mask."""
    return View((0, n), (0, n))


def raster(
    parts: Sequence[Set], n: int, rows: int, columns: int, view: View | None = None, compared: bool = False
) -> Raster:
    """The union of some sets at n >= 1 keys, all of it or a view; never more than LIMIT**2 pairs are evaluated.

    Where that is not all of them, the sets say which cells are empty or full, and the pairs only how dense the rest is.
    """
    view = view or whole(n)
    cells = min(rows, view.shape[0]), min(columns, view.shape[1])
    spans = view.queries, view.keys
    # Both axes share their positions, so that a thin diagonal is hit in each cell that it crosses.
    limit = LIMIT if view.exact or spans[0] == spans[1] else LIMIT // 2
    if not view.exact and any(map(looking.is_long, parts)):
        limit //= 2
    firsts = [
        first + edges(last - first, count, not view.exact)[:-1]
        for (first, last), count in zip(spans, cells, strict=True)
    ]
    sampled = np.unique(np.concatenate([*firsts, *(_positions(span, max(cells), limit) for span in spans)]))
    queries, keys = axes = [sampled[(sampled >= first) & (sampled < last)] for first, last in spans]
    starts = [np.searchsorted(axis, first) for axis, first in zip(axes, firsts, strict=True)]
    sizes = [np.diff(np.append(start, len(axis))) for start, axis in zip(starts, axes, strict=True)]
    kept = [
        np.add.reduceat(np.add.reduceat(pairs, starts[0], axis=0, dtype=np.int64), starts[1], axis=1)
        for pairs in _credited(parts, queries, keys, n)
    ]
    sampled_cells = Raster(np.stack(kept), np.outer(*sizes), compared)
    return sampled_cells if view.exact else _corrected(sampled_cells, parts, n, view, cells)


def _corrected(cells: Raster, parts: Sequence[Set], n: int, view: View, most: tuple[int, int]) -> Raster:
    """The sampled cells, with a pair where a set has one that was missed, and without one where not all are kept."""
    spans = view.queries, view.keys
    size = _cell(view.shape[0], most[0]), _cell(view.shape[1], most[1])
    kept = cells.kept.copy()
    for part, pairs in zip(exact.credited(parts), kept, strict=True):
        if found := exact.classes(part, n, spans, size):
            pairs[found[0] & (pairs == 0)] = 1
    if found := exact.classes(disjunction(*parts), n, spans, size):
        seen = np.where(found[1], cells.seen, np.maximum(cells.seen, kept.sum(axis=0) + 1))
        return replace(cells, kept=kept, seen=np.maximum(seen, kept.sum(axis=0)))
    return replace(cells, kept=kept, seen=np.maximum(cells.seen, kept.sum(axis=0)))


def densities(
    parts: Sequence[Set], n: int, view: View | None = None, cells: Raster | None = None
) -> tuple[np.ndarray, bool]:
    """Share of the viewed pairs that each set is credited with, float64 [parts]; False where it is an estimate.

    `cells` is a raster of the same view, where there is one: it has looked at the pairs.
    """
    view = view or whole(n)
    if view.exact:
        cells = cells or raster(parts, n, 1, 1, view)
        return cells.kept.sum(axis=(1, 2)) / cells.seen.sum(), True
    if (counted := exact.counts(parts, n, (view.queries, view.keys))) is not None:
        return np.array(counted) / (view.shape[0] * view.shape[1]), True
    queries, keys = _spread(view.queries, _GOLDEN), _spread(view.keys, _SILVER)
    return np.array([pairs.mean() for pairs in _credited(parts, queries, keys, n)]), False


def edges(n: int, cells: int, alike: bool = False) -> np.ndarray:
    """The first position of each cell, and n: int64 [cells + 1], or fewer where all but the last are alike."""
    if not alike:
        return np.arange(cells + 1) * n // cells
    size = _cell(n, cells)
    return np.minimum(np.arange(-(-n // size) + 1) * size, n)


def _cell(n: int, cells: int) -> int:
    """The side of all cells but the last."""
    return -(-n // cells)


def _credited(parts: Sequence[Set], queries: np.ndarray, keys: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """For each set, bool [queries, keys]: the pairs that it holds and none before it does."""
    taken = np.zeros((len(queries), len(keys)), bool)
    for part in parts:
        held = looking.evaluate(part, queries, keys, n)
        yield held & ~taken
        taken |= held


def _positions(span: tuple[int, int], cells: int, limit: int) -> np.ndarray:
    """All positions, or at most `limit`: the first of each cell, where sinks and globals stand, and some within."""
    start, n = span[0], span[1] - span[0]
    if n <= limit:
        return np.arange(*span)
    step = np.arange(limit // cells)
    inside = (step + step * _GOLDEN % 1) / len(step)
    first, size = edges(n, cells, True)[:-1], np.diff(edges(n, cells, True))
    return start + np.unique(first[:, None] + np.floor(inside * size[:, None]).astype(np.int64))


def _spread(span: tuple[int, int], rotation: float) -> np.ndarray:
    """At most LIMIT positions, one in each stratum; two rotations give axes that share no rhythm."""
    n = span[1] - span[0]
    step = np.arange(min(n, LIMIT))
    return span[0] + np.floor((step + (step + 1) * rotation % 1) * n / len(step)).astype(np.int64)
