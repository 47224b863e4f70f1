"""Steps of the Hopper tier's forward kernel over blocks of 64 keys: each group of warps has those that its rows see.

Made when a pass is prepared, as backward, from what the pattern answers about tiles.  A tile of 128 queries has two
groups.  Of the blocks that both see, two make a step of both; of the others, two make a step of one group, while the
other group has one of its own.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.hopper.backward_steps import pairs_of_tiles, tiles_of_keys
from sparsec.kernels.hopper.forward.block_plan import BLOCK_GONE, BLOCK_MASKS, NEXT_IS_OWN, NEXT_IS_SECOND, OF_ONE_GROUP
from sparsec.kernels.lists.tables import named_tiles
from sparsec.kernels.program.program import Kernel, Region, cdiv

STEP_BLOCK = 64  # queries of a group of warps, and keys
_GROUPS = 2
_LEAST_OF_GROUP = 2  # of a group in a tile: its queries are overwritten with results in the second step of the next one
_MASKS, _GONE, _SECOND, _OWN, _ONE = (
    getattr(flag, "value", flag) for flag in (BLOCK_MASKS, BLOCK_GONE, NEXT_IS_SECOND, NEXT_IS_OWN, OF_ONE_GROUP)
)


class BlockSteps(NamedTuple):
    """int32, on the device."""

    starts: Tensor  # [tiles + 1]: where the steps of a tile of queries begin
    steps: Tensor  # [steps, 3]: two blocks, and what `sparsec.kernels.hopper.forward.block_plan` says of the step


def in_whole_blocks(kernel: Kernel, q_offset: int) -> bool:
    """Whether what a kernel visits are blocks of 64 queries and keys, all of whose pairs are kept."""
    region = kernel.regions[0]
    filled = (region.tables_fill and region.full_named is None) or not region.rows_tables
    return kernel.block > 1 and kernel.block % STEP_BLOCK == q_offset % STEP_BLOCK == 0 and filled


def blocks_seen(region: Region, n_q: int, n: int, q_offset: int) -> Tensor:
    """Blocks of 64 keys that blocks of 64 queries see by ranges or tables: rising codes, queries * blocks + keys."""
    blocks, none = cdiv(n, STEP_BLOCK), torch.zeros(0, dtype=torch.int64)
    ranges = tiles_of_keys(region, n_q, n, q_offset, STEP_BLOCK, STEP_BLOCK)
    codes = [none, *(pairs_of_tiles(begin, end, blocks) for begin, end in ranges)]
    if region.rows_tables:
        sizes = n_q, n, q_offset, STEP_BLOCK, STEP_BLOCK
        (row, block), _ = named_tiles(region.rows_tables, "rows", *sizes, torch.device("cpu"))
        codes.append(row * blocks + block)
    return torch.cat(codes).unique()


def share_of_listed(region: Region, n_q: int, n: int, q_offset: int) -> float:
    """How many steps a group has, as a share of those over ranges of tiles of 128 keys."""
    tile = _GROUPS * STEP_BLOCK
    rows, tiles = cdiv(n_q, STEP_BLOCK), cdiv(n_q, tile)
    blocks, steps = torch.zeros(tiles * _GROUPS, dtype=torch.int64), torch.zeros(tiles, dtype=torch.int64)
    for begin, end in tiles_of_keys(region, n_q, n, q_offset, STEP_BLOCK, STEP_BLOCK):
        blocks[:rows] += end - begin
    for begin, end in tiles_of_keys(region, n_q, n, q_offset, tile, tile):
        steps += end - begin
    listed = (blocks.view(tiles, _GROUPS).amax(1) + 1) // 2
    return float(listed.sum() / steps.sum().clamp(min=1))


class _Entries(NamedTuple):
    """Blocks that a list names, an entry for each: where it stands there, and which groups see it."""

    line: Tensor
    step: Tensor  # within the line
    half: Tensor  # of the step
    block: Tensor
    seen: Tensor  # bool [entries, groups]
    masks: Tensor  # the same: whether a group sees some of its pairs only


@functools.lru_cache(maxsize=32)
def block_steps(
    region: Region, n_q: int, n: int, q_offset: int, split_rows: int, shares: int, device: torch.device
) -> BlockSteps:
    """The steps of a region at a length.

    Programs split the first `split_rows` rows in so many shares.  Where these are whole tiles, all steps are those of
    both groups; else each share is about 64 rows, of whose blocks each group has half.  Steps of shares stand behind
    those of all tiles, one tile or 64 rows after the other.
    """
    blocks, tiles = cdiv(n, STEP_BLOCK), cdiv(n_q, _GROUPS * STEP_BLOCK)
    code = blocks_seen(region, n_q, n, q_offset)
    seen = torch.stack([code // blocks, code % blocks, ~_whole(region, code // blocks, code % blocks, n, q_offset)])
    shared = split_rows // STEP_BLOCK
    found = [_steps_of_tiles(seen[:, seen[0] >= shared], blocks, tiles)]
    if shared % _GROUPS:
        found.append(_steps_of_shares(seen[:, seen[0] < shared], shared, shares))
    elif shared:
        found.append(_steps_of_split_tiles(seen[:, seen[0] < shared], blocks, shared // _GROUPS, shares))
    both, turns = (torch.cat(each) for each in zip(*(counts for counts, _ in found), strict=True))
    lines = [entries._replace(line=entries.line + tiles * place) for place, (_, entries) in enumerate(found)]
    entries = _Entries(*(torch.cat(each) for each in zip(*lines, strict=True)))
    starts = torch.cat([both.new_zeros(1), (both + 2 * turns).cumsum(0)])
    line = torch.repeat_interleave(torch.arange(len(both)), starts.diff())
    number = torch.arange(len(line)) - starts[line] - both[line]  # of steps of one group: 0, 1, ..
    last, alone = 2 * turns[line] - 2, number >= 0
    said = torch.where(alone, torch.where(number % 2 == 0, 3, 12), 15) * _GONE
    goes_on = number < last
    first = _ONE + _SECOND + _OWN * goes_on
    second = 2 * _ONE + 2 * (_SECOND + _OWN) * goes_on
    said += torch.where(alone, torch.where(number % 2 == 0, first, second), 0)
    said += torch.where((number == -1) & (last >= 0), 3 * _OWN + 2 * _SECOND, 0)
    at = starts[entries.line] + entries.step
    for group in range(_GROUPS):
        place = 2 * group + entries.half
        flags = entries.masks[:, group] * (_MASKS << place) - (_GONE << place)
        said.index_add_(0, at, entries.seen[:, group] * flags)
    none = torch.full_like(said, blocks)  # beyond the last one, where keys and values are zeros
    steps = torch.stack([none, none, said], 1)
    steps[at, entries.half] = entries.block
    return BlockSteps(starts.to(device, torch.int32), steps.to(device, torch.int32))


def _whole(region: Region, row: Tensor, block: Tensor, n: int, q_offset: int) -> Tensor:
    """Whether every pair of rows and blocks is kept."""
    q_lo, k_lo = row * STEP_BLOCK + q_offset, block * STEP_BLOCK
    if region.rows_tables:
        return k_lo + STEP_BLOCK <= n
    full = region.full(q_lo, q_lo + STEP_BLOCK - 1, k_lo, k_lo + STEP_BLOCK - 1, n, *region.more)
    return torch.as_tensor(full).expand(len(row)) & (k_lo + STEP_BLOCK <= n)


def _steps_of_tiles(
    visits: Tensor, blocks: int, tiles: int, together: bool = False
) -> tuple[tuple[Tensor, Tensor], _Entries]:
    """Of each tile how many steps are those of both groups and how many of each alone; and the entries of its blocks.

    visits: 64 rows, a block, and whether some of its pairs are left out.  `together`: all steps are those of both.
    """
    row, block, masks = visits
    codes, place = (row // _GROUPS * blocks + block).unique(return_inverse=True)
    seen = torch.zeros(len(codes), _GROUPS, dtype=torch.bool)
    masked = seen.clone()
    seen[place, row % _GROUPS] = True
    masked[place, row % _GROUPS] = masks.bool()
    tile = codes // blocks
    kind = torch.where(seen.all(1) | together, 0, 1 + seen[:, 1].long())  # 0 of both, or of one group
    counts = torch.bincount(3 * tile + kind, minlength=3 * tiles).view(tiles, 3)
    # Of an odd number of common blocks one goes to each group, where both have others.
    odd = (counts % 2 == 1)[:, 0] & (counts > 0).all(1)
    moved = odd[tile] & (kind == 0)
    moved[moved.clone()] = _places_among(tile[moved]) == counts[tile[moved], 0] - 1
    copied = torch.cat([torch.arange(len(codes)), moved.nonzero()[:, 0]])
    tile, block, seen, masked = tile[copied], codes[copied] % blocks, seen[copied], masked[copied]
    kind = torch.cat([torch.where(moved, 1, kind), torch.full((int(moved.sum()),), 2)])
    seen &= (kind[:, None] == 0) | (kind[:, None] == torch.tensor([1, 2]))
    order = (3 * tile + kind).argsort(stable=True)
    tile, block, seen, masked, kind = (x[order] for x in (tile, block, seen, masked, kind))
    rank = _places_among(3 * tile + kind)
    counts = torch.bincount(3 * tile + kind, minlength=3 * tiles).view(tiles, 3)
    both, first, second = ((counts + 1) // 2).unbind(1)  # two blocks a step
    turns = torch.minimum(first, second)
    turns -= ((both == 0) & (turns > 0)).long()
    all_of_both = torch.maximum(both + first + second - 2 * turns, _LEAST_OF_GROUP - turns)
    pair, own = rank // 2, kind - 1
    left = both[tile] + pair - turns[tile] + own * (first - turns)[tile]  # what one group has more than the other
    step = torch.where(pair < turns[tile], all_of_both[tile] + 2 * pair + own, left)
    step = torch.where(kind == 0, pair, step)
    return (all_of_both, turns), _Entries(tile, step, rank % 2, block, seen, masked & seen)


def _steps_of_split_tiles(
    visits: Tensor, blocks: int, tiles: int, shares: int
) -> tuple[tuple[Tensor, Tensor], _Entries]:
    """The same of shares of tiles, as if each were a tile of its own."""
    row, block, masks = visits
    codes, place = (row // _GROUPS * blocks + block).unique(return_inverse=True)
    tile = codes // blocks
    part = ((_places_among(tile) + 1) * shares - 1) // torch.bincount(tile, minlength=tiles)[tile]
    own = _GROUPS * (tile * shares + part)[place] + row % _GROUPS
    return _steps_of_tiles(torch.stack([own, block, masks]), blocks, tiles * shares, True)


def _steps_of_shares(visits: Tensor, rows: int, shares: int) -> tuple[tuple[Tensor, Tensor], _Entries]:
    """The same of shares of 64 rows: of the first two blocks, and of what is left at the end, each group has one."""
    row, block, masks = visits
    counts = torch.bincount(row, minlength=rows)
    parts = torch.arange(shares + 1) * counts[:, None] // shares
    sizes = parts.diff(dim=1).flatten()
    rank = _places_among(row)
    part = ((rank + 1) * shares - 1) // counts[row]
    line, rank = row * shares + part, rank - parts[row, part]
    pairs = ((sizes - 2).clamp(min=0) + 1) // 2  # behind the first one
    turns = pairs // 2
    both = torch.maximum(1 + pairs % 2, _LEAST_OF_GROUP - turns)
    pair = (rank - 2) // 2
    alone = (rank >= 2) & (pair < 2 * turns[line])
    step = torch.where(alone, both[line] + pair, (rank >= 2).long())
    group = torch.where(alone, pair % 2, rank % 2)
    seen = group[:, None] == torch.arange(_GROUPS)
    return (both, turns), _Entries(line, step, rank % 2, block, seen, seen & masks.bool()[:, None])


def _places_among(groups: Tensor) -> Tensor:
    """The place of each entry among those of its group, which stand side by side."""
    _, sizes = groups.unique_consecutive(return_counts=True)
    firsts = sizes.cumsum(0) - sizes
    return torch.arange(len(groups)) - firsts.repeat_interleave(sizes)
