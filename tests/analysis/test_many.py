"""Texts of many patterns, and patterns of many parts: what there is to say about them takes time in proportion."""

import time

from sparsec.analysis.diagnose import diagnose
from sparsec.source import Source


def seconds(text: str) -> float:
    start = time.process_time()
    assert diagnose(Source("p.spat", text)).valid
    return time.process_time() - start


def test_many_patterns():
    """A step that looked at all of the text for each pattern would take 16 times as long."""
    texts = ["".join(f"pattern p{i} = causal & past({i + 2})\n" for i in range(count)) for count in (100, 400)]
    few, many = (min(seconds(text) for _ in range(2)) for text in texts)
    assert many < 8 * few
