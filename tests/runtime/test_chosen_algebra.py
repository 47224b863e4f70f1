"""Chosen sets in complements, differences, intersections and unions with each other, tables and data: as dense says."""

from __future__ import annotations

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from runtime.test_chosen_sequences import CHOSEN, POSITIONS
from support.chosen_sequences import declared, drawn

import sparsec
from sparsec.testing import check

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTHS = (40, 40, 0), (7, 40, 33), (40, 13, 0)


def assert_as_dense(condition: str, sizes: tuple[int, int, int], seed: int) -> None:
    n_q, n, q_offset = sizes
    try:
        attend = sparsec.compile(declared(condition))
    except sparsec.SparsecError as error:  # the only one: nothing is left
        assert "SP0301" in str(error), error
        reject()
    (data,) = drawn(attend.pattern.nodes, [(n_q, n)], seed)
    check(attend, n_q, n, heads=4, kv_heads=2, head_size=16, q_offset=q_offset, seed=seed, **data)


@pytest.mark.parametrize("chosen", [
    "lsh(4, 2, 8, 0)", "routed(mu, 5)", "selected(sel)", "selected(some)", "top_keys(3)", "top_blocks(3, 8, 4, s)",
])  # fmt: skip
def test_what_is_not_chosen(chosen: str) -> None:
    assert_as_dense(f"~{chosen}", LENGTHS[1], 0)
    assert_as_dense(f"causal \\ {chosen} | past(3) & {chosen}", LENGTHS[0], 1)


def conditions(depth: int = 2) -> st.SearchStrategy[str]:
    term = st.sampled_from(CHOSEN) | st.sampled_from(CHOSEN + POSITIONS)
    if depth == 0:
        return term
    part = conditions(depth - 1)
    joined = st.tuples(part, st.sampled_from(("&", "|", "\\")), part).map(lambda parts: f"({' '.join(parts)})")
    return term | part.map(lambda text: f"~{text}") | joined


@settings(max_examples=3)
@given(conditions(), st.sampled_from(LENGTHS), st.integers(0, 99))
def test_random_conditions(condition: str, sizes: tuple[int, int, int], seed: int) -> None:
    assert_as_dense(condition, sizes, seed)


@pytest.mark.full
@settings(max_examples=200)
@given(conditions(), st.sampled_from(LENGTHS), st.integers(0, 99))
def test_many_random_conditions(condition: str, sizes: tuple[int, int, int], seed: int) -> None:
    assert_as_dense(condition, sizes, seed)
