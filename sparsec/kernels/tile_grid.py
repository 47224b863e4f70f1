"""The tiles of a region by the positions of their pairs: as they stand, of residue classes, or of gathered keys."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.program import WHOLE_ROWS, Gathered, Region, cdiv, count_gathered


class TileGrid(NamedTuple):
    """Tiles of one side ("rows": of queries, "columns": of keys) by the tiles of the other side that they may visit.

    Line l is tile l // stride of the positions whose residue is l % stride.  A code is line * others + place, where
    place is the tile of the other side, of the same residue.  Boxes hold tiles of all classes: their codes are those
    of a grid without classes, tile * others + place, until `of_classes`.
    """

    side: str
    n_q: int
    n: int
    q_offset: int
    own: int  # positions of a tile of the side
    other: int  # of those that it visits
    stride: int
    gathered: Gathered | None
    keys: int  # that every class has at least
    tiles: int  # of the side, in a class
    others: int

    @property
    def lines(self) -> int:
        """Tiles of the side, of all classes."""
        return self.tiles * self.stride

    def edges(self, codes: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q_lo, q_hi, k_lo, k_hi of boxes of `size` by `size` tiles of all classes, of the positions that there are."""
        tile, place = codes // self.others, codes % self.others
        sides = [
            (first, first + size * block - 1)
            for first, block in ((tile * self.own, self.own), (place * self.other, self.other))
        ]
        (q_lo, q_hi), (k_lo, k_hi) = sides if self.side == "rows" else reversed(sides)
        last = self.stride - 1
        q_lo, q_hi = q_lo * self.stride, q_hi * self.stride + last
        k_lo, k_hi = self._key(k_lo, 0), self._key(k_hi, last)
        return q_lo + self.q_offset, q_hi.clamp(max=self.n_q - 1) + self.q_offset, k_lo, k_hi.clamp(max=self.n - 1)

    def has_all_keys(self, codes: Tensor, size: int) -> Tensor:
        """Whether there is every key of the tiles that boxes hold on the other side; of keys."""
        return (codes % self.others + size) * self.other <= self.keys

    def of_classes(self, codes: Tensor) -> Tensor:
        """Tiles of all classes as those of each, where it has positions there."""
        if self.stride == 1:
            return codes
        residue = torch.arange(self.stride, device=codes.device)
        line = (codes // self.others)[:, None] * self.stride + residue
        line, place = line.flatten(), (codes % self.others).repeat_interleave(self.stride)
        row, k = self._pairs(line, place, *(torch.zeros_like(residue[:1]) for _ in "qk"))
        return (line * self.others + place)[((row < self.n_q) & (k < self.n)).flatten()]

    def pairs(self, line: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of Q and the positions of keys of some tiles; they broadcast to [tiles, own, other]."""
        own, other = (torch.arange(size, device=line.device) for size in (self.own, self.other))
        return self._pairs(line, place, own, other)

    def _pairs(self, line: Tensor, place: Tensor, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        residue = (line % self.stride)[:, None, None]
        own = (line // self.stride * self.own)[:, None, None] + own[:, None]
        other = (place * self.other)[:, None, None] + other
        rows, keys = (own, other) if self.side == "rows" else (other, own)
        return rows * self.stride + (residue - self.q_offset) % self.stride, self._key(keys, residue)

    def _key(self, place: Tensor, residue: Any) -> Tensor:
        """The position of the key at a place of a class, or of all gathered keys."""
        if self.gathered:
            period, first, width = self.gathered
            return place // width * period + first + place % width
        return place * self.stride + residue

    def moved_back(self, line: Tensor, place: Tensor, period: int) -> tuple[Tensor, Tensor]:
        """Tiles moved along the diagonal by whole periods, as far as can be, if all of their positions are there."""
        if not period or self.gathered:
            return line, place
        own, other = self.own * self.stride, self.other * self.stride
        step = math.lcm(period, own, other)
        lengths = (self.n_q, self.n) if self.side == "rows" else (self.n, self.n_q)
        tile = line // self.stride
        inside = ((tile + 1) * own <= lengths[0]) & ((place + 1) * other <= lengths[1])
        turns = torch.where(inside, tile // (step // own), 0)
        return line - turns * (step // own * self.stride), place - turns * (step // other)


def grid_of(region: Region, side: str, n_q: int, n: int, q_offset: int, block_m: int, block_n: int) -> TileGrid:
    """The tiles of a region in its layout, at a length."""
    stride, rows = region.stride, side == "rows"
    own, other = (block_m, block_n) if rows else (block_n, block_m)
    keys = count_gathered(n, region.gathered) if region.gathered else cdiv(n, stride)
    queries = cdiv(n_q, stride)
    whole_rows = cdiv(queries, WHOLE_ROWS) * WHOLE_ROWS  # what kernels for queries have tiles for
    sizes = (cdiv(whole_rows, own), cdiv(keys, other)) if rows else (cdiv(keys, own), cdiv(queries, other))
    least = keys if region.gathered else n // stride
    return TileGrid(side, n_q, n, q_offset, own, other, stride, region.gathered, least, *sizes)
