"""Texts of many patterns, and patterns of many parts: what there is to say about them takes time in proportion."""

import time

from support.field_cases import documents

from sparsec.lint.diagnose import diagnose
from sparsec.source import Source


def seconds(text: str) -> float:
    start = time.process_time()
    assert diagnose(Source("p.spat", text)).valid
    return time.process_time() - start


def test_many_patterns():
    """A step that looked at all of the text for each pattern would take 16 times as long for 4 times as many."""
    texts = ["".join(f"pattern p{i} = causal & past({i + 2})\n" for i in range(count)) for count in (60, 240)]
    few, many = (min(seconds(text) for _ in range(2)) for text in texts)
    assert many < 8 * few


def test_unions_of_many_parts():
    """Each part was compared with all others at every point that was tried: minutes for 64."""
    assert seconds(documents(64)) < 10  # half a second on a quiet machine


def test_needless_parts_of_large_unions_are_found():
    text = documents(32).replace(")\n", " | q in 9..9 & k < 3 | q == 5 & k in 5..6)\n")
    found = diagnose(Source("p.spat", text)).diagnostics
    assert [each.operand for each in found if each.code == "SP0903"] == ["q == 5 & k in 5..6", "q in 9..9 & k < 3"]
