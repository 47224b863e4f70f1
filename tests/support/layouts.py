"""The programs of a region's kernels: sequences of rows and keys that stand side by side, and their positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sparsec.plan.nodes import Gathered, Region, Residue


@dataclass(frozen=True)
class SideBySide:
    """What one layout puts side by side: rows and keys as they stand, and what their coordinates start from.

    `rows`: of the tensors q and out; `keys`: of k and v.  A row's own coordinate is its place plus `q_start`.
    """

    rows: np.ndarray
    keys: np.ndarray
    q_start: int
    residue: int
    region: Region

    def queries_at(self, low: int, high: int) -> np.ndarray:
        """Positions of the queries with the coordinates low..high."""
        own = np.arange(low, high + 1)
        match self.region.layout:
            case Residue(stride):
                return own * stride + self.residue
        return own

    def keys_at(self, low: int, high: int) -> np.ndarray:
        own = np.arange(low, high + 1)
        match self.region.layout:
            case Residue(stride):
                return own * stride + self.residue
            case Gathered(period, first, width):
                return own // width * period + first + own % width
        return own


def side_by_side(region: Region, n_q: int, n: int, q_offset: int) -> Iterator[SideBySide]:
    """Every program beside of the region's forward kernel (and of dk and dv, where it has keys)."""
    rows, keys = np.arange(n_q), np.arange(n)
    match region.layout:
        case Residue(stride):
            for residue in range(stride):
                some = rows[(q_offset + rows) % stride == residue]
                start = (q_offset + int(some[0]) - residue) // stride if len(some) else 0
                yield SideBySide(some, keys[residue::stride], start, residue, region)
        case Gathered(period, first, width):
            comb = keys[(keys >= first) & ((keys - first) % period < width)]
            yield SideBySide(rows, comb, q_offset, 0, region)
        case _:
            yield SideBySide(rows, keys, q_offset, 0, region)
