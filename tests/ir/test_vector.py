"""Numbers, each once, and sums by place: what numpy's own functions find, without what they import."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparsec.ir.vector import distinct, summed

NUMBERS = st.lists(st.tuples(st.integers(-50, 50), st.integers(-(2**50), 2**50)), max_size=30)


@given(NUMBERS)
def test_they_find_what_numpy_finds(pairs: list[tuple[int, int]]) -> None:
    places, numbers = np.asarray(pairs, np.int64).reshape(-1, 2).T
    found, sums = summed(places, numbers)
    assert found.tolist() == distinct(places).tolist() == np.unique(places).tolist()
    assert sums.tolist() == [sum(number for place, number in pairs if place == each) for each in found.tolist()]


def test_counting_and_planning_import_no_masked_arrays() -> None:
    """They would take more than most commands compute."""
    code = """
import sys
from sparsec.analysis.count import tile_counts
from sparsec.lower.file import lower
from sparsec.plan.build import build
from sparsec.source import Source
from sparsec.syntax.parse import parse
pattern = lower(parse(Source("a.spat", "pattern a = past(100) & q % 7 < 5 | abs(q // 32 - k // 32) <= 1")))
build(pattern), tile_counts(pattern.conditions[0], 1000, (64, 64))
assert "numpy" in sys.modules and "numpy.ma" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
