"""Programs of the Hopper tier's forward kernel: together they store every tile once, with all of its steps."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hopper_on_cpu import KEYS, ROWS, Memory, Program

from sparsec.kernels.hopper.forward import tiles as hopper_tiles
from sparsec.kernels.hopper.forward.plan import HopperWork
from sparsec.kernels.hopper.launch_forward import heads_together
from sparsec.kernels.launches.launch import Meta
from sparsec.kernels.program.program import cdiv
from sparsec.kernels.tiles.own_tiles import TILE_COLUMNS

COLUMNS = getattr(TILE_COLUMNS, "value", TILE_COLUMNS)
WINDOW = 300
GROUPS = st.sampled_from((2, 3))  # of warps that compute
lengths = st.one_of(st.integers(0, 3), st.integers(100, 300), st.just(KEYS), st.integers(0, 900))


def keys_of_window(q_lo: int, q_hi: int, n: int, length: int, block: int) -> tuple[int, int]:
    """The tiles of keys that past(300) visits: how many, and the first."""
    first, stop = max(q_lo - WINDOW + 1, 0), min(q_hi + 1, length)
    return (cdiv(stop, block) - first // block, first // block) if first < stop else (0, 0)


def stored_by(programs: int, work: HopperWork, **sizes) -> Counter:
    """Group, row of the batch, head, first row of Q and steps of all that the programs of a launch store."""
    found: Counter = Counter()
    for number in range(programs):
        for each in Program(number, programs, work, keys_of_window, **sizes).run():
            for (name, batch, head, row, _), (values, *place) in each.steps:
                assert (name, values) == ("K", "V")
                assert [batch, head, row, 0] == place  # values meet the weights of their own keys
            assert {*each.queries} == {("Q", each.batch, each.head, each.row, 0)}
            rows = tuple(row for (_, _, _, row, _), _ in each.steps)
            found[each.group, each.batch, each.head, each.row, rows] += 1
    return found


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(lengths, lengths, st.integers(0, 500)), max_size=5), st.integers(1, 3), st.integers(1, 9), GROUPS
)
def test_sequences(sequences: list[tuple[int, int, int]], heads: int, programs: int, groups: int) -> None:
    """Of several sequences there may be fewer tiles than programs, or none."""
    table, q_first, k_first, expected = [0] * COLUMNS, 0, 0, Counter()
    for n_q, keys, begin in sequences:
        n = begin + keys
        q_offset = max(n - n_q, 0)
        for tile in range(cdiv(n_q, groups * ROWS)):
            q_lo = q_offset + tile * groups * ROWS
            steps, first = keys_of_window(q_lo, q_lo + groups * ROWS - 1, n, n, KEYS)
            visited = [k_first - begin + KEYS * (first + step) for step in reversed(range(steps))]
            # without a step there is one in which every pair is masked
            rows = tuple(visited or [k_first - begin + KEYS * cdiv(n, KEYS)])
            for head in range(heads):
                expected += Counter(
                    (group, 0, head, q_first + (tile * groups + group) * ROWS, rows) for group in range(groups)
                )
            table += [0, q_first, n_q, k_first, begin, n, q_offset, tile, 0, 0, 0]
            table[0] += 1
        q_first, k_first = q_first + n_q, k_first + keys
    work = HopperWork(Memory(table), None, heads, heads, 1, q_first, k_first, 0, 0, heads, 0, 1, None, 0)
    assert stored_by(programs, work, GROUP=1, GROUPS=groups) == expected


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 700), st.integers(1, 900), st.integers(0, 300), st.integers(1, 2), st.integers(1, 9), st.booleans(),
    st.integers(1, 8), GROUPS,
)  # fmt: skip
def test_one_sequence(
    n_q: int, n: int, q_offset: int, batch: int, programs: int, longest_first: bool, together: int, groups: int
) -> None:
    heads, tiles, expected = 4, cdiv(n_q, groups * ROWS), Counter()
    for tile in range(tiles):
        q_lo = q_offset + tile * groups * ROWS
        steps, first = keys_of_window(q_lo, q_lo + groups * ROWS - 1, n, n, KEYS)
        rows = tuple(KEYS * (first + step) for step in reversed(range(steps))) or (KEYS * cdiv(n, KEYS),)
        for row, head, group in ((i, j, g) for i in range(batch) for j in range(heads) for g in range(groups)):
            expected[group, row, head, (tile * groups + group) * ROWS, rows] += 1
    work = HopperWork(None, None, heads, heads, batch, n_q, n, q_offset, tiles, together, 0, 1, None, 0)
    assert stored_by(programs, work, GROUP=2, GROUPS=groups, LONGEST_FIRST=longest_first) == expected


@pytest.mark.parametrize(("together", "programs"), [(16, 132), (4, 132), (4, 114), (1, 132)])
def test_shares_of_causal_attention(together: int, programs: int) -> None:
    """Programs have equal shares of steps, also where heads take turns by themselves."""
    heads, tiles, shares = 16, 128, []
    work = HopperWork(None, None, heads, heads, 1, tiles * 128, tiles * 128, 0, tiles, together, 0, 1, None, 0)
    for number in range(programs):
        program = Program(number, programs, work, keys_of_window, GROUP=1, LONGEST_FIRST=True)
        turns, number_of, tile_of = (
            program.in_python(getattr(hopper_tiles, name)) for name in ("hopper_turns", "hopper_number", "hopper_tile")
        )
        numbers = [number_of(turn, program.plan) for turn in range(turns(program.plan))]
        shares.append(sum(tile_of(each, program.plan).number + 1 for each in numbers if each >= 0))
    assert sum(shares) == heads * tiles * (tiles + 1) // 2
    assert max(shares) <= 1.05 * sum(shares) / programs


@pytest.mark.parametrize(
    ("kv_heads", "n", "together"), [(16, 16_384, 4), (8, 16_384, 8), (16, 1024, 32), (16, 1 << 20, 1), (1, 1 << 20, 16)]
)
def test_heads_whose_keys_are_cached(kv_heads: int, n: int, together: int) -> None:
    keys = Meta.contiguous((2, kv_heads, n, 128), torch.bfloat16, torch.device("cpu"))
    assert heads_together(keys, 32, 16) == together
