"""Segments and the tiles of a cover's tables together hold every kept pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kernel import planned, visited

from sparsec.ir import nodes as ir
from sparsec.ir.approximate import over, under
from sparsec.ir.reference import mask
from sparsec.testing.programs import conditions, tables, terms

Q, K = ir.Var("q"), ir.Var("k")
CAUSAL = ir.Compare(K, "<=", Q)
PAST = ir.And((CAUSAL, ir.Compare(ir.Sub(Q, K), "<", ir.Const(40))))
BLOCKS, RANDOM, KEYS = ir.Blocks(16, ((0, 2), (1,), (0, 1))), ir.RandomBlocks(8, 2, 7), ir.RandomKeys(3, 1)


def tiled(kept: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Bool [row tiles, column tiles]: does the tile hold a pair?"""
    some = np.logical_or.reduceat(kept, np.arange(0, kept.shape[0], rows), axis=0)
    return np.logical_or.reduceat(some, np.arange(0, kept.shape[1], columns), axis=1)


@given(conditions(term=terms() | tables()), st.integers(1, 90), st.integers(16, 33), st.integers(16, 33))
def test_segments_and_tables_hold_every_pair(condition, n, block_m, block_n):
    region = planned(condition)
    kept = tiled(mask(condition, n, n), block_m, block_n)
    for cover, wanted, block, other in (
        (region.rows, kept, block_m, block_n),
        (region.columns, kept.T, block_n, block_m),
    ):
        met = np.zeros_like(kept)
        for leaf in cover.tables:
            met |= tiled(mask(leaf, n, n), block_m, block_n)
        met = met if cover.side == "q" else met.T.copy()
        for row, low in enumerate(range(0, n, block)):
            met[row, visited(cover, low, low + block - 1, n, n, other)] = True
        assert not (wanted & ~met).any()


@given(conditions(term=terms() | tables()), st.integers(1, 40))
def test_bounds(condition, n):
    kept, bound = mask(condition, n, n), over(condition)
    inside = mask(bound.affine, n, n)
    listed = [mask(leaf, n, n) for leaf in bound.tables]
    assert not (kept & ~np.logical_or.reduce([inside, *listed])).any()
    assert bound.why or not (inside & ~kept).any()
    assert not (mask(under(condition), n, n) & ~kept).any()


@given(st.sets(st.integers(-9, 60), min_size=2, max_size=40), st.booleans())
def test_bounds_of_explicit_sets(members, negated):
    condition = ir.Member(ir.Sub(Q, K), tuple(sorted(members)))
    condition = ir.Not(condition) if negated else condition
    kept, bound = mask(condition, 70, 70), over(condition)
    assert not (kept & ~mask(bound.affine, 70, 70)).any()
    assert not (mask(under(condition), 70, 70) & ~kept).any()
    assert bound.why or (kept == mask(bound.affine, 70, 70)).all()


@pytest.mark.parametrize(
    ("condition", "affine", "tables"),
    [
        (ir.And((CAUSAL, ir.Or((PAST, RANDOM)))), PAST, (RANDOM,)),
        (ir.Or((PAST, RANDOM, ir.And((CAUSAL, BLOCKS)))), PAST, (RANDOM, BLOCKS)),
        (ir.And((RANDOM, BLOCKS)), ir.FALSE, (RANDOM,)),
        (ir.And((ir.Or((PAST, KEYS)), ir.Or((CAUSAL, RANDOM)))), PAST, (KEYS, RANDOM)),
        (ir.Or((PAST, ir.Not(RANDOM))), ir.TRUE, ()),
        (ir.And((PAST, ir.Not(RANDOM))), PAST, ()),
        (ir.Not(ir.And((ir.Not(PAST), ir.Not(BLOCKS)))), PAST, (BLOCKS,)),
    ],
)
def test_what_is_set_aside(condition, affine, tables):
    region = planned(condition)
    assert region.rows.tables == region.columns.tables == tables
    assert region.rows.segments == planned(affine).rows.segments or "complement" in region.rows.why
    assert region.condition == condition
