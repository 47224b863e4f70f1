"""Conditions of tiles in which tests of data are decided alike."""

from __future__ import annotations

import pytest
from support.generated import pattern_of

from sparsec.codegen import alike
from sparsec.codegen.dialects import Alike

DECLARED = "input doc: int[n] input cls: bool[n] input m: int\n"


@pytest.mark.parametrize(
    "condition, tests, text",
    [
        ("causal & doc[q] == doc[k]", 1, "((k <= q) & holds)"),
        ("past(4) | cls[q] | cls[k]", 2, "(((q - k >= 0) & (q - k < 4)) | holds)"),
        ("causal & ~(doc[q] == m | cls[k])", 2, "((k <= q) & holds)"),
        ("causal & (cls[q] | q < 9 & ~cls[q])", 2, "((k <= q) & (holds | ((q < 9) & holds)))"),
        ("past(9) | random_keys(2, 0) & ~cls[k]", 1, None),
        ("doc[q] == doc[k]", 1, ""),
        ("doc[q] == doc[k] & cls[q] | cls[k]", 3, ""),
    ],
)
def test_what_is_left(condition: str, tests: int, text: str | None) -> None:
    (own,) = pattern_of(f"{DECLARED}pattern p = {condition}").conditions
    assert len(alike.tests_of(own)) == tests
    left = alike.where_alike(own)
    assert (left is None) == (text == "")
    if text and left is not None:
        assert Alike().condition(left) == text
