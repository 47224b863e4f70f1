"""Scores that are told apart, with a pair and a value of s that show it, and those that are the same."""

from __future__ import annotations

import numpy as np
import pytest

from sparsec.analysis.cost import cost
from sparsec.analysis.relation import overall, relations
from sparsec.analysis.score_difference import score_difference
from sparsec.ir.nodes import Pattern
from sparsec.ir.reference import scored
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse


def pattern(text: str, heads: int | None = None) -> Pattern:
    return lower(parse(Source("p.spat", text)), heads=heads)


SAME = [
    ("pattern p = causal with softcap(50)", "score cap = 50.0 * tanh(0.02 * s) pattern p = causal with cap"),
    ("pattern p = causal", "score same = 2 * s - s pattern p = causal with same"),
    (
        "pattern p = causal with alibi",
        "score far = s - abs(q - k) / 2 ** (8 * (h + 1) / H) pattern p = causal with far",
    ),
    (
        "pattern p = past(9) with alibi",
        "score far = s - 2 ** (-8 * (h + 1) / H) * (q - k) pattern p = past(9) with far",
    ),
]
APART = [
    ("pattern p = causal", "pattern p = causal with softcap(50)"),
    ("pattern p = past(4) with softcap(50)", "pattern p = past(4) with softcap(49)"),
    (
        "pattern p = window(9) with alibi",
        "score far = s - 2 ** (-8 * (h + 1) / H) * (q - k) pattern p = window(9) with far",
    ),
    ("pattern p = causal with alibi", "score far = s + (k - q) / 2 ** (h + 1) pattern p = causal with far"),
    ("pattern p = causal", "score odd = s + 0.5 if q - k == 9 else s pattern p = causal with odd"),
    (
        "input doc: int[n] pattern p = doc[q] == doc[k]",
        "input doc: int[n] pattern p = doc[q] == doc[k] with softcap(3)",
    ),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_equal(a: str, b: str) -> None:
    whole = overall(relations(pattern(a), pattern(b)))
    assert (whole.verdict, whole.scores.verdict) == ("equal", "equal")


@pytest.mark.parametrize(("a", "b"), APART)
def test_apart(a: str, b: str) -> None:
    one, other = pattern(a), pattern(b)
    whole = overall(relations(one, other))
    assert whole.verdict == "other scores" or one.inputs
    found = whole.scores.apart
    for each, value in ((one, found.a), (other, found.b)):
        score = each.score(0)
        s = np.full((found.n, found.n), found.s)
        at = s if score is None else scored(score, s, np.arange(found.n), found.h, found.H)
        assert at[found.q, found.k] == value
    assert abs(found.a - found.b) > 1e-9


def test_a_pair_that_no_pattern_keeps_tells_nothing() -> None:
    odd = "score odd = s + 0.5 if k > q else s pattern p = causal with odd"
    whole = overall(relations(pattern(odd), pattern("pattern p = causal")))
    assert (whole.verdict, whole.scores.verdict) == ("undecided", "undecided")


def test_by_head() -> None:
    a = pattern("pattern p = match h { 0 -> causal with softcap(2), else -> causal }", 3)
    found = relations(a, pattern("pattern p = causal"))
    assert [(part.heads, part.verdict) for part in found] == [((0,), "other scores"), ((1, 2), "equal")]


def test_cost_counts_them() -> None:
    capped, plain = (cost(pattern(f"pattern p = causal{more}"), 64) for more in (" with softcap(50)", ""))
    pairs = 64 * 65 // 2
    assert capped.score_flops == (3 * pairs, (3 + 4) * pairs)  # c * tanh(s / c); 1 - t * t, t = tanh(s / c)
    assert capped.forward_flops == plain.forward_flops and plain.score_flops == (0, 0)
    text = "input b: float[{}n, n] score x = s + b[q, k] pattern p = causal with x"
    sizes = [cost(pattern(text.format(axes)), 64, heads=3).pair_bytes for axes in ("", "B, ", "H, ", "B, H, ")]
    assert sizes == [4 * 64 * 64 * heads for heads in (1, 1, 3, 3)] and capped.pair_bytes == 0


@pytest.mark.parametrize(
    ("b", "verdict"),
    [
        ("s + 2 * t[q - k]", "equal"),
        ("s + t[q - k]", "different"),
        ("s + t[k] * 2", "undecided"),  # for some data they differ, and no data is drawn
    ],
)
def test_scores_of_float_inputs(b, verdict):
    first, second = (
        pattern(f"input t: float[H, d] score x = {text} pattern p = causal with x") for text in ("s + t[q - k] * 2", b)
    )
    assert score_difference(first.scores[0], second.scores[0], first.conditions[0]).verdict == verdict
