"""Receptive fields: sets and pairs against powers of the dense reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.affine_conditions import CAUSAL, first, past, stride, window

from sparsec.analysis import reach as module
from sparsec.analysis.reach import Reach, reach
from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.testing.programs import conditions, tables, terms


def dense(layers: list[tuple[ir.Set, ...]], n: int) -> np.ndarray:
    """Bool [n, n]: does the output of the last layer at row q depend on the input of the first at k?"""
    reached = np.eye(n, dtype=int)
    for heads in layers:
        seen = np.eye(n, dtype=int) + sum(mask(condition, n, n).astype(int) for condition in heads)
        reached = np.minimum(seen @ reached, 1)
    return reached.astype(bool)


def depth_of(heads: tuple[ir.Set, ...], n: int) -> tuple[int, np.ndarray]:
    """The least depth from which layers add nothing, and what is reached."""
    depth, before = 1, dense([heads], n)
    while not np.array_equal(more := dense([heads] * (depth + 1), n), before):
        depth, before = depth + 1, more
    return depth, before


def check(found: Reach, layers: list[tuple[ir.Set, ...]], n: int) -> None:
    """What is known is true."""
    real = dense(layers, n)
    distance = np.subtract.outer(np.arange(n), np.arange(n))[real]
    if found.pairs is not None:
        assert (found.pairs, found.last) == (real.sum(), real[-1].sum())
        assert (found.back, found.ahead) == (distance.max(), -distance.min())
    if found.causal:
        assert not np.triu(real, 1).any()
    if len(set(layers)) == 1:
        depth, whole = depth_of(layers[0], n)
        if found.settled is not None:
            assert found.settled[0] <= depth <= found.settled[1]
        if found.full is not None:
            assert found.full == (whole | (np.triu(np.ones((n, n), bool), 1) & found.causal)).all()
    elif found.full is not None:
        assert found.full and found.settled[0] <= found.settled[1] <= len(layers)


@given(st.lists(conditions(1), min_size=1, max_size=2), st.integers(1, 4), st.integers(1, 24))
def test_layers_that_are_alike(heads, depth, n):
    layers = [tuple(heads)] * depth
    found = reach(layers, n)
    assert None not in (found.pairs, found.full, found.settled)
    check(found, layers, n)


@given(st.lists(conditions(1, terms() | tables()), min_size=1, max_size=3), st.integers(1, 24))
def test_layers_that_differ(each, n):
    layers = [(condition,) for condition in each]
    check(reach(layers, n), layers, n)


@given(conditions(1, terms() | tables()), st.integers(1, 3), st.integers(1, 20))
def test_long_texts_with_tables_are_told_no_lies(condition, depth, n):
    layers = [(condition,)] * depth
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LONGEST_DENSE", 0)
        check(reach(layers, n), layers, n)


def test_tables_that_decide_the_depth_alone():
    condition = ir.And(
        (ir.RandomKeys(1, 0), ir.Compare(ir.Var("q"), "<", ir.Const(3)), ir.Compare(ir.Var("k"), "<", ir.Const(5)))
    )
    check(reach([(condition,)], 200), [(condition,)], 200)


def test_what_a_table_takes_away():
    condition = ir.Not(ir.RandomBlocks(1, 1, 0, past=True))
    found = reach([(condition,)], 4096)
    assert (found.causal, found.full) == (False, None)


@pytest.mark.parametrize(
    ("condition", "n", "settled", "full"),
    [
        (CAUSAL, 4096, 1, True),
        (past(512), 4096, 9, True),  # each layer reaches 511 further, and 8 * 511 < 4095
        (past(2), 1_000_000, 999_999, True),
        (window(2), 100, 99, True),
        (ir.Or((past(64), ir.And((CAUSAL, stride(64))))), 4096, 2, True),
        (ir.Or((window(8), first(2))), 4096, 2, True),
        (stride(2), 4096, 1, False),
        (ir.Or((past(1), ir.RandomKeys(4, 0), first(1))), 4096, 2, True),
    ],
)
def test_depths(condition, n, settled, full):
    found = reach([(condition,)], n)
    assert (found.settled, found.full) == ((settled, settled), full)


def test_tables_that_decide_are_not_guessed():
    found = reach([(ir.RandomKeys(2, 0),)] * 3, 4096)
    assert (found.pairs, found.full) == (None, None)
    assert reach([(ir.RandomKeys(2, 0),)] * 3, 512).pairs is not None


def test_layers_of_several_kinds():
    found = reach([(past(64),)] * 3 + [(CAUSAL,)], 1000)
    assert (found.full, found.settled, found.pairs) == (True, (4, 4), found.all_pairs)
    found = reach([(past(64),)] * 3 + [(past(32),)], 1000)
    assert (found.full, found.settled, found.back) == (None, None, 3 * 63 + 31)


def test_layers_that_draw_anew_are_not_alike():
    found = reach([(ir.Or((past(64), ir.RandomKeys(1, seed))),) for seed in range(3)], 4096)
    assert (found.full, found.settled) == (None, None)
