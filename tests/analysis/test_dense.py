"""Pairs and tiles that are counted by looking, against the dense mask: with boxes of every size and cut-off edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.affine_conditions import CAUSAL, conditions, past, same_block, stride

from sparsec.analysis.dense import areas, grain, kept, looked
from sparsec.analysis.diagonals import Along, by_diagonal
from sparsec.analysis.numbers import Uncounted
from sparsec.ir import nodes as ir
from sparsec.ir import vector
from sparsec.ir.boxes import decided
from sparsec.ir.reference import mask
from sparsec.sets.context import allowance

Q, K = ir.Var("q"), ir.Var("k")
queries_of = st.builds(lambda start, length: range(start, start + length), st.integers(-20, 60), st.integers(1, 150))
sides = st.sampled_from([3, 16, 32, 64, 96, 128])


def by_tile(condition: ir.Set, n: int, queries: range, tile: tuple[int, int]) -> list[np.ndarray]:
    dense = mask(condition, len(queries), n, queries.start)
    return [
        dense[i : i + tile[0], j : j + tile[1]] for i in range(0, len(dense), tile[0]) for j in range(0, n, tile[1])
    ]


@settings(max_examples=40)
@given(conditions, st.integers(1, 200), queries_of, st.tuples(sides, sides))
def test_equals_the_dense_mask(condition, n, queries, tile):
    parts = by_tile(condition, n, queries, tile)
    full = [bool(part.all()) and part.shape[1] == tile[1] for part in parts]
    seen = looked(condition, n, queries, grain(tile))
    assert seen.pairs == sum(int(part.sum()) for part in parts)
    assert seen.tiles(tile) == (sum(bool(part.any()) for part in parts), sum(full))
    places = np.arange(len(parts))
    counts = kept(condition, places, n, tile, queries)
    assert counts.tolist() == [int(part.sum()) for part in parts]
    assert (counts == areas(places, n, tile, queries)).tolist() == full


@settings(max_examples=40)
@given(conditions, st.integers(0, 40), st.integers(1, 9), st.integers(0, 40), st.integers(1, 9), st.integers(1, 60))
def test_what_is_decided_of_a_box_is_so(condition, q, high, k, wide, n):
    at = {"q": (q, q + high - 1), "k": (k, k + wide - 1), "n": (n, n)}
    box = vector.holds(condition, {"q": np.arange(q, q + high)[:, None], "k": np.arange(k, k + wide), "n": np.int64(n)})
    never, always = decided(condition, {name: (np.array([low]), np.array([top])) for name, (low, top) in at.items()})
    assert not (never and np.any(box))
    assert not always or np.all(box)


rectangles = st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(2, 4)).map(
    lambda drawn: ir.And(
        (
            ir.Compare(ir.Const(drawn[0]), "<=", Q),
            ir.Compare(K, "<", ir.Const(drawn[0] + drawn[1])),
            ir.Compare(ir.Mod(ir.Add(Q, ir.Const(drawn[1])), drawn[2]), "!=", ir.Const(1)),
        )
    )
)


@settings(max_examples=40)
@given(st.lists(rectangles, min_size=8, max_size=30), conditions, st.integers(1, 64))
def test_parts_that_are_alike_are_decided_together(parts, other, side):
    low = np.arange(0, 100, side)
    q, k = (each.ravel() for each in np.meshgrid(low, low))
    at = {"q": (q, q + side - 1), "k": (k, k + side - 1), "n": (np.asarray(100), np.asarray(100))}
    never, always = decided(ir.Or((*parts, other)), at)
    alone = [decided(part, at) for part in (*parts, other)]
    assert (never == np.logical_and.reduce(np.broadcast_arrays(*(one for one, _ in alone)))).all()
    assert (always == np.logical_or.reduce(np.broadcast_arrays(*(one for _, one in alone)))).all()


@settings(max_examples=40)
@given(st.sets(st.sampled_from(("q", "k", "n", "q_lo 0"))), st.sampled_from(("q", "k", "q_lo 1")), st.data())
def test_boxes_have_the_variables_that_parts_are_about(others, side, data):
    names = sorted(others | {side})
    numbers = st.tuples(*(st.integers(0, 60) for _ in names))
    parts = [
        ir.And(tuple(ir.Compare(ir.Var(name), op, ir.Const(number)) for name, number in zip(names, drawn, strict=True)))
        for op in [data.draw(st.sampled_from(("==", "<=", "!=")))]
        for drawn in data.draw(st.lists(numbers, min_size=8, max_size=20))
    ]
    low = np.arange(0, 60, data.draw(st.integers(1, 20)))
    at = {name: (np.asarray(30), np.asarray(30)) if name == "n" else (low, low + 2) for name in names}
    found, alone = decided(ir.Or(tuple(parts)), at), [decided(part, at) for part in parts]
    for told, one, union in zip(found, zip(*alone, strict=True), (np.logical_and, np.logical_or), strict=True):
        assert (told == union.reduce(one)).all()


@settings(max_examples=40)
@given(conditions, st.integers(1, 40), queries_of)
def test_diagonals_change_nothing(condition, n, queries):
    read = by_diagonal(condition, n, queries)
    q, k = np.array(queries)[:, None], np.arange(n)
    held = vector.holds(read, {"q": q, "k": k, "n": np.int64(n)}, lambda along: along.holds(q, k))
    assert (np.broadcast_to(held, (len(queries), n)) == mask(condition, len(queries), n, queries.start)).all()


@pytest.mark.parametrize("condition", [CAUSAL, past(64), stride(7), ir.And((CAUSAL, ir.Not(stride(5)), past(40)))])
def test_what_the_distance_decides_is_read_by_diagonal(condition):
    assert isinstance(by_diagonal(condition, 50, range(50)), Along)


def test_a_large_mask_takes_few_steps():
    """A million positions of blocks: nearly all boxes are decided as a whole."""
    with allowance(600_000):
        assert looked(same_block(1 << 14), 1 << 18, range(1 << 18)).pairs == 1 << (18 + 14)


def test_out_of_steps():
    with allowance(1000) as allowed, pytest.raises(Uncounted):
        looked(ir.Compare(ir.Mod(ir.Add(Q, ir.Mul(ir.Const(3), K)), 7), "==", ir.Const(2)), 4096, range(4096))
    assert allowed.cut


def test_diagonals_are_paid_for_where_they_are_looked_at():
    n, corner = 1 << 24, (ir.Compare(Q, "<", ir.Const(64)), ir.Compare(K, "<", ir.Const(64)))  # 33 million diagonals
    square, strided = (
        ir.And((*corner, ir.Compare(ir.Mod(value, 3), "==", ir.Const(0)))) for value in (ir.Add(Q, K), ir.Sub(Q, K))
    )
    with allowance(30_000):
        assert looked(square, n, range(n)).pairs == mask(square, 64, 64, 0).sum()
    with pytest.raises(Uncounted), allowance(30_000):
        looked(strided, n, range(n))
