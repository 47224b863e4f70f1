"""The steps of the backward kernel of the Hopper tier: which tiles of queries each tile of keys visits, in which order.

Made when a pass is prepared, from what the pattern answers about tiles of queries, so that a step and its place among
all that add to the same tile of dq are found from one list, whatever the pattern.  The table takes 12 bytes a pair of
tiles, of 64 or 128 queries by 128 keys.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.hopper.backward.tiles import ADDS, CLOSES, STEP_FLAGS, WHOLE_PART
from sparsec.kernels.hopper.resources import BACKWARD_TILES
from sparsec.kernels.program.program import Region, cdiv

STEP_QUERIES = {size: tiles.queries for size, tiles in BACKWARD_TILES.items()}  # of a tile, by head size
STEP_KEYS = 128
STEP_ROWS = 64  # queries that are looked at together
_PART = 32  # least steps of a part
_MOST_PARTS = 64
_MANY_TIMES = 4  # times as many steps as half of the tiles of queries have at most are far more
_CHAIN = 8  # steps that add to one of several sums, at least
_MOST_SUMS = 32
_FLAGS = [getattr(flag, "value", flag) for flag in (STEP_FLAGS, CLOSES, ADDS, WHOLE_PART)]


class BackwardSteps(NamedTuple):
    """int32 tables, as `sparsec.kernels.hopper.backward.plan` says."""

    tiles: Tensor  # [tiles + 1, 3]: those with any step, the first ones in parts
    steps: Tensor  # [steps, 3]
    split: int  # how many tiles come in parts, and in how many
    parts: int
    joined: Tensor  # [tiles of queries, 3] with several sums: the tile, its first sum, how many there are
    sums: int  # one for each tile of queries, and then those
    follow: bool  # whether tiles of keys visit so many queries that they follow one another through them
    every_query: bool  # whether some step visits every tile of queries
    every_key: bool


def count_steps(region: Region, n_q: int, n: int, q_offset: int, queries: int) -> int:
    """How many steps there are of tiles of so many queries, or more where ranges overlap."""
    return int(sum((end - begin).sum() for begin, end in tiles_of_keys(region, n_q, n, q_offset, queries, STEP_KEYS)))


def listed_steps(key_tiles: int, n_q: int, queries: int) -> int:
    """How many steps so many tiles of keys have at most, of sequences of up to n_q queries."""
    return key_tiles * cdiv(n_q, queries)


def last_tiles_first(region: Region, n_q: int, n: int, queries: int) -> bool:
    """Whether tiles of keys of sequences come from the last to the first, as in `steps_of`: the last have more steps.

    As of one sequence of n_q queries at the end of n keys.
    """
    tiles, steps = cdiv(n, STEP_KEYS), []
    for key in (0, tiles - 1):
        ranges = tiles_of_keys(region, n_q, n, max(n - n_q, 0), queries, STEP_KEYS)
        steps.append(int(torch.stack([(begin <= key) & (key < end) for begin, end in ranges]).any(0).sum()))
    return steps[1] > steps[0]


@functools.lru_cache(maxsize=32)
def steps_of(
    region: Region, n_q: int, n: int, q_offset: int, prefix: int, queries: int, device: torch.device
) -> BackwardSteps:
    """The steps of a region at a length, of tiles of so many queries.

    Tiles of keys come from the first to the last, or the other way where the last ones have more steps, and visit their
    queries from the last to the first.  So those of a window add to dq in this order without waiting, and those of
    causal attention follow one another one step apart.  Keys below `prefix`, which far more queries see than others,
    come in parts before all tiles: parts are longer, and at the end, few programs would work.  Tiles of queries that
    far more keys visit than others have several sums, to which their steps add in turn.
    """
    query_tiles, key_tiles = cdiv(n_q, queries), cdiv(n, STEP_KEYS)
    ranges = tiles_of_keys(region, n_q, n, q_offset, queries, STEP_KEYS)
    codes = torch.cat([pairs_of_tiles(begin, end, key_tiles) for begin, end in ranges]).unique()
    query, key = codes // key_tiles, codes % key_tiles
    counts, visits = (torch.bincount(x, minlength=m) for x, m in ((key, key_tiles), (query, query_tiles)))
    split, parts = _parts(counts, prefix)
    whole = key >= split
    backwards = bool(counts[-1] > counts[split])
    turn = key_tiles - 1 - key if backwards else key
    by_key = (key * query_tiles + query).argsort()
    part = torch.empty_like(key)
    part[by_key] = _places(key[by_key], counts) % parts
    # What a program takes at a time: a part, or a tile by its turn.
    taken = torch.where(whole, split * parts + turn, key * parts + part)
    by_query = (query * (split * parts + key_tiles) + taken).argsort()
    rank = torch.empty_like(key)
    rank[by_query] = _places(query[by_query], visits)
    joined, sums = _several_sums(visits)
    several = torch.ones_like(visits)
    several[joined[:, 0]] = joined[:, 2]
    first = torch.arange(query_tiles)
    first[joined[:, 0]] = joined[:, 1]
    several = several[query]
    shift, closes, adds, parts_whole = _FLAGS
    said = (rank // several << shift) + closes * ((several == 1) & (rank == visits[query] - 1))
    said += adds * (rank >= several) + parts_whole * _whole_parts(region, query, key, n, q_offset, queries)
    order = (taken * query_tiles + torch.where(whole, query_tiles - 1 - query, query)).argsort()
    steps = torch.stack([query, said, first[query] + rank % several], 1)[order]
    lengths = torch.bincount(taken)
    lengths = lengths[lengths > 0]
    begins = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    at = order[torch.cat([begins[:-1], begins[:1]])]
    tiles = torch.stack([key[at], begins, torch.where(whole, -1, part)[at]], 1)
    return BackwardSteps(
        tiles.to(device, torch.int32),
        steps.to(device, torch.int32),
        split,
        parts,
        joined.to(device, torch.int32),
        sums,
        bool(2 * lengths.max() > query_tiles),
        bool((visits > 0).all()),
        bool((counts > 0).all()),
    )


def _parts(counts: Tensor, prefix: int) -> tuple[int, int]:
    """How many of the first tiles of keys come in parts, and in how many: all in as many."""
    tiles = min(cdiv(prefix, STEP_KEYS), len(counts) - 1)
    parts = min(int(counts[:tiles].min()) // _PART, _MOST_PARTS) if tiles > 0 else 1
    return (tiles, parts) if parts > 1 else (0, 1)


def _places(groups: Tensor, sizes: Tensor) -> Tensor:
    """The place of each entry in its group, where groups stand one after the other."""
    return torch.arange(len(groups)) - (sizes.cumsum(0) - sizes)[groups]


def _several_sums(visits: Tensor) -> tuple[Tensor, int]:
    """Tiles of queries with several sums, as in `BackwardSteps.joined`, and how many sums there are of all."""
    many = (visits > max(_MANY_TIMES * int(visits.median()), 2 * _CHAIN)).nonzero()[:, 0]
    each = (visits[many] // _CHAIN).clamp(max=_MOST_SUMS)
    first = len(visits) + each.cumsum(0) - each
    return torch.stack([many, first, each], 1), len(visits) + int(each.sum())


def tiles_of_keys(
    region: Region, n_q: int, n: int, q_offset: int, queries: int, keys: int
) -> list[tuple[Tensor, Tensor]]:
    """Half-open ranges of tiles of so many keys, an entry for each tile of so many queries."""
    tiles = cdiv(n_q, queries)
    first = torch.arange(tiles) * queries + q_offset
    found = []
    for ends in region.keys(first, first + queries - 1, n, *region.more):
        begin, end = (torch.as_tensor(x).expand(tiles).clamp(0, n) for x in ends)
        there = begin < end
        found.append((torch.where(there, begin // keys, 0), torch.where(there, cdiv(end, keys), 0)))
    return found


def pairs_of_tiles(begin: Tensor, end: Tensor, key_tiles: int) -> Tensor:
    """Codes query * key_tiles + key of the tiles in a range of each tile of queries."""
    counts = end - begin
    query = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return query * key_tiles + begin[query] + torch.arange(len(query)) - (counts.cumsum(0) - counts)[query]


def _whole_parts(region: Region, query: Tensor, key: Tensor, n: int, q_offset: int, queries: int) -> Tensor:
    """Of steps: 1 where every pair of the first 64 queries and the first half of the keys is kept, 2 where those of the
    second half are, and 4 and 8 where those of other 64 queries are.
    """
    half, found = STEP_KEYS // 2, torch.zeros_like(query)
    for place in range(queries // STEP_ROWS * 2):
        q_lo, k_lo = query * queries + place // 2 * STEP_ROWS + q_offset, key * STEP_KEYS + place % 2 * half
        full = region.full(q_lo, q_lo + STEP_ROWS - 1, k_lo, k_lo + half - 1, n, *region.more)
        found += (torch.as_tensor(full) & (k_lo + half <= n)).to(found.dtype) << place
    return found
