"""Long conditions, looked at block by block, are what the reference says; and soon looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.show import looking
from sparsec.testing.programs import conditions, tables, terms

POSITIONS = st.lists(st.integers(0, 700), max_size=150, unique=True).map(sorted).map(np.array)


@given(conditions(2, terms() | tables()), POSITIONS, POSITIONS, st.integers(1, 700))
def test_blocks_are_the_reference(condition: ir.Set, queries: np.ndarray, keys: np.ndarray, n: int) -> None:
    queries, keys = queries.astype(np.int64), keys[keys < n].astype(np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looking, "_SHORT", 0)
        found = looking.evaluate(condition, queries, keys, n)
    assert np.array_equal(found, reference.evaluate(condition, queries, keys, n))


def test_a_block_looks_only_at_what_it_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    evaluate = reference.evaluate
    monkeypatch.setattr(
        reference, "evaluate", lambda condition, *rest: (looked.append(condition), evaluate(condition, *rest))[1]
    )
    q, k = ir.Var("q"), ir.Var("k")
    rectangles = [
        ir.And(
            tuple(ir.Compare(each, op, ir.Const(8 * i + more)) for each in (q, k) for op, more in ((">=", 0), ("<", 8)))
        )
        for i in range(200)
    ]
    looking.evaluate(ir.Or(tuple(rectangles)), np.arange(1600), np.arange(1600), 1600)
    nodes = [sum(1 for _ in ir.walk(condition)) for condition in looked]
    assert max(nodes) < 40 * 13 + 1
    assert nodes.count(1) > len(nodes) / 2  # decided as a whole
