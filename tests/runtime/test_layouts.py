"""Layouts forced at every length, on the torch path: the planner's variant never changes a result beyond its bound."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import mask_of, pattern_of, random_pattern, spread_listed_module_of, spread_module_of
from support.spread import FROM_LISTS_IN_LAYOUTS, SPREAD
from support.wide import conditions

from sparsec.ir import nodes
from sparsec.testing import compare, random_problem, run
from sparsec.testing.programs import Program

LENGTHS = [(150, 150, None), (40, 170, None), (130, 77, 9), (1, 1, None), (1, 70, None), (2, 1, 1)]


def assert_exact(
    pattern: nodes.Pattern, n_q: int, n_k: int, q_offset: int | None = None, make=spread_module_of, **numbers
) -> None:
    problem = random_problem(mask_of(pattern, n_q, n_k, q_offset), **numbers)
    attend = getattr(make(pattern), pattern.name)
    found = compare(run(attend, problem, q_offset), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


@pytest.mark.parametrize("text", SPREAD)
def test_patterns(text: str) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    regions = spread_module_of(pattern)._PROGRAM.groups[0].at(1).regions
    assert any(region.stride > 1 or region.gathered or region.listed for region in regions)
    for lengths in LENGTHS:
        assert_exact(pattern, *lengths, heads=4, kv_heads=2, dtype=torch.float64)


@pytest.mark.parametrize("text", FROM_LISTS_IN_LAYOUTS)
def test_tiles_from_lists(text: str) -> None:
    """Also where a step has one query of each of several classes."""
    pattern = pattern_of(f"pattern p = {text}")
    for lengths in (*LENGTHS, (7, 90, None)):
        assert_exact(pattern, *lengths, make=spread_listed_module_of, heads=4, kv_heads=2, dtype=torch.float64)


def test_heads_of_their_own_layout() -> None:
    cases = "0 -> causal & stride(4), 1 -> past(9) | k % 32 < 2, 2 -> causal | random_keys(2, 4), else -> stride(3)"
    assert_exact(pattern_of(f"pattern p = match h {{ {cases} }}", 4), 61, 90, heads=4, kv_heads=2, dtype=torch.float64)


@settings(max_examples=15)
@given(conditions, st.integers(1, 120), st.integers(1, 120), st.integers(0, 90))
def test_random_conditions_from_lists(condition: nodes.Set, n_q: int, n_k: int, q_offset: int) -> None:
    pattern = random_pattern(Program("", (condition,)))
    assert_exact(pattern, n_q, n_k, q_offset, spread_listed_module_of, dtype=torch.float64)


@given(conditions, st.integers(1, 120), st.integers(1, 120), st.integers(0, 90))
def test_random_conditions(condition: nodes.Set, n_q: int, n_k: int, q_offset: int) -> None:
    pattern = random_pattern(Program("", (condition,)))
    assert_exact(pattern, n_q, n_k, q_offset, dtype=torch.float64)
