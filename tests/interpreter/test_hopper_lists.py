"""The steps of the Hopper tier's gradients of several sequences, as kernels list them on the device.

Every tile of queries that may have a pair with a tile of keys visits it once.  In the order in which programs take
tiles of keys, the places of all that add to a tile of dq are 0, 1, 2, ..: each waits for tiles that were taken before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import mask_of, module_of, pattern_of
from torch import Tensor

from sparsec.kernels.hopper.backward.step_list import hopper_list_steps, hopper_sequence_stats
from sparsec.kernels.hopper.backward_steps import (
    STEP_KEYS,
    STEP_QUERIES,
    STEP_ROWS,
    last_tiles_first,
    listed_steps,
    steps_of,
)
from sparsec.kernels.program.program import cdiv
from sparsec.kernels.sequences.sequences import of_documents, of_rows
from sparsec.kernels.sequences.tiles import most_tiles, sum_tiles, write_tiles
from sparsec.kernels.tiles.own_tiles import TILE_COLUMNS

CLOSES, ADDS, WHOLE, RAGGED, FLAGS = 1, 2, 4, 64, 7
PATTERNS = ["k < n", "causal", "k >= q", "past(100) | sinks(4)", "window(200) | global(40)"]
PATTERNS += ["past(100) & q >= 400", "k < 200 | k >= q & k < q + 77"]
SIZES = st.lists(st.one_of(st.integers(0, 3), st.just(128), st.integers(0, 600)), min_size=1, max_size=5)
SIZE, AT_ONCE, PROGRAMS = 16, 8, 3
STEPS = st.sampled_from(sorted(STEP_QUERIES.values()))


class Sequence(NamedTuple):
    """One line of the table, and what was listed of it."""

    row: int
    q_first: int
    n_q: int
    k_first: int  # row of K where the key at position 0 would be
    k_begin: int
    n: int
    q_offset: int
    tiles: list[tuple[int, list[tuple[int, int, int]]]]  # of keys, with their steps


class Made(NamedTuple):
    sequences: list[Sequence]
    step_queries: int  # of a tile
    queries: Tensor  # the list of their tiles
    backwards: bool
    cleared: tuple[Tensor, Tensor]  # which rows of dq and dk have become 0


def tiles_of(table: Tensor, by_key: bool, rows: int, block: int) -> tuple[Tensor, Tensor]:
    lines, columns = len(table), getattr(TILE_COLUMNS, "value", TILE_COLUMNS)
    most = most_tiles(lines, rows, block, 1)
    made, ends = torch.zeros(1 + most, columns, dtype=torch.int32), torch.zeros(2 * (1 + lines), dtype=torch.int32)
    form = {"BY_KEY": by_key, "BLOCK": block, "STRIDE": 1, "OTHER": 0, "AT_ONCE": 64}
    sum_tiles[1,](table, ends, made, lines, most, **form)
    write_tiles[cdiv(most, 64),](table, ends, made, lines, lines.bit_length(), most, **form)
    return made, ends


def listed(text: str, table: Tensor, batch: int, n_q: int, n: int, step_queries: int) -> Made:
    (region,) = module_of(pattern_of(f"pattern p = {text}"))._PROGRAM.groups[0].at(n).of("dkdv")[0].regions
    table, own = table.to(torch.int32).contiguous(), region.answers
    queries, query_ends = tiles_of(table, False, batch * n_q, step_queries)
    keys, key_ends = tiles_of(table, True, batch * n, STEP_KEYS)
    ranges = torch.full((len(keys) - 1, 2), -1, dtype=torch.int32)
    steps, tickets = (
        torch.zeros(listed_steps(len(ranges), n_q, step_queries), 3, dtype=torch.int32),
        torch.full((2,), 9).int(),
    )
    q, k, lse = torch.ones(batch, 1, n_q, SIZE), torch.ones(batch, 1, n, SIZE), torch.zeros(batch, 1, n_q)
    stats, visits = torch.zeros(len(queries), 2, step_queries), torch.ones(len(queries), 2).int()
    pitch, backwards = SIZE // 8, last_tiles_first(region, n_q, n, step_queries)
    form = {"HEAD_DIM": SIZE, "BLOCK_M": step_queries, "BLOCK_N": STEP_KEYS, "BLOCK_D": SIZE}
    dq, strides = q.clone(), (n_q * pitch, n_q * pitch, pitch)
    hopper_sequence_stats[PROGRAMS, 1](
        queries, keys, key_ends, q, q, lse, None, stats, tickets, visits, dq, None, *strides, *strides, *strides,
        1, n_q, len(queries) - 1, 0, 0.0, "stats", own.keys, None, **form,
    )  # fmt: skip
    assert not tickets.any()
    assert not visits[: queries[0, 0]].any()
    dk, dv = k.clone(), k.clone()
    hopper_list_steps[PROGRAMS,](
        keys, queries, query_ends, ranges, steps, tickets, dk, dv, n * pitch, n * pitch, pitch, 1,
        "steps", own.keep, own.full, own.keys, None, backwards, **form, AT_ONCE=AT_ONCE,
    )  # fmt: skip
    assert torch.equal(dk, dv)
    found: dict[int, Sequence] = {}
    for line, (first, count) in zip(keys[1 : 1 + keys[0, 0]].tolist(), ranges.tolist(), strict=False):
        row, q_first, n_q, k_row, k_begin, n, q_offset, tile = line[:8]
        sequence = found.setdefault(line[10], Sequence(row, q_first, n_q, k_row - k_begin, k_begin, n, q_offset, []))
        sequence.tiles.append((tile, [tuple(step) for step in steps[first : first + count].tolist()]))
    return Made(list(found.values()), step_queries, queries, backwards, (dq[:, 0, :, 0] == 0, dk[:, 0, :, 0] == 0))


def assert_right(text: str, made: Made) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    step_queries = made.step_queries
    for own in made.sequences:
        shape = cdiv(own.n_q, step_queries), cdiv(own.n, STEP_KEYS)
        kept = np.zeros((shape[0] * step_queries, shape[1] * STEP_KEYS), bool)
        if own.n_q:
            kept[: own.n_q, : own.n] = mask_of(pattern, own.n_q, own.n, own.q_offset)
        kept[:, : own.k_begin] = False
        visited, added = np.zeros(shape, int), {}
        tiles = sorted(own.tiles)
        assert [tile for tile, _ in tiles] == list(range(min(own.k_begin, own.n) // STEP_KEYS, shape[1]))
        for tile, steps in tiles[::-1] if made.backwards else tiles:
            assert [query for query, _, _ in steps] == sorted((query for query, _, _ in steps), reverse=True)
            first, last = max(tile * STEP_KEYS, own.k_begin), min(tile * STEP_KEYS + STEP_KEYS, own.n)
            cleared = made.cleared[1][own.row, own.k_first + first : own.k_first + last]
            assert cleared.all() if not steps else not cleared.any()
            for query, said, place in steps:
                line = made.queries[1 + place]
                assert (line[0], line[1], line[7]) == (own.row, own.q_first, query)
                visited[query, tile] += 1
                added.setdefault(query, []).append(said)
                rows = slice(query * step_queries, min(own.n_q, query * step_queries + step_queries))
                assert bool(said & RAGGED) == (rows.stop - rows.start < step_queries)
                for number in range(2 * step_queries // STEP_ROWS):
                    k_lo, place = tile * STEP_KEYS + number % 2 * STEP_KEYS // 2, number // 2 * STEP_ROWS
                    if said & WHOLE << number:
                        assert kept[rows][place : place + STEP_ROWS, k_lo : k_lo + STEP_KEYS // 2].all()
        some = kept.reshape(shape[0], step_queries, shape[1], STEP_KEYS).any((1, 3)) if kept.size else visited
        assert visited.max(initial=0) <= 1
        assert (visited >= some).all()
        for said in added.values():
            last = len(said) - 1
            assert [each >> FLAGS for each in said] == list(range(last + 1))
            flags = [CLOSES * (turn == last) | ADDS * (turn > 0) for turn in range(last + 1)]
            assert [each & (CLOSES | ADDS) for each in said] == flags
        for query in range(shape[0]):
            first = own.q_first + query * step_queries
            cleared = made.cleared[0][own.row, first : min(first + step_queries, own.q_first + own.n_q)]
            assert not cleared.any() if query in added else cleared.all()


@pytest.mark.parametrize("text", PATTERNS)
@settings(max_examples=2)
@given(SIZES, st.integers(0, 90), st.integers(0, 90), STEPS)
def test_documents(text: str, sizes: list[int], before: int, behind: int, step_queries: int) -> None:
    ends = torch.tensor([before, *sizes]).cumsum(0)
    length = max(int(ends[-1]) + behind, 1)
    made = listed(text, of_documents(ends, length), 1, length, length, step_queries)
    assert_right(text, made)
    none = torch.ones(length, dtype=torch.bool)
    none[int(ends[0]) : int(ends[-1])] = False
    assert all(each[0][none].all() for each in made.cleared)


@settings(max_examples=6)
@given(st.data(), st.sampled_from(PATTERNS), st.integers(1, 400), st.integers(1, 400), st.booleans(), STEPS)
def test_rows(data: st.DataObject, text: str, n_q: int, n: int, same: bool, step_queries: int) -> None:
    """Lengths, or keys and queries that begin at other positions."""
    n_q = n if same else n_q
    numbers = st.lists(st.integers(-300, 500), min_size=2, max_size=2)
    given = [torch.tensor(data.draw(numbers)) if data.draw(st.booleans()) else None for _ in range(4)]
    table = of_rows(2, n_q, n, torch.device("cpu"), *given)
    assert_right(text, listed(text, table, 2, n_q, n, step_queries))


@pytest.mark.parametrize("text", ["causal", "past(300)", "k < n"])
def test_order_is_that_of_the_sequence_alone(text: str) -> None:
    ends = [0, 130, 700, 701]
    found = listed(text, of_documents(torch.tensor(ends), 800), 1, 800, 800, 128).sequences
    (region,) = module_of(pattern_of(f"pattern p = {text}"))._PROGRAM.groups[0].at(800).of("dkdv")[0].regions
    for own in found:
        if own.n_q and own.n:
            alone = steps_of(region, own.n_q, own.n, 0, 0, 128, torch.device("cpu"))
            steps = [(query, said & ~RAGGED) for _, each in own.tiles for query, said, _ in each]
            assert steps == [(query, said) for query, said, _ in alone.steps.tolist()]
