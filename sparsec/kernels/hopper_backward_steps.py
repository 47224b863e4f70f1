"""The steps of the backward kernel of the Hopper tier: which tiles of queries each tile of keys visits, in which order.

Made when a pass is prepared, from what the pattern answers about tiles of queries, so that a step and its place among
all that add to the same tile of dq are found from one list, whatever the pattern.  The table takes 8 bytes a pair of
tiles, 64 queries by 128 keys.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.hopper_backward_tiles import ADDS, CLOSES, STEP_FLAGS, WHOLE_HALF
from sparsec.kernels.program import Region, cdiv

STEP_QUERIES, STEP_KEYS = 64, 128  # of a tile
MOST_STEPS = 1 << 22  # of a head
_FLAGS = [getattr(flag, "value", flag) for flag in (STEP_FLAGS, CLOSES, ADDS, WHOLE_HALF)]


class BackwardSteps(NamedTuple):
    """int32 tables, as `sparsec.kernels.hopper_backward_plan` says."""

    tiles: Tensor  # [tiles + 1, 2]: those with any step
    steps: Tensor  # [steps, 2]
    follow: bool  # whether tiles of keys visit so many queries that they follow one another through them
    every_query: bool  # whether some step visits every tile of queries
    every_key: bool


def count_steps(region: Region, n_q: int, n: int, q_offset: int) -> int:
    """How many steps there are, or more where ranges overlap."""
    return int(sum((end - begin).sum() for begin, end in _key_tiles(region, n_q, n, q_offset)))


@functools.lru_cache(maxsize=32)
def steps_of(region: Region, n_q: int, n: int, q_offset: int, prefix: int, device: torch.device) -> BackwardSteps:
    """The steps of a region at a length.

    Tiles of keys come from the first to the last, or the other way where the last ones have more steps, and visit their
    queries from the last to the first.  So those of a window add to dq in this order without waiting, and those of
    causal attention follow one another one step apart.  Tiles of keys below `prefix`, which have far more steps than
    others, go the other way through their queries, and others follow them.
    """
    query_tiles, key_tiles = cdiv(n_q, STEP_QUERIES), cdiv(n, STEP_KEYS)
    codes = torch.cat(
        [_pairs_of_tiles(begin, end, key_tiles) for begin, end in _key_tiles(region, n_q, n, q_offset)]
    ).unique()
    query, key = codes // key_tiles, codes % key_tiles
    counts = torch.bincount(key, minlength=key_tiles)
    backwards = bool(counts[-1] > counts[0])
    if backwards:
        codes = (query * key_tiles + key_tiles - 1 - key).sort()[0]
        query, key = codes // key_tiles, key_tiles - 1 - codes % key_tiles
    visits = torch.bincount(query, minlength=query_tiles)
    rank = torch.arange(len(codes)) - (visits.cumsum(0) - visits)[query]
    shift, closes, adds, whole = _FLAGS
    said = (rank << shift) + closes * (rank == visits[query] - 1) + adds * (rank > 0)
    said += whole * _whole_halves(region, query, key, n, q_offset)
    turn = key_tiles - 1 - key if backwards else key
    place = torch.where(key * STEP_KEYS < prefix, query, query_tiles - 1 - query)
    order = (turn * query_tiles + place).argsort()
    numbers = torch.arange(key_tiles)[counts > 0]
    numbers = numbers.flip(0) if backwards else numbers
    ends = counts[numbers].cumsum(0)
    tiles = torch.stack([torch.cat([numbers, numbers[:1]]), torch.cat([ends.new_zeros(1), ends])], 1)
    steps = torch.stack([query, said], 1)[order]
    follow = bool(2 * counts.max() > query_tiles)
    every = bool((visits > 0).all()), bool((counts > 0).all())
    return BackwardSteps(tiles.to(device, torch.int32), steps.to(device, torch.int32), follow, *every)


def _key_tiles(region: Region, n_q: int, n: int, q_offset: int) -> list[tuple[Tensor, Tensor]]:
    """Half-open ranges of tiles of keys, an entry for each tile of queries."""
    tiles = cdiv(n_q, STEP_QUERIES)
    first = torch.arange(tiles) * STEP_QUERIES + q_offset
    found = []
    for ends in region.keys_visited(first, first + STEP_QUERIES - 1, n, *region.more):
        begin, end = (torch.as_tensor(x).expand(tiles).clamp(0, n) for x in ends)
        there = begin < end
        found.append((torch.where(there, begin // STEP_KEYS, 0), torch.where(there, cdiv(end, STEP_KEYS), 0)))
    return found


def _pairs_of_tiles(begin: Tensor, end: Tensor, key_tiles: int) -> Tensor:
    """Codes query * key_tiles + key of the tiles in a range of each tile of queries."""
    counts = end - begin
    query = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return query * key_tiles + begin[query] + torch.arange(len(query)) - (counts.cumsum(0) - counts)[query]


def _whole_halves(region: Region, query: Tensor, key: Tensor, n: int, q_offset: int) -> Tensor:
    """Of steps: 1 where every pair of the queries and the first half of the keys is kept, and 2 with the second."""
    half, q_lo, found = STEP_KEYS // 2, query * STEP_QUERIES + q_offset, torch.zeros_like(query)
    for place in range(2):
        k_lo = key * STEP_KEYS + place * half
        full = region.is_full(q_lo, q_lo + STEP_QUERIES - 1, k_lo, k_lo + half - 1, n, *region.more)
        found += (torch.as_tensor(full) & (k_lo + half <= n)).to(found.dtype) << place
    return found
