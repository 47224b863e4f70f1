"""Queries and keys of a region in the order in which a CPU takes them: residue class by class, in whole tiles."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.program.program import Region, cdiv, count_gathered, gathered_keys

TILE = 64  # queries of a tile, and keys of one; the queries are bits of a word


class Order(NamedTuple):
    """The tiles of a region at a length.  Class c has query tiles c * q_tiles to (c + 1) * q_tiles - 1.

    Queries of a class are a stride apart; without one there is a single class.  Keys are numbered by residue alike.
    """

    region: Region
    n_q: int
    n: int
    q_offset: int
    tile: int  # queries of a tile
    block: int  # keys of one
    classes: int  # of queries
    q_tiles: int  # of a class
    k_tiles: int

    def queries(self, tiles: Tensor) -> Tensor:
        """Rows of Q of some tiles, int64 [tiles, tile]; n_q and more where a tile hangs over the last one."""
        group, place = tiles // self.q_tiles, tiles % self.q_tiles
        return (place * self.tile)[:, None] * self.region.stride + self._within(self.tile) + group[:, None]

    def keys(self, tiles: Tensor) -> Tensor:
        """Positions of the keys of some tiles, int64 [tiles, block]; n and more beyond the last one."""
        residue, place = tiles // self.k_tiles, tiles % self.k_tiles
        if self.region.gathered:
            period, first, width = self.region.gathered
            places = (place * self.block)[:, None] + torch.arange(self.block)
            return places // width * period + first + places % width
        return (place * self.block)[:, None] * self.region.stride + self._within(self.block) + residue[:, None]

    def _within(self, tile: int) -> Tensor:
        return torch.arange(tile) * self.region.stride

    def tiled_queries(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """x [X, group, n_q, ..] as [X, query tiles, group * tile, ..], with `fill` beyond the last query."""
        length = self.q_tiles * self.tile
        x = _by_class(_padded(x, 2, length * self.classes, fill), 2, self.classes)
        x = x.unflatten(2, (-1, self.tile)).transpose(1, 2)
        return x.flatten(2, 3)

    def untiled_queries(self, x: Tensor, group: int) -> Tensor:
        """The inverse of `tiled_queries`."""
        x = x.unflatten(2, (group, self.tile)).transpose(1, 2).flatten(2, 3)
        return _in_turn(x, 2, self.classes).narrow(2, 0, self.n_q)

    def tiled_keys(self, x: Tensor) -> Tensor:
        """x [X, n, D] as [X, key tiles * block, D], in memory row after row; zeros beyond the last key."""
        if self.region.gathered:
            x = x[:, gathered_keys(self.n, self.region.gathered, x.device)]
        stride = self.region.stride
        return _by_class(_padded(x, 1, self.k_tiles * self.block * stride, 0.0), 1, stride)

    def untiled_keys(self, x: Tensor) -> Tensor:
        """x [key tiles * block, X, D] as [n, X, D], zeros for keys that are not in the region."""
        if not self.region.gathered:
            return _in_turn(x, 0, self.region.stride)[: self.n]
        keys = gathered_keys(self.n, self.region.gathered, x.device)
        return x.new_zeros(self.n, *x.shape[1:]).index_copy_(0, keys, x[: len(keys)])


def order_of(region: Region, n_q: int, n: int, q_offset: int) -> Order:
    """The tiles of a region: at least one of queries, and one of keys."""
    length = count_gathered(n, region.gathered) if region.gathered else cdiv(n, region.stride)
    tiles = max(1, cdiv(cdiv(n_q, region.stride), TILE)), max(1, cdiv(length, TILE))
    return Order(region, n_q, n, q_offset, TILE, TILE, min(region.stride, n_q), *tiles)


def _padded(x: Tensor, dim: int, length: int, fill: float) -> Tensor:
    """x, or a longer copy of it."""
    if x.shape[dim] == length:
        return x
    shape = [*x.shape]
    shape[dim] = length
    longer = x.new_empty(shape)
    longer.narrow(dim, 0, x.shape[dim]).copy_(x)
    longer.narrow(dim, x.shape[dim], length - x.shape[dim]).fill_(fill)
    return longer


def _by_class(x: Tensor, dim: int, classes: int) -> Tensor:
    """Positions 0, 1, 2, .. of a dimension as 0, classes, 2 * classes, .., 1, classes + 1, .."""
    return x if classes == 1 else x.unflatten(dim, (-1, classes)).transpose(dim, dim + 1).flatten(dim, dim + 1)


def _in_turn(x: Tensor, dim: int, classes: int) -> Tensor:
    """The inverse of `_by_class`."""
    return x if classes == 1 else x.unflatten(dim, (classes, -1)).transpose(dim, dim + 1).flatten(dim, dim + 1)
