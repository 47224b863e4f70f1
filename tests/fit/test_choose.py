"""The choice of candidates within a budget, against all choices; and the text that says it, compiled."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.fit.choose import choose
from sparsec.fit.text import Candidate, candidates, fitted
from sparsec.ir.nodes import Pattern
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse

TEXT = "pattern a(w = 3) = past(w)\npattern b(w = 2, s = 4) = stride(s) | past(w)\npattern c = causal\n"


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    numbers = st.lists(st.integers(0, 10**9), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    costs = np.array(draw(numbers)).reshape(shape)
    values = np.array(draw(numbers)).reshape(shape) / 10**9
    return values, costs, draw(st.integers(0, 4 * 10**9))


@given(problems())
def test_no_choice_is_much_better(problem) -> None:
    """Rounding wastes a step for each group, of 64 steps a group: no choice for 63/64 of the budget is better."""
    values, costs, budget = problem
    found = choose(values, costs, budget)
    everyone = list(product(range(values.shape[1]), repeat=len(values)))
    worth = {
        each: sum(float(values[group, pick]) for group, pick in enumerate(each))
        for each in everyone
        if sum(int(costs[group, pick]) for group, pick in enumerate(each)) <= budget
    }
    if not worth:
        assert found is None
        return
    assert found is not None and tuple(found) in worth
    near = [
        worth[each]
        for each in worth
        if sum(int(costs[group, pick]) for group, pick in enumerate(each)) <= budget * 63 // 64
    ]
    assert worth[tuple(found)] >= max(near, default=0) - 1e-9


def test_of_equal_choices_the_cheaper() -> None:
    assert choose(np.ones((3, 3)), np.array([[9, 4, 4], [2, 3, 1], [5, 5, 5]]), 100) == [1, 2, 0]


@pytest.mark.parametrize(
    ("varied", "words"),
    [
        ({}, ["a", "b", "c"]),
        ({"w": [1, 8]}, ["a(w = 1)", "a(w = 8)", "b(w = 1)", "b(w = 8)", "c"]),
        ({"s": [2], "w": [1]}, ["a(w = 1)", "b(w = 1, s = 2)", "c"]),
    ],
)
def test_candidates(varied, words) -> None:
    assert [str(each) for each in candidates(parse(Source("t", TEXT)), varied)] == words


OPTIONS = [Candidate("a", (("w", 5),)), Candidate("b"), Candidate("c")]


@settings(max_examples=25)
@given(st.lists(st.tuples(*[st.sampled_from(range(3))] * 4), min_size=1, max_size=5))
def test_the_text_chooses_as_told(chosen: list[tuple[int, ...]]) -> None:
    text = TEXT + fitted(
        "f", 'a "quoted" \\ doc', {layer: [OPTIONS[i] for i in own] for layer, own in enumerate(chosen)}
    )
    alone = [_pattern(f"{TEXT}pattern f = {option}").conditions[0] for option in OPTIONS]
    for layer, own in enumerate(chosen):
        pattern = _pattern(text, heads=4, layer=layer)
        assert [pattern.conditions[index] for index in pattern.head_conditions or (0,) * 4] == [alone[i] for i in own]
        assert pattern.doc == 'a "quoted" \\ doc'


def _pattern(text: str, **counts: int) -> Pattern:
    return lower(parse(Source("t", text)), pattern="f", **counts)
