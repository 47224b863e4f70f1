"""Steps of the Hopper tier over blocks of keys: together they have the pairs of the pattern, each once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import mask_of, module_of, pattern_of
from support.hopper_on_cpu import BlockProgram

from sparsec.ir.nodes import Pattern
from sparsec.kernels.hopper.block_steps import BlockSteps, block_steps, in_whole_blocks
from sparsec.kernels.hopper.forward.plan import HopperWork
from sparsec.kernels.hopper.launch_blocks import share_every
from sparsec.kernels.program.program import Kernel, cdiv

BLOCK, TILE = 64, 128
MASKS, GONE, SECOND, OWN, ONE = 8, 128, 2048, 8192, 32768
PATTERNS = ["k < n", "causal & q % 3 != 0", "past(300) | sinks(4)", "window(200) | global(40)", "past(100) & q >= 400"]
PATTERNS += ["window(90) | global(150)", "block_window(64, 3) | global(128) | random_blocks(64, 3, 0)"]
PATTERNS += ["block_window(64, 1) | global(64) | random_blocks(64, 2, 3)", "random_past_blocks(128, 1, 2)"]

Step = tuple[int, int, int]  # two blocks and what is said of them


def steps_by_group(made: BlockSteps, line: int) -> tuple[list[Step], list[Step]]:
    """The steps of a line of the list that each group has, as it finds them."""
    listed = made.steps[made.starts[line] : made.starts[line + 1]].tolist()
    found: tuple[list[Step], list[Step]] = [], []
    for group, steps in enumerate(found):
        at, own = 0, False
        while at < len(listed):
            said = listed[at][2]
            assert said // ONE & 3 == (1 + group if own else 0)
            steps.append(listed[at])
            own, at = bool(said & OWN << group), at + 1 + bool(said & SECOND << group)
        assert not own  # the first step of what follows is one of both groups
        assert len(steps) >= 2
        assert len(steps) == sum(said // ONE & 3 in (0, 1 + group) for _, _, said in listed)
    return found


def kernel_of(pattern: Pattern, n: int) -> Kernel:
    return module_of(pattern)._PROGRAM.groups[0].at(n).of("forward")[0]


def split_of(kernel: Kernel, n_q: int, q_offset: int, shares: int) -> tuple[int, int]:
    """How many rows programs split, and of how many rows a share is."""
    prefix = min(max(kernel.split_prefix - q_offset, 0), n_q) if shares else 0
    rows = BLOCK if cdiv(prefix, BLOCK) % 2 else TILE
    return cdiv(prefix, rows) * rows, rows


@pytest.mark.parametrize("text", PATTERNS)
@settings(max_examples=6, deadline=None)
@given(n_q=st.integers(1, 700), n=st.integers(1, 900), offset=st.integers(0, 4), shares=st.sampled_from((0, 2, 3)))
def test_pairs(text: str, n_q: int, n: int, offset: int, shares: int) -> None:
    pattern, q_offset = pattern_of(f"pattern p = {text}"), offset * BLOCK
    kernel = kernel_of(pattern, n)
    assert not kernel.regions[0].rows_tables or in_whole_blocks(kernel, q_offset)
    split_rows, rows = split_of(kernel, n_q, q_offset, shares)
    made = block_steps(kernel.regions[0], n_q, n, q_offset, split_rows, shares, torch.device("cpu"))
    kept, tiles = np.zeros((cdiv(n_q, TILE) * TILE, cdiv(n, BLOCK) * BLOCK), bool), cdiv(n_q, TILE)
    kept[:n_q, :n] = mask_of(pattern, n_q, n, q_offset)
    found = np.zeros(kept.shape, int)
    assert len(made.starts) == 1 + tiles + split_rows // rows * shares
    for line in range(len(made.starts) - 1):
        for group, steps in enumerate(steps_by_group(made, line)):
            row = line * TILE + group * BLOCK
            if line >= tiles:
                row = (line - tiles) // shares * rows + group * (rows - BLOCK)
            for *blocks, said in steps:
                for half, block in enumerate(blocks):
                    pairs = slice(row, row + BLOCK), slice(block * BLOCK, (block + 1) * BLOCK)
                    flags = said >> 2 * group + half
                    if not flags & GONE:
                        found[pairs] += kept[pairs] if flags & MASKS else 1
    assert (found[:n_q] == kept[:n_q]).all()


@pytest.mark.parametrize("text", PATTERNS[3:])
@settings(max_examples=3, deadline=None)
@given(st.integers(1, 700), st.integers(200, 900), st.integers(0, 2), st.integers(1, 9), st.integers(1, 3))
def test_programs(text: str, n_q: int, n: int, offset: int, programs: int, shares: int) -> None:
    """Programs store every tile once, or every share of it, with the steps of each group, and none waits for ever."""
    pattern, q_offset, heads = pattern_of(f"pattern p = {text}"), offset * BLOCK, 2
    kernel, tiles = kernel_of(pattern, n), cdiv(n_q, TILE)
    split_rows, rows = split_of(kernel, n_q, q_offset, shares)
    twin = split_rows > 0 and rows == BLOCK
    made = block_steps(kernel.regions[0], n_q, n, q_offset, split_rows, shares, torch.device("cpu"))
    count, skipped = split_rows // rows, split_rows // TILE
    every = share_every(count * shares * heads, (tiles - skipped + count * shares) * heads, programs)
    sizes = 1, n_q, n, q_offset, tiles, heads, count, shares, None, 0
    work = HopperWork(None, None, heads, heads, *sizes)
    found, expected = Counter(), Counter()
    for number in range(programs):
        for each in BlockProgram(number, programs, work, made, every, GROUP=1, SPLIT=count > 0, TWIN=twin).run():
            assert {*each.queries} == {("Q", 0, each.head, each.row, 0)}
            blocks = []
            for (name, *keys), (values, *place) in each.steps:
                assert (name, values) == ("K", "V")
                assert keys == place == [0, each.head, *keys[2:]]  # values meet the weights of their own keys
                blocks.append(tuple(keys[2:]))
            found[each.group, each.head, each.row, each.part, tuple(blocks)] += 1
    lines = [(tile, tile * TILE, -1) for tile in range(skipped, tiles)]
    lines += [(tiles + i * shares + part, i * rows, part) for i in range(count) for part in range(shares)]
    for line, row, part in lines:
        for group, steps in enumerate(steps_by_group(made, line)):
            blocks = tuple((one, two) for one, two, _ in steps)
            own = row + (0 if part >= 0 and twin else group * BLOCK)
            expected += Counter((group, head, own, part, blocks) for head in range(heads))
    assert found == expected
