"""What is said about inputs of a file, and what is not said where data of a call decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsec.lint.advice import Adviser
from sparsec.lint.diagnose import diagnose
from sparsec.report.prediction import beside_dense, work
from sparsec.source import Source


def said(text: str) -> list[tuple[str, str]]:
    """Codes and the texts that they point at."""
    found = diagnose(Source("inputs.spat", text), advice=Adviser(work, beside_dense, 4))
    return [(each.code, each.place.text) for each in found.diagnostics]


def test_an_input_that_nothing_reads():
    text = "input doc: int[n] input m: int set same = doc[q] == doc[k] pattern p = causal"
    assert said(text) == [("SP0915", "m")]
    assert said("input doc: int[n]") == []  # a file for others


@pytest.mark.parametrize(
    ("axes", "size"),
    [("n, n", "4.3 GB in float32"), ("B, n, n", "4.3 GB for each row in"), ("B, H, n, n", "for each row and head in")],
)
def test_memory_of_a_number_for_each_pair(axes, size):
    text = f"input b: float[{axes}] score x = s + b[q, k] pattern p = causal with x"
    assert said(text) == [("SP0916", "b")]
    found = diagnose(Source("inputs.spat", text)).diagnostics
    assert size in str(found[0])


@pytest.mark.parametrize(
    "text",
    [
        "input doc: int[n] pattern causal_in_documents = causal & doc[q] == doc[k]",
        "input doc: int[n] pattern p = past(100) & doc[q] == doc[k] | doc[k] == 3 & causal",
        "input m: int pattern p = k < m",
        "input cls: bool[n] pattern p = cls[k] | cls[q]",
        "input doc: int[n] pattern p = doc[q] == doc[k] | ~(doc[q] == doc[k])",
    ],
)
def test_nothing_is_said_that_data_may_refute(text):
    assert said(text) == []


def test_what_holds_whatever_the_data_is_said():
    text = "input doc: int[n] pattern p = causal & doc[q] == doc[k] & k > q"
    assert [code for code, _ in said(text)] == ["SP0906"]
    assert ("SP0903", "past(4)") in said("input doc: int[n] pattern p = past(9) | past(4) | causal & doc[q] == doc[k]")


def test_examples_with_data_need_nothing_said():
    for path in sorted((Path(__file__).parents[2] / "examples/data").glob("*.spat")):
        assert said(path.read_text()) == [], path.name
