"""Pairs and keys of chunks, each sort of chunk counted once: as counted rank by rank."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.generated import pattern_of

from sparsec.analysis import grid, sharding
from sparsec.analysis.chunks import in_chunks, pairs_by_chunk
from sparsec.analysis.numbers import Uncounted
from sparsec.analysis.sharding import Shards, balance, split
from sparsec.ir import nodes as ir
from sparsec.ir import reference, vector
from sparsec.testing.programs import programs, tables, terms


def one_by_one(shards: Shards, groups: list[tuple[int, ...]]) -> np.ndarray:
    """The traffic from which keys travel."""
    found = np.zeros((shards.ranks, shards.ranks), np.int64)
    for rank in range(shards.ranks):
        for source in range(shards.ranks):
            found[rank, source] = sum(len(shards.fetched(rank, source, conditions)) for conditions in groups)
    return found


divided = given(
    programs() | programs(1, terms() | tables()),
    st.integers(1, 60),
    st.integers(1, 8),
    st.sampled_from(("contiguous", "head-tail")),
)


@settings(max_examples=60)
@divided
@example(pattern_of("pattern p = k in {0, 2, 4, 6}"), 10, 5, "head-tail")  # eight parts alike, none about queries
@example(pattern_of("pattern p = q in {0, 2, 4, 6}"), 10, 5, "head-tail")
@example(pattern_of("pattern p = n % 2 == 0"), 10, 5, "head-tail")
def test_traffic_is_that_of_the_keys_that_travel(program, n: int, ranks: int, layout: str) -> None:
    shards = Shards(program, (0, n), split(layout, n, ranks, program))
    groups = [(number,) for number in range(len(program.conditions))] + [tuple(range(len(program.conditions)))]
    assert (shards.traffic(groups) == one_by_one(shards, groups)).all()


@settings(max_examples=60)
@divided
def test_pairs_of_chunks_are_those_of_the_mask(program, n: int, ranks: int, layout: str) -> None:
    chunks = in_chunks(split(layout, n, ranks, program), n)
    assert chunks is not None
    for condition in program.conditions:
        kept = reference.mask(condition, n, n).sum(1)
        assert pairs_by_chunk(condition, chunks).tolist() == np.add.reduceat(kept, chunks.firsts).tolist()


@settings(max_examples=25, deadline=None)
@given(programs(), st.sampled_from((8, 12)), st.sampled_from((1, 2, 3)))
def test_few_sorts_count_as_all_boxes_do(program, size: int, shorter: int) -> None:
    """Grids large enough for boxes to be alike by their distances."""
    firsts = np.arange(0, 32 * size, size)
    rows, columns = {"q": grid.Side(firsts, size)}, {"k": grid.Side(firsts, size)}
    n = 32 * size - shorter
    for condition in program.conditions:
        try:
            found = grid.points(condition, n, size, rows, columns)
        except Uncounted:
            continue
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(grid, "_few_sorts", lambda *_: None)
            assert np.array_equal(found, grid.points(condition, n, size, rows, columns))


def test_ranks_of_two_lengths_are_not_in_chunks() -> None:
    assert in_chunks([[(0, 1)], [(1, 9)]], 9) is None  # chunks as long as the first would be many
    assert in_chunks([[(0, 4)], [(4, 6)], [(6, 9)]], 9) is None
    assert in_chunks([[], [(0, 4)]], 4) is None


@pytest.mark.parametrize("layout", ["contiguous", "head-tail"])
def test_work_is_spread_as_counted_rank_by_rank(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = (
        "past(100) | sinks(4)",
        "causal & stride(64)",
        "window(33) | columns(64, 4)",
        "random_past_blocks(32, 2, 1)",
    )
    for pattern in (pattern_of(f"pattern p = {text}") for text in texts):
        shares = split(layout, 2000, 16, pattern)
        found = balance(pattern, 2000, shares)
        with monkeypatch.context() as patch:
            patch.setattr(sharding, "in_chunks", lambda shares, n: None)
            assert balance(pattern, 2000, shares) == found


def test_boxes_that_differ_all_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances that no number divides move on from box to box."""
    monkeypatch.setattr(grid, "_MOST_POINTS", 100)
    (condition,) = pattern_of("pattern p = (2 * q + 3 * k) % 37 == 3").conditions
    side = grid.Side(np.arange(0, 40, 4), 4)
    with pytest.raises(Uncounted):
        grid.points(condition, 40, 4, {"q": side}, {"k": side})


@given(st.integers(1, 7), st.integers(1, 7), st.integers(2, 9), st.integers(0, 5))
def test_remainders_of_what_moves(step: int, count: int, divisor: int, remainder: int) -> None:
    condition = ir.Compare(ir.Mod(ir.Sub(ir.Var("q"), ir.Var("k")), divisor), "<=", ir.Const(remainder))
    side = grid.Side(np.arange(count) * step, step)
    place = np.arange(count * step)
    kept = vector.holds(condition, {"q": place[:, None], "k": place})
    wanted = kept.reshape(count, step, count, step).sum((1, 3))
    assert (grid.points(condition, count * step, step, {"q": side}, {"k": side}) == wanted).all()


def test_a_thousand_ranks_take_little_time() -> None:
    """CPU seconds, of the slowest kinds among the examples; rank by rank each would take 3 to 10."""
    text = "pattern p = causal & (q // 32 == k // 32 | k % 32 >= 28) | same_block(64)"
    for pattern in (pattern_of(text), pattern_of("pattern p = past(4096) | sinks(4) | causal & stride(64)")):
        start, shares = time.process_time(), split("contiguous", 1 << 18, 1024, pattern)
        shards = Shards(pattern, (0, 1 << 18), shares)
        assert shards.traffic([(0,)]).any()
        assert balance(pattern, 1 << 18, shares)
        assert time.process_time() - start < 2
