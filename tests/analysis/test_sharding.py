"""A sequence cut over ranks: who holds what, which keys runs of queries see, and formulas of what travels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import pattern_of

from sparsec.analysis.closed_form import number_of
from sparsec.analysis.sharding import LAYOUTS, Shards, balance, chosen_layout, split
from sparsec.analysis.touch import Touch
from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.sets.touched import received
from sparsec.testing.programs import programs, tables, terms

CAUSAL = pattern_of("pattern p = causal")


@settings(max_examples=30)
@given(programs() | programs(1, terms() | tables()), st.integers(1, 40), st.data())
def test_runs_touch_what_their_pairs_do(program, n: int, data) -> None:
    """No key more, and none less; queries from the first to the last that see some of a run of keys."""
    first = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(first + 1, n))
    [condition] = program.conditions
    touch, mask = Touch(condition), reference.mask(condition, n, n)
    found, exact = touch.keys((first, stop), n), mask[first:stop].any(0)
    assert not (exact & ~found).any()
    if touch.exact(stop - first, n):
        assert (found == exact).all()
    seen = np.flatnonzero(mask[:, first:stop].any(1))
    rows = touch.queries((0, n), (first, stop), n)
    assert not len(seen) or (rows is not None and rows[0] <= seen[0] and seen[-1] < rows[1])


def test_conditions_about_keys_alone() -> None:
    """Pair by pair, as where tables are read, though the condition has no axis of queries."""
    (kept,) = pattern_of("pattern p = n - k > 1").conditions
    touch = Touch(ir.Not(ir.Not(kept)))  # not in the form that integer sets answer at once
    assert touch.keys((0, 1), 3).tolist() == [True, True, False]


def test_nothing_is_left_open_for_patterns_that_people_write() -> None:
    for text in ("past(100) | sinks(4)", "causal & stride(64)", "window(9) | columns(64, 4)", "random_keys(3, 1)"):
        [condition] = pattern_of(f"pattern p = {text}").conditions
        assert Touch(condition).exact(50, 200), text


@given(st.sampled_from(LAYOUTS), st.integers(0, 200), st.integers(1, 9))
def test_every_position_has_one_rank(layout: str, n: int, ranks: int) -> None:
    shares = split(layout, n, ranks, CAUSAL)
    held = [position for segments in shares for first, stop in segments for position in range(first, stop)]
    assert sorted(held) == list(range(n))
    assert len(shares) == ranks


def test_documents_are_cut_where_the_row_is() -> None:
    shards = Shards(CAUSAL, (0, 0, 7, 20), split("contiguous", 20, 2, CAUSAL))
    assert shards.within(0, (0, 7)) == ((0, 7),)
    assert shards.within(1, (7, 20)) == ((3, 13),)
    assert shards.fetched(1, 0, (0,)).tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("text", "layout"), [("past(9)", "contiguous"), ("causal", "head-tail"), ("causal & q < 500", "balanced")]
)
def test_a_layout_is_chosen_by_the_work(text: str, layout: str) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    assert chosen_layout(pattern, 4096, 4) == layout
    even = balance(pattern, 4096, split(layout, 4096, 4, pattern))
    assert even is not None
    assert even < 1.06


@pytest.mark.parametrize("text", ["past(100)", "past(10) | sinks(4)", "causal", "window(33)", "k >= n - 5", "full"])
def test_formulas_are_counts(text: str) -> None:
    pattern, ranks = pattern_of(f"pattern p = {text}"), 4
    [condition] = pattern.conditions
    form = number_of(lambda: received(condition, 2, ranks))
    assert form is not None
    for own in (1, 2, 7, 40, 130):
        shards = Shards(pattern, (0, own * ranks), split("contiguous", own * ranks, ranks, pattern))
        assert form(own) == shards.traffic([(0,)])[2].sum()
