import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.affine_conditions import CAUSAL, columns, conditions, first, past, same_block, stride, window, with_tables

from sparsec.analysis.count import Tiles, count, pattern_count, tile_counts
from sparsec.analysis.numbers import number
from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.sets import budgets
from sparsec.sets.context import allowance

tiles = st.tuples(st.integers(1, 9), st.integers(1, 9))


def dense_tiles(condition: ir.Set, n: int, tile: tuple[int, int], queries: range | None = None) -> Tiles:
    kept = mask(condition, len(queries), n, queries.start) if queries else mask(condition, n, n)
    found = [kept[i : i + tile[0], j : j + tile[1]] for i in range(0, len(kept), tile[0]) for j in range(0, n, tile[1])]
    full = sum(bool(part.all()) and part.shape[1] == tile[1] for part in found)
    empty = sum(not part.any() for part in found)
    return Tiles(full, len(found) - full - empty, empty)


@given(st.one_of(conditions, with_tables), st.integers(1, 60), tiles)
def test_equals_the_dense_numbers(condition, n, tile):
    assert count(condition, n) == mask(condition, n, n).sum()
    assert tile_counts(condition, n, tile) == dense_tiles(condition, n, tile)


@given(st.one_of(conditions, with_tables), st.integers(1, 40), st.integers(-20, 60), st.integers(1, 60), tiles)
def test_any_call_equals_the_dense_numbers(condition, n, q_offset, n_q, tile):
    """Fewer and more queries than keys, before the first key and beyond the last."""
    queries = range(q_offset, q_offset + n_q)
    assert count(condition, n, queries) == mask(condition, n_q, n, q_offset).sum()
    assert tile_counts(condition, n, tile, queries) == dense_tiles(condition, n, tile, queries)


@given(conditions, st.integers(1, 60))
def test_a_number_needs_no_formula(condition, n):
    assert number(condition, n) == mask(condition, n, n).sum()


@pytest.mark.parametrize(
    "condition",
    [
        ir.And(tuple(ir.Not(stride(s)) for s in (3, 5, 7))),
        ir.Or((ir.And((stride(3), ir.Not(columns(5, 2)))), ir.And((ir.Not(stride(3)), columns(5, 2))))),
        ir.Member(ir.Var("k"), tuple(range(0, 2000, 10))),
        ir.Or(tuple(ir.And((CAUSAL, same_block(b), stride(s))) for b, s in ((64, 1), (128, 2), (256, 4)))),
    ],
)
def test_hard_ones_are_exact(condition):
    assert count(condition, 700) == mask(condition, 700, 700).sum()
    assert tile_counts(condition, 700, (64, 32)) == dense_tiles(condition, 700, (64, 32))


def test_a_million_keys():
    n = 1_000_000
    condition = ir.Or((window(512), first(64)))
    assert count(condition, n) == 641 * n - 102720
    found = tile_counts(condition, n, (64, 64))
    assert found.total == 15625**2
    assert found == Tiles(full=2 * 15625 - 1 + 109356, partial=31240, empty=243968780)


def test_tables_at_length():
    condition = ir.And((CAUSAL, ir.Or((past(100), ir.RandomBlocks(64, 3, 7)))))
    n = 2000
    assert count(condition, n) == mask(condition, n, n).sum()
    assert tile_counts(condition, n, (64, 64)) == dense_tiles(condition, n, (64, 64))


def test_heads_add_up():
    pattern = ir.Pattern("p", "", "", (), (past(4), CAUSAL), (0, 0, 1))
    assert pattern_count(pattern, 10) == 2 * int(np.tril(mask(past(4), 10, 10)).sum()) + 55


def block_sparse(size: int) -> ir.Set:
    """A window of blocks, the first block of each side, and drawn blocks that overlap both and each other."""
    q, k = (ir.FloorDiv(ir.Var(name), size) for name in "qk")
    near = ir.Compare(ir.Abs(ir.Sub(q, k)), "<=", ir.Const(1))
    ends = (ir.Compare(side, "==", ir.Const(0)) for side in (q, k))
    return ir.Or((near, *ends, ir.RandomBlocks(size, 3, 0), ir.RandomBlocks(size, 2, 1)))


def test_blocks_of_long_tables_are_counted_whole():
    """A million positions with the steps of a command: as many blocks as there are pairs of single positions."""
    blocks, size = 1 << 14, 64
    with allowance(budgets.COST):
        pairs = count(block_sparse(size), size * blocks)
        tiles = tile_counts(block_sparse(size), size * blocks, (size, size))
    assert pairs == size**2 * count(block_sparse(1), blocks)
    assert (tiles.full, tiles.partial) == (pairs // size**2, 0)
