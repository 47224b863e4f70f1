"""Scores taken apart, against the scores themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsec.analysis.score_terms import most, tilted, with_known_signs
from sparsec.ir.nodes import Sub, Var
from sparsec.ir.reference import scored
from sparsec.ir.scores import Arithmetic, Real, Scaled, Whole, number
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.score_programs import expressions

LINEAR = st.sampled_from(
    ("(q - k)", "(k - q)", "2 * 1.0 * (q - k)", "(k - q) * 0.25", "(q - k) / 8", "2 ** -h * (k - q)")
)


def score_of(text: str, pattern: str = "k < n") -> tuple[Real, tuple]:
    """A score, and the conditions of the pattern that has it."""
    made = lower(parse(Source("x.spat", f"score x = {text}\npattern p = {pattern} with x")))
    return made.score(0) or Scaled(), made.conditions


def values(score: Real, s: np.ndarray, head: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return scored(score, s, np.arange(len(s)), head, 4)


@settings(max_examples=60)
@example("s", ["2 ** -h * (k - q)"], ["-"])
@example("(q - k)", ["(q - k)"], ["+"])
@given(expressions(2), st.lists(LINEAR, max_size=3), st.lists(st.sampled_from("+-"), min_size=3, max_size=3))
def test_tilted(level: str, linear: list[str], signs: list[str]) -> None:
    text = f"s + ({level})" + "".join(f" {sign} {term}" for sign, term in zip(signs, linear, strict=False))
    score, _ = score_of(text)
    found = tilted(score)
    assert found is not None or not linear
    if found is not None:
        ahead = Whole(Sub(Var("k"), Var("q")))
        again = Arithmetic(found.level, "+", Arithmetic(found.tilt, "*", ahead))
        s = np.random.default_rng(0).normal(size=(9, 11)) * 3
        for head in range(2):
            np.testing.assert_allclose(values(again, s, head), values(score, s, head), rtol=1e-9, atol=1e-9)


@settings(max_examples=60)
@example("50 * tanh(s / 50)")
@example("3 - min(tanh(s), 2) * -4 / 3")
@given(expressions(3))
def test_no_score_is_larger_than_its_bound(text: str) -> None:
    score, _ = score_of(text)
    bound = most(score)
    if bound is not None:
        s = np.random.default_rng(0).normal(size=(20, 20)) * 100
        assert max(np.abs(values(score, s, head)).max() for head in range(2)) <= bound * (1 + 1e-9)


@pytest.mark.parametrize(("text", "bound"), [("softcap(50)", 50), ("alibi", None)])
def test_bounds(text: str, bound: float | None) -> None:
    assert most(lower(parse(Source("x.spat", f"pattern p = past(9) with {text}"))).score(0)) == bound


def test_signs() -> None:
    text = "s - 0.5 * abs(q - k) + abs(k - q) / 3 + abs(s)"
    known, _ = score_of("s - 0.5 * (q - k) + (q - k) / 3 + abs(s)")
    assert with_known_signs(*score_of(text, "past(9) | causal & k < 3")) == known
    both = score_of(text, "window(9)")
    assert with_known_signs(*both) == both[0]
    assert tilted(both[0]) is None
    assert tilted(score_of("s * (q - k)")[0]) is None
    assert tilted(score_of("(q - k) / 2 + s")[0]) == (Scaled(), number(-0.5))
