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

from sparsec.kernels.hopper_backward_steps import blocks_seen, in_whole_blocks
from sparsec.kernels.hopper_block_kernel import (
    BLOCK_GONE,
    BLOCK_MASKS,
    NEXT_IS_OWN,
    NEXT_IS_SECOND,
    OF_ONE_GROUP,
)
from sparsec.kernels.program import Kernel, Region, cdiv

STEP_BLOCK = 64  # queries of a group of warps, and keys
_GROUPS = 2
_LEAST_STEPS = 2  # of a group in a tile: its queries are overwritten with results in the second step of the next one
_MASKS, _GONE, _SECOND, _OWN, _ONE = (
    getattr(flag, "value", flag) for flag in (BLOCK_MASKS, BLOCK_GONE, NEXT_IS_SECOND, NEXT_IS_OWN, OF_ONE_GROUP)
)


class BlockSteps(NamedTuple):
    """int32, on the device."""

    starts: Tensor  # [tiles + 1]: where the steps of a tile of queries begin
    steps: Tensor  # [steps, 3]: two blocks, and what `sparsec.kernels.hopper_block_kernel` says of the step


def has_blocks(kernel: Kernel, q_offset: int) -> bool:
    """Whether steps of a forward kernel can come from a list of blocks."""
    region = kernel.regions[0]
    if region.answers.score is not None or region.answers.exponent is not None or region.answers.tilt is not None:
        return False
    return not region.rows_tables or in_whole_blocks(kernel, q_offset)


@functools.lru_cache(maxsize=32)
def block_steps(
    region: Region, n_q: int, n: int, q_offset: int, split_rows: int, shares: int, device: torch.device
) -> BlockSteps:
    """The steps of a region at a length.

    Programs split the first `split_rows` rows.  Where these are whole tiles, all of their steps are those of both
    groups.  Else `shares` says in how many: each share is about 64 rows, of whose blocks each group has half, and its
    steps stand behind those of all tiles, 64 rows after the other.
    """
    rows, blocks = cdiv(n_q, STEP_BLOCK), cdiv(n, STEP_BLOCK)
    code = blocks_seen(region, n_q, n, q_offset)
    whole = _whole(region, code // blocks, code % blocks, n, q_offset)
    seen: list[dict[int, bool]] = [{} for _ in range(cdiv(rows, _GROUPS) * _GROUPS)]
    for row, block, full in zip((code // blocks).tolist(), (code % blocks).tolist(), whole.tolist(), strict=True):
        seen[row][block] = full
    shared = seen[: split_rows // STEP_BLOCK] if shares else []
    starts, steps = [0], []
    for tile in range(len(seen) // _GROUPS):
        first, second = ({} if place < len(shared) else seen[place] for place in (2 * tile, 2 * tile + 1))
        steps += _steps_of_tile(first, second, tile * _GROUPS * STEP_BLOCK < split_rows)
        starts.append(len(steps))
    for own in shared:
        for part in range(shares):
            listed = sorted(own)[part * len(own) // shares : (part + 1) * len(own) // shares]
            steps += _steps_of_share({block: own[block] for block in listed})
            starts.append(len(steps))
    return BlockSteps(
        torch.tensor(starts, dtype=torch.int32).to(device), torch.tensor(steps, dtype=torch.int32).to(device)
    )


def _whole(region: Region, row: Tensor, block: Tensor, n: int, q_offset: int) -> Tensor:
    """Whether every pair of rows and blocks is kept."""
    q_lo, k_lo = row * STEP_BLOCK + q_offset, block * STEP_BLOCK
    if region.rows_tables:
        return k_lo + STEP_BLOCK <= n
    full = region.is_full(q_lo, q_lo + STEP_BLOCK - 1, k_lo, k_lo + STEP_BLOCK - 1, n, *region.more)
    return torch.as_tensor(full).expand(len(row)) & (k_lo + STEP_BLOCK <= n)


def _steps_of_tile(first: dict[int, bool], second: dict[int, bool], together: bool) -> list[tuple[int, int, int]]:
    """The steps of a tile, from the blocks that its groups see, and whether these are kept whole."""
    if together:
        both = sorted({**first, **second})
        own: list[list[int]] = [[], []]
    else:
        both = sorted(block for block in first if block in second)
        own = [
            sorted(block for block in one if block not in other) for one, other in ((first, second), (second, first))
        ]
        if len(both) % 2 and own[0] and own[1]:
            for blocks in own:
                blocks.insert(0, both[-1])
            both.pop()
    shared = _in_pairs(both)
    alone = [_in_pairs(blocks) for blocks in own]
    turns = min(map(len, alone))
    if not shared:
        turns = max(turns - 1, 0)
    shared += [pair for pairs in alone for pair in pairs[turns:]]
    return _in_turns(shared, alone[0][:turns], alone[1][:turns], first, second)


def _steps_of_share(seen: dict[int, bool]) -> list[tuple[int, int, int]]:
    """The steps of 64 rows, of whose blocks each group has half: of the first two and what is left at the end one each."""
    blocks = sorted(seen)
    pairs = _in_pairs(blocks[2:])
    turns = len(pairs) // 2
    shared = _in_pairs(blocks[:2]) + pairs[2 * turns :]
    alone = pairs[: 2 * turns : 2], pairs[1 : 2 * turns : 2]
    first, second = (
        {
            block: seen[block]
            for pair in (*(each[group : group + 1] for each in shared), *alone[group])
            for block in pair
            if block >= 0
        }
        for group in range(2)
    )
    return _in_turns(shared, *alone, first, second)


def _in_turns(
    shared: list[tuple[int, int]],
    alone: list[tuple[int, int]],
    others: list[tuple[int, int]],
    first: dict[int, bool],
    second: dict[int, bool],
) -> list[tuple[int, int, int]]:
    """Steps of both groups, then one of the first group and one of the second in turn, as many of each."""
    shared = shared + [(-1, -1)] * (_LEAST_STEPS - len(shared) - len(alone))
    steps = [_said(pair, (first, second)) for pair in shared]
    for own, other in zip(alone, others, strict=True):
        steps += [_said(own, (first, None)), _said(other, (None, second))]
    if alone:  # what follows which step, of each group
        at = len(shared)
        steps[at - 1] = _with(steps[at - 1], _OWN * 3 + _SECOND * 2)
        for turn in range(len(alone)):
            last = turn == len(alone) - 1
            steps[at + 2 * turn] = _with(steps[at + 2 * turn], _ONE + _SECOND + (0 if last else _OWN))
            flags = 2 * _ONE + (0 if last else 2 * (_SECOND + _OWN))
            steps[at + 2 * turn + 1] = _with(steps[at + 2 * turn + 1], flags)
    return steps


def _in_pairs(blocks: list[int]) -> list[tuple[int, int]]:
    """Two at a time; -1: there is none."""
    return [(*blocks[i : i + 2], -1)[:2] for i in range(0, len(blocks), 2)]


def _said(pair: tuple[int, int], seen: tuple[dict[int, bool] | None, ...]) -> tuple[int, int, int]:
    """A step of two blocks, with flags for the groups that have it."""
    said = 0
    for group, blocks in enumerate(seen):
        for half, block in enumerate(pair):
            if blocks is not None:
                said += (_MASKS << 2 * group + half) * (not blocks.get(block, True))
                said += (_GONE << 2 * group + half) * (block not in blocks)
    first, second = (max(block, 0) for block in pair)
    return first, second, said


def _with(step: tuple[int, int, int], flags: int) -> tuple[int, int, int]:
    return step[0], step[1], step[2] + flags
