"""One message for each mistake of a text, and none that another mistake caused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsec.diagnostics import Diagnostic, SparsecError
from sparsec.source import Source
from sparsec.syntax.parse import parse


def said(text: str) -> list[Diagnostic]:
    try:
        parse(Source("p.spat", text))
    except SparsecError as error:
        return list(error.diagnostics)
    return []


GOOD = ["past(3)", "k in 0..4", "(q - k) % 4 == 0 & causal", "~(k in {0, 4})", "match h { 0 -> causal, else -> full }"]
BAD = [  # each with one mistake
    "past(3) past(4)", "k in", "q >", "q => k", "causal and past(3)", "k in 0..=3", "(past(3) & )", "past(2 3)",
    "abs(q - k <= 3", "k in {0..4, 9}", "match h { 0 -> q >, else -> full }", "match h { 0 => causal, else -> full }",
]  # fmt: skip
CLOSED = [part for part in BAD if part != "abs(q - k <= 3"]  # its bracket holds all that follows
part = st.one_of(st.sampled_from(GOOD).map(lambda x: (x, 0)), st.sampled_from(CLOSED).map(lambda x: (x, 1)))


@pytest.mark.parametrize("text", BAD)
def test_each_is_one_mistake(text: str) -> None:
    assert len(said(f"pattern p = {text}")) == 1


@given(st.lists(part, min_size=1, max_size=6), st.sampled_from([" | ", "\n | "]))
def test_parts_of_a_union(parts: list[tuple[str, int]], union: str) -> None:
    """Each message stands in a part that has a mistake, or right behind it."""
    text, ends, wrong = "pattern p = ", [], []
    for index, (piece, mistakes) in enumerate(parts):
        text += (union if index else "") + piece
        ends.append(len(text) + len(union))
        wrong += [index] * mistakes
    found = [next(i for i, end in enumerate(ends) if error.span.start < end) for error in said(text)]
    assert found == wrong


@given(st.lists(part, min_size=1, max_size=6))
def test_arms(parts: list[tuple[str, int]]) -> None:
    arms = ", ".join(f"{index} -> {piece}" for index, (piece, _) in enumerate(parts))
    assert len(said(f"pattern p = match h {{ {arms} }}")) == sum(mistakes for _, mistakes in parts)


@given(st.lists(st.sampled_from(["q", ">", "(", ")", "{", "}", "|", ",", "->", "match", "and", "=", "set", "x"])))
def test_nothing_is_said_twice(words: list[str]) -> None:
    places = [(error.code, error.span.start, error.span.end) for error in said(f"pattern p = {' '.join(words)}")]
    assert len(set(places)) == len(places)


def test_many_mistakes_end_with_a_word_about_the_rest() -> None:
    found = said("pattern p = " + " | ".join(["q >"] * 40))
    assert [error.code for error in found] == ["SP0104"] * 20 + ["SP0804"]
