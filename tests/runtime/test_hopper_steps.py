"""The steps of the Hopper tier's gradients: every pair is visited once, and all that add to a tile have an order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import mask_of, module_of, pattern_of

from sparsec.kernels.hopper_backward import heads_in_turn
from sparsec.kernels.hopper_backward_steps import STEP_KEYS, STEP_QUERIES, count_steps, steps_of
from sparsec.kernels.program import cdiv

CLOSES, ADDS, WHOLE = 1, 2, 4
PATTERNS = ["k < n", "causal", "k >= q", "past(300)", "past(100) | sinks(4)", "window(200) | global(40)"]
PATTERNS += ["past(100) & q >= 400", "block_window(96, 3)", "k < 200 | k >= q & k < q + 77"]


@pytest.mark.parametrize("text", PATTERNS)
@settings(max_examples=8)
@given(n_q=st.integers(1, 900), n=st.integers(1, 900), q_offset=st.integers(0, 300))
def test_steps(text: str, n_q: int, n: int, q_offset: int) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    kernel = module_of(pattern)._PROGRAM.groups[0].at(n).of("dkdv")[0]
    (region,), shape = kernel.regions, (cdiv(n_q, STEP_QUERIES), cdiv(n, STEP_KEYS))
    kept = np.zeros((shape[0] * STEP_QUERIES, shape[1] * STEP_KEYS), bool)
    kept[:n_q, :n] = mask_of(pattern, n_q, n, q_offset)
    some = kept.reshape(shape[0], STEP_QUERIES, shape[1], STEP_KEYS).any((1, 3))
    if not count_steps(region, n_q, n, q_offset):
        assert not some.any()
        return
    made = steps_of(region, n_q, n, q_offset, kernel.split_prefix, torch.device("cpu"))
    visits: dict[int, list[int]] = {}
    visited = np.zeros(shape, int)
    for (key, begin), (_, end) in zip(made.tiles.tolist(), made.tiles.tolist()[1:], strict=False):
        assert begin < end
        for query, said in made.steps[begin:end].tolist():
            visited[query, key] += 1
            visits.setdefault(query, []).append(said)
            for half in range(2):
                first, rows = key * STEP_KEYS + half * STEP_KEYS // 2, slice(query * STEP_QUERIES, n_q)
                if said & WHOLE << half:
                    assert first + STEP_KEYS // 2 <= n
                    assert kept[rows][:STEP_QUERIES, first : first + STEP_KEYS // 2].all()
    assert visited.max() == 1
    assert (visited >= some).all()
    assert made.every_query == visited.any(1).all()
    assert made.every_key == visited.any(0).all()
    for said in visits.values():  # in the order in which programs take tiles, so that a step waits for earlier tiles
        last = len(said) - 1
        assert [each >> 4 for each in said] == list(range(last + 1))
        assert [each & (CLOSES | ADDS) for each in said] == [
            CLOSES * (place == last) | ADDS * (place > 0) for place in range(last + 1)
        ]


def test_the_order_of_steps() -> None:
    """From the last queries to the first, but where keys have far more queries than others."""
    program = module_of(pattern_of("pattern p = past(100) | sinks(4)"))._PROGRAM
    kernel = program.groups[0].at(2048).of("dkdv")[0]
    made = steps_of(kernel.regions[0], 2048, 2048, 0, kernel.split_prefix, torch.device("cpu"))
    starts, queries = made.tiles[:, 1].tolist(), made.steps[:, 0].tolist()
    assert made.tiles[:-1, 0].tolist() == list(range(16))
    assert queries[: starts[1]] == list(range(32))
    assert queries[starts[1] : starts[2]] == [5, 4, 3, 2]
    assert made.follow
    backwards = module_of(pattern_of("pattern p = k >= q"))._PROGRAM.groups[0].at(512).of("dkdv")[0]
    made = steps_of(backwards.regions[0], 512, 512, 0, backwards.split_prefix, torch.device("cpu"))
    assert made.tiles[:-1, 0].tolist() == [3, 2, 1, 0]


@given(least=st.integers(1, 99), rows=st.integers(1, 99))
def test_heads_that_take_turns(least: int, rows: int) -> None:
    found = heads_in_turn(least, rows)
    assert min(least, rows) <= found <= rows
    assert rows % found == 0 or rows % found >= least
    assert [heads_in_turn(*each) for each in ((4, 16), (7, 16), (5, 16), (50, 32))] == [4, 8, 8, 32]
