"""Query tiles that a CPU takes together: stacks of those that visit nearly the same key tiles.

Products of more rows are faster, and the keys of a stack are read once.  A query tile that lacks a key tile of its
stack is masked there, so which tiles stand together is a matter of time alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.cpu.visits import NO_PAIR

_HEIGHTS = (2, 4, 8)  # query tiles of a stack
_TALLEST = _HEIGHTS[-1]
_ROWS = 54  # a product takes as long as one with so many rows more would, without what is lost for each key
_WORTH = 0.95  # of the time: what reading queries and keys from anywhere may cost besides


class Stacks(NamedTuple):
    """Stacks of equally many query tiles, and what each of them visits, stack after stack."""

    tiles: Tensor  # int64 [stacks, height]: query tiles
    stack: Tensor  # int64 [visits], rising
    key: Tensor  # int64 [visits]: key tiles, rising for each stack
    masks: Tensor  # int64 [visits, height]: as of `Visits`


def single_tiles(row: Tensor, key: Tensor, mask: Tensor) -> Stacks:
    """Every query tile by itself."""
    tiles, stack = row.unique_consecutive(return_inverse=True)
    return Stacks(tiles[:, None], stack, key, mask[:, None])


def stacks_of(row: Tensor, key: Tensor, mask: Tensor, rows: int) -> list[Stacks]:
    """Visits of query tiles of so many rows each as those of stacks, of the heights that are predicted to be fastest.

    Neighbours are taken together, or tiles wherever they stand that visit the same key tiles.
    """
    if not len(row):
        return []
    tiles, line = row.unique_consecutive(return_inverse=True)
    k_tiles = int(key.max()) + 1
    places = tiles - tiles[0] // _TALLEST * _TALLEST
    time, heights = _heights(places, line, key, k_tiles, rows)
    apart = _alike_together(tiles, places, line, key, k_tiles)
    if apart is not None:
        time_apart, heights_apart = _heights(apart, line, key, k_tiles, rows)
        if time_apart < _WORTH * time:
            places, heights = apart, heights_apart
    return [
        _stacked(tiles, places, heights == height, line, key, mask, k_tiles, height)
        for height in (*reversed(_HEIGHTS), 1)
        if (heights == height).any()
    ]


def _heights(places: Tensor, line: Tensor, key: Tensor, k_tiles: int, rows: int) -> tuple[float, Tensor]:
    """The predicted time of all visits, and of each query tile the height of its stack.

    A stack has the tiles whose place is the same but for the last bits, if all of them are there.
    """
    count = (int(places.max()) // _TALLEST + 1) * _TALLEST
    there, visits = torch.bincount(places, minlength=count), torch.bincount(places[line], minlength=count)
    time = visits * (1 + _ROWS / rows)
    heights = torch.ones_like(places)
    for height in _HEIGHTS:
        stacks = (places[line] // height * k_tiles + key).unique() // k_tiles
        visits = torch.bincount(stacks, minlength=count // height)
        together = visits * (height * (1 + _ROWS / (rows * height)))
        taken = (there.view(-1, height).sum(1) == height) & (together <= time.view(-1, 2).sum(1))
        time = torch.where(taken, together, time.view(-1, 2).sum(1))
        heights = torch.where(taken[places // height], height, heights)
    return float(time.sum()), heights


def _alike_together(tiles: Tensor, places: Tensor, line: Tensor, key: Tensor, k_tiles: int) -> Tensor | None:
    """Places where query tiles that visit the same stand together, eight, four or two of them; None if none do.

    The others keep their places, after the last of these.
    """
    weights = torch.randint(1 << 62, (k_tiles,), generator=torch.Generator().manual_seed(0))
    sums = torch.zeros_like(tiles).index_add_(0, line, weights[key])  # modulo 2 ** 64; equal sums may be another's
    _, kind, counts = sums.unique(return_inverse=True, return_counts=True)
    if len(counts) == len(tiles):
        return None
    by_kind = kind.argsort(stable=True)
    rank = torch.empty_like(kind)
    rank[by_kind] = torch.arange(len(kind)) - (counts.cumsum(0) - counts)[kind[by_kind]]
    first = by_kind[(counts.cumsum(0) - counts)[kind]]
    height = torch.ones_like(kind)
    for each in _HEIGHTS:
        height = torch.where(rank < counts[kind] // each * each, each, height)
    found, after = places.clone(), 0
    for each in reversed(_HEIGHTS):
        some = (height == each).nonzero()[:, 0]
        some = some[(first[some] * len(tiles) + rank[some]).argsort()]
        found[some] = after + torch.arange(len(some))
        after += -(-len(some) // _TALLEST) * _TALLEST
    found[height == 1] += after
    return found


def _stacked(
    tiles: Tensor, places: Tensor, some: Tensor, line: Tensor, key: Tensor, mask: Tensor, k_tiles: int, height: int
) -> Stacks:
    """The stacks of one height, of `some` of the tiles."""
    codes, stack = (places[some] // height).unique(return_inverse=True)
    own = torch.empty(len(codes), height, dtype=torch.int64)
    own[stack, places[some] % height] = tiles[some]
    visits = some[line]
    line, key, mask = line[visits], key[visits], mask[visits]
    stack_of = torch.zeros_like(places).masked_scatter_(some, stack)
    code, visit = (stack_of[line] * k_tiles + key).unique(return_inverse=True)
    masks = torch.full((len(code), height), NO_PAIR)
    masks[visit, places[line] % height] = mask
    return Stacks(own, code // k_tiles, code % k_tiles, masks)
