"""Simplifying drops what adds nothing and keeps the set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.sets.redundancy import simplify
from sparsec.sets.to_isl import reachable
from sparsec.testing.programs import conditions, tables, terms

Q, K = ir.Var("q"), ir.Var("k")
CAUSAL, STRICT = ir.Compare(K, "<=", Q), ir.Compare(K, "<", Q)


@given(conditions(), st.integers(1, 30), st.integers(1, 30), st.integers(0, 20))
def test_the_set_stays(condition, n_q, n, q_offset):
    simple = simplify(condition)
    assert (mask(simple, n_q, n, q_offset) == mask(condition, n_q, n, q_offset)).all()
    assert reachable(simple).is_equal(reachable(condition))
    assert len(list(ir.walk(simple))) <= len(list(ir.walk(condition)))


@given(conditions(term=terms() | tables()), st.integers(1, 30), st.integers(1, 30), st.integers(0, 20))
def test_the_set_stays_with_tables(condition, n_q, n, q_offset):
    n_q = min(n_q, n)
    q_offset = min(q_offset, n - n_q)
    assert (mask(simplify(condition), n_q, n, q_offset) == mask(condition, n_q, n, q_offset)).all()


@pytest.mark.parametrize(
    ("condition", "simple"),
    [
        (ir.And((CAUSAL, STRICT)), STRICT),
        (ir.Or((CAUSAL, STRICT)), CAUSAL),
        (ir.Or((CAUSAL, ir.Not(CAUSAL))), ir.TRUE),
        (ir.And((STRICT, ir.Not(CAUSAL))), ir.FALSE),
        (ir.Compare(Q, ">=", ir.Const(0)), ir.TRUE),
        (ir.Or((CAUSAL, CAUSAL)), CAUSAL),
    ],
)
def test_what_goes(condition, simple):
    assert simplify(condition) == simple
