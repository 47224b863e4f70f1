"""Segments and the tiles of a cover's tables together hold every kept pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.kernel import holds, planned, visited

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


EVERY_KEY = tuple(range(8))


@given(conditions(term=terms() | tables()), st.integers(33, 90), st.integers(16, 33), st.integers(16, 33))
@example(ir.And((CAUSAL, ir.Or((PAST, ir.RandomBlocks(16, 2, 7, True))))), 90, 16, 16)
@example(ir.And((ir.Or((PAST, BLOCKS)), ir.Not(RANDOM))), 64, 16, 16)
@example(ir.Or((ir.And((BLOCKS, CAUSAL)), ir.And((ir.Not(BLOCKS), PAST)))), 64, 16, 16)
@example(ir.And((ir.Or((ir.Blocks(16, (EVERY_KEY, EVERY_KEY)), KEYS)), CAUSAL)), 70, 16, 16)
def test_named_tiles_that_are_full(condition, n, block_m, block_n):
    """Nothing is left out of a tile that a table has whole, where `full_named` says that the rest holds there."""
    region = planned(condition)
    kept = mask(condition, n, n)
    whole = [mask(leaf, n, n) for leaf in region.columns.tables]
    for q_lo in range(0, n - block_m + 1, block_m):
        for k_lo in range(0, n - block_n + 1, block_n):
            tile = slice(q_lo, q_lo + block_m), slice(k_lo, k_lo + block_n)
            edges = {"n": n, "q_lo": q_lo, "q_hi": q_lo + block_m - 1, "k_lo": k_lo, "k_hi": k_lo + block_n - 1}
            if any(each[tile].all() for each in whole) and holds(region.full_named, edges):
                assert kept[tile].all()


@pytest.mark.parametrize(
    ("condition", "full"),
    [
        (ir.Or((PAST, RANDOM)), True),
        (ir.And((CAUSAL, ir.Or((PAST, RANDOM)))), ir.Compare(ir.Var("q_lo"), ">=", ir.Var("k_hi"))),
        (ir.And((ir.Or((PAST, RANDOM)), BLOCKS)), None),
        (ir.And((PAST, ir.Not(RANDOM))), False),
    ],
)
def test_when_named_tiles_are_full(condition, full):
    found = planned(condition).full_named
    wanted = ir.Bool(full) if isinstance(full, bool) else full
    assert found == wanted or full is None
