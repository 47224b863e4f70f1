"""How much room lists that a call makes take: enough for all tiles with a pair, and no more than grows with n."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.generated import module_of, pattern_of, random_pattern

from sparsec.ir.nodes import Pattern
from sparsec.kernels.lists.rooms import ListedTiles, OwnLists, blocks_met, rooms_of
from sparsec.kernels.program.program import Region
from sparsec.testing.data import masks, random_data
from sparsec.testing.programs import chosen, input_programs


def regions_of(pattern: Pattern, n: int) -> tuple[Region, ...]:
    return module_of(pattern)._PROGRAM.groups[0].at(n).regions


@settings(max_examples=8)
@given(
    input_programs(test=chosen()), st.sampled_from(((60, 60, 0), (5, 70, 65), (33, 90, 40))), st.integers(0, 99),
    st.sampled_from(((16, 32), (32, 16), (64, 64))),
)  # fmt: skip
def test_there_is_room_for_all_tiles_that_hold_a_pair(program, sizes, seed, tile) -> None:
    pattern, (n_q, n, q_offset), (queries, keys) = random_pattern(program), sizes, tile
    region, *others = regions_of(pattern, n)
    assume(not others and region.answers.judge and not region.rows_tables)
    data = random_data(pattern.inputs, 1, 1, n, seed, n_q=n_q)
    mask = masks(pattern, data, 1, 1, np.arange(n_q) + q_offset, n)[0, 0]
    rows, columns = -(-n_q // queries), -(-n // keys)
    padded = np.pad(mask, ((0, rows * queries - n_q), (0, columns * keys - n)))
    touched = padded.reshape(rows, queries, columns, keys).any((1, 3))
    own = [OwnLists(*each.sizes, *data[each.name].shape[2:]) for each in pattern.inputs if each.is_chosen]
    of_rows = rooms_of(region, ListedTiles(True, rows, queries, keys, n_q, n, q_offset), own, None, 1)
    assert of_rows.lines is not None
    assert (torch.from_numpy(touched.sum(1)) <= of_rows.lines).all()
    assert of_rows.entries == of_rows.lines.sum() <= of_rows.most_entries
    of_columns = rooms_of(region, ListedTiles(False, columns, queries, keys, n_q, n, q_offset), own, None, 1)
    assert touched.sum() <= of_columns.entries <= of_columns.most_entries
    if of_columns.lines is not None:
        assert (torch.from_numpy(touched.sum(0)) <= of_columns.lines).all()


@given(*[st.integers(1, 70)] * 2)
def test_blocks_met(length: int, block: int) -> None:
    pieces = [range(first, first + length) for first in range(0, 40 * length, length)]
    most = max(piece[-1] // block - piece[0] // block + 1 for piece in pieces)
    assert most <= blocks_met(length, block) <= most + 1


def entries(condition: str, n: int, by_query: bool, queries: int = 64, listed: int = 16) -> int:
    pattern = pattern_of(f"input doc: int[n] input sel: blocks[1, 64, t] pattern p = {condition}")
    lines = -(-n // (queries if by_query else 64))
    own = [OwnLists(1, 64, n, listed)] if "sel" in condition else []
    (region,) = regions_of(pattern, n)
    return rooms_of(region, ListedTiles(by_query, lines, queries, 64, n, n, 0), own, None, 1).entries


@pytest.mark.parametrize("by_query", [True, False])
@pytest.mark.parametrize("condition", [
    "causal & selected(sel)",
    "causal & (past(512) | sinks(4) | selected(sel))",
    "causal & selected(sel) & doc[q] == doc[k] | past(100)",
    "past(1024) & doc[q] == doc[k]",
    "(past(1024) | q < 64) & doc[q] == doc[k]",
])  # fmt: skip
def test_room_grows_with_the_length(condition: str, by_query: bool) -> None:
    for queries in (4, 64):
        for n in (1 << 16, 1 << 20):
            assert entries(condition, n, by_query, queries) <= (16 + 6) * n  # lists have 16 entries


def test_room_in_numbers() -> None:
    n = 1 << 16
    assert entries("causal & selected(sel)", n, True, queries=4) == n // 4 * 64 - sum(range(64)) * 16
    assert entries("causal & selected(sel)", n, False, queries=1) == n * 16
    assert entries("causal & doc[q] == doc[k]", n, True) == 1024 * 1025 // 2  # each line has its own
    assert entries("causal & ~selected(sel)", n, True) == 1024 * 1025 // 2  # all there is
