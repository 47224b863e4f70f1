"""The steps of the Hopper tier's gradients: every pair is visited once, and all that add to a tile have an order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import mask_of, module_of, pattern_of

from sparsec.kernels.hopper.backward_steps import (
    STEP_KEYS,
    STEP_QUERIES,
    STEP_ROWS,
    count_steps,
    steps_of,
)
from sparsec.kernels.hopper.launch_backward import heads_in_turn
from sparsec.kernels.program.program import cdiv

CLOSES, ADDS, WHOLE, FLAGS = 1, 2, 4, 7
PATTERNS = ["k < n", "causal", "k >= q", "past(300)", "past(100) | sinks(4)", "window(200) | global(40)"]
PATTERNS += ["past(100) & q >= 400", "block_window(96, 3)", "k < 200 | k >= q & k < q + 77"]


@pytest.mark.parametrize("text", PATTERNS)
@settings(max_examples=8)
@given(
    n_q=st.integers(1, 900),
    n=st.integers(1, 900),
    q_offset=st.integers(0, 300),
    size=st.sampled_from(sorted(STEP_QUERIES)),
)
def test_steps(text: str, n_q: int, n: int, q_offset: int, size: int) -> None:
    step_queries = STEP_QUERIES[size]
    pattern = pattern_of(f"pattern p = {text}")
    kernel = module_of(pattern)._PROGRAM.groups[0].at(n).of("dkdv")[0]
    (region,), shape = kernel.regions, (cdiv(n_q, step_queries), cdiv(n, STEP_KEYS))
    kept = np.zeros((shape[0] * step_queries, shape[1] * STEP_KEYS), bool)
    kept[:n_q, :n] = mask_of(pattern, n_q, n, q_offset)
    some = kept.reshape(shape[0], step_queries, shape[1], STEP_KEYS).any((1, 3))
    if not count_steps(region, n_q, n, q_offset, step_queries):
        assert not some.any()
        return
    made = steps_of(region, n_q, n, q_offset, kernel.split_prefix, step_queries, torch.device("cpu"))
    added: dict[int, list[int]] = {}
    tiles, queries = {}, {}
    visited, parts = np.zeros(shape, int), np.zeros(shape[1], int)
    for (key, begin, part), (_, end, _) in zip(made.tiles.tolist(), made.tiles.tolist()[1:], strict=False):
        assert begin < end
        assert (part >= 0) == (key < made.split)
        parts[key] += 1
        for query, said, place in made.steps[begin:end].tolist():
            visited[query, key] += 1
            added.setdefault(place, []).append(said)
            tiles.setdefault(query, set()).add(place)
            queries[place] = query
            for number in range(2 * step_queries // STEP_ROWS):
                first = key * STEP_KEYS + number % 2 * STEP_KEYS // 2
                rows = slice(query * step_queries + number // 2 * STEP_ROWS, n_q)
                if said & WHOLE << number:
                    assert first + STEP_KEYS // 2 <= n
                    assert kept[rows][:STEP_ROWS, first : first + STEP_KEYS // 2].all()
    assert visited.max() == 1
    assert (visited >= some).all()
    assert made.every_query == visited.any(1).all()
    assert made.every_key == visited.any(0).all()
    assert (parts[: made.split] == made.parts).all()
    assert parts.max() == 1 or made.split
    joined = {tile: set(range(first, first + count)) for tile, first, count in made.joined.tolist()}
    assert tiles == {tile: {tile} for tile in tiles} | joined
    assert made.sums == shape[0] + sum(map(len, joined.values()))
    for place, said in added.items():  # in the order in which programs take tiles, so that steps wait for earlier ones
        last = len(said) - 1
        assert [each >> FLAGS for each in said] == list(range(last + 1))
        assert [each & (CLOSES | ADDS) for each in said] == [
            CLOSES * (turn == last and queries[place] not in joined) | ADDS * (turn > 0) for turn in range(last + 1)
        ]


def test_the_order_of_steps() -> None:
    """From the last queries to the first, but where keys have far more queries than others."""
    program = module_of(pattern_of("pattern p = past(100) | sinks(4)"))._PROGRAM
    kernel = program.groups[0].at(2048).of("dkdv")[0]
    made = steps_of(kernel.regions[0], 2048, 2048, 0, kernel.split_prefix, 64, torch.device("cpu"))
    starts, queries = made.tiles[:, 1].tolist(), made.steps[:, 0].tolist()
    assert made.tiles[:-1, 0].tolist() == list(range(16))
    assert queries[: starts[1]] == list(range(31, -1, -1))
    assert queries[starts[1] : starts[2]] == [5, 4, 3, 2]
    assert made.follow


def test_keys_that_all_queries_see() -> None:
    """Parts come before tiles, and tiles of queries with many steps have several sums."""
    program = module_of(pattern_of("pattern p = window(512) | global(64)"))._PROGRAM
    kernel = program.groups[0].at(32768).of("dkdv")[0]
    made = steps_of(kernel.regions[0], 32768, 32768, 0, kernel.split_prefix, 64, torch.device("cpu"))
    assert (made.split, made.parts) == (1, 16)
    assert not made.follow
    assert made.joined.tolist() == [[0, 512, 32]]
    assert made.tiles[:-1, 0].tolist() == [0] * 16 + list(range(1, 256))
    assert made.tiles[:-1, 2].tolist() == [*range(16), *[-1] * 255]
    starts = made.tiles[:17, 1].tolist()
    assert made.steps[: starts[16], 1].remainder(4).tolist() == [0] * 512  # the first to add, and none of them the last


def test_tiles_from_the_last_to_the_first() -> None:
    backwards = module_of(pattern_of("pattern p = k >= q"))._PROGRAM.groups[0].at(512).of("dkdv")[0]
    made = steps_of(backwards.regions[0], 512, 512, 0, backwards.split_prefix, 64, torch.device("cpu"))
    assert made.tiles[:-1, 0].tolist() == [3, 2, 1, 0]


@given(least=st.integers(1, 99), rows=st.integers(1, 99))
def test_heads_that_take_turns(least: int, rows: int) -> None:
    found = heads_in_turn(least, rows)
    assert min(least, rows) <= found <= rows
    assert rows % found == 0 or rows % found >= least
    assert [heads_in_turn(*each) for each in ((4, 16), (7, 16), (5, 16), (50, 32))] == [4, 8, 8, 32]
