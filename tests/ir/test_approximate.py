"""Affine approximations of conditions with tables: one contains every pair, the other lies inside."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sparsec.ir import nodes as ir
from sparsec.ir.approximate import affine_over, affine_under
from sparsec.ir.reference import mask
from sparsec.testing.programs import conditions, tables, terms


@given(conditions(term=terms() | tables()), st.integers(1, 40))
def test_affine_bounds(condition, n):
    kept, over, under = mask(condition, n, n), affine_over(condition), affine_under(condition)
    assert not ir.leaves(over) and not ir.leaves(under)
    assert not (kept & ~mask(over, n, n)).any()
    assert not (mask(under, n, n) & ~kept).any()
