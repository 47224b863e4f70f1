"""`sparsec cost` of patterns that nobody wrote: always an answer, and the counts in it are those of the reference."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparsec.analysis.cost import cost
from sparsec.diagnostics import SparsecError
from sparsec.ir.reference import mask
from sparsec.lower.file import lower
from sparsec.report.cost import told
from sparsec.report.cost_table import table
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.programs import Program, match_programs, programs, tables, terms


@given(programs(1, terms() | tables()) | match_programs(), st.integers(1, 150), st.integers(1, 3))
def test_an_answer_for_every_pattern(program: Program, n: int, depth: int) -> None:
    try:
        pattern = lower(parse(Source("random", program.text)), heads=program.heads)
    except SparsecError:  # an empty pattern
        return
    counted = cost(pattern, n, complexity="", tile_sizes=(16, 64))
    found = told(pattern, counted, "h200", [pattern.conditions] * depth)
    data = json.loads(json.dumps(found.to_json()))
    each = [mask(program.conditions[head % len(program.conditions)], n, n) for head in range(counted.heads)]
    assert data["pairs"] == sum(int(kept.sum()) for kept in each)
    visited = sum(kept[i : i + 16, j : j + 16].any() for kept in each for i in range(0, n, 16) for j in range(0, n, 16))
    assert np.isclose(data["tile_sizes"]["16"], 1 - data["pairs"] / (256 * visited) if visited else 0)
    assert data["reach"]["pairs"] >= n
    assert data["speed"]["causal"] is None or not any(np.triu(kept, 1).any() for kept in each)
    assert found.to_text().startswith(f"{pattern.name} at n = {n}, ")
    assert pattern.name in table([counted], [pattern.name])
