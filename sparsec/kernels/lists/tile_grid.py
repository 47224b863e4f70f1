"""The tiles of a region by the positions of their pairs: as they stand, of residue classes, or of gathered keys."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.lists.boxes import Span
from sparsec.kernels.lists.tile_kinds import Integers, key_of
from sparsec.kernels.program.program import WHOLE_ROWS, Gathered, Region, cdiv, count_gathered

_QUERIES, _KEYS = -1, -2  # what their positions in a tile are told apart by


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

    def positions(self, line: Tensor, place: Tensor) -> tuple[Integers, Integers, Tensor]:
        """Positions of queries and of keys, as integers of the pairs of some tiles, and a key of which there are."""
        none = torch.zeros(1, dtype=torch.int64, device=line.device)
        (row, k), (last_row, last_k) = (
            [x.flatten() for x in self._pairs(line, place, none + own, none + other)]
            for own, other in ((0, 0), (self.own - 1, self.other - 1))
        )
        begin = none  # of gathered keys: where in a width they begin, which decides how far apart they are
        if self.gathered:
            begin = (place * self.other if self.side == "rows" else line * self.own) % self.gathered[2]
        q_lo, q_hi = row + self.q_offset, last_row + self.q_offset
        queries = Integers(Span(q_lo, q_hi), q_lo, key_of(_QUERIES, none))
        keys = Integers(Span(k, last_k), k, key_of(_KEYS, begin))
        there = torch.where(last_row < self.n_q, 0, self.n_q - row), torch.where(last_k < self.n, 0, self.n - k)
        return queries, keys, key_of(*there, torch.where(last_k < self.n, 0, begin))


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
