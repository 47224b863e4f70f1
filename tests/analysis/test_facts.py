import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.affine_conditions import (
    CAUSAL,
    DISTANCE,
    K,
    Q,
    conditions,
    first,
    past,
    same_block,
    stride,
    window,
    with_tables,
)

from sparsec.analysis.facts import facts
from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.sets import witness
from sparsec.sets.witness import Witness

LENGTHS = range(1, 14)


@given(st.one_of(conditions, with_tables))
def test_facts_and_witnesses_are_real(condition):
    found = facts(condition)
    kept = {n: mask(condition, n, n) for n in LENGTHS}
    if found.later_key:
        n, q, k = found.later_key.n, found.later_key.q, found.later_key.k
        assert k > q
        assert mask(condition, n, n)[q, k]
    elif "later_key" not in found.unknown:
        assert not any(pairs[q, q + 1 :].any() for pairs in kept.values() for q in range(len(pairs)))
    if found.row_without_key:
        assert not mask(condition, found.row_without_key.n, found.row_without_key.n)[found.row_without_key.q].any()
    elif "row_without_key" not in found.unknown:
        assert all(pairs.any(1).all() for pairs in kept.values())
    if found.unseen_key:
        assert not mask(condition, found.unseen_key.n, found.unseen_key.n)[:, found.unseen_key.k].any()
    elif "unseen_key" not in found.unknown:
        assert all(pairs.any(0).all() for pairs in kept.values())
    if found.empty:
        assert not any(pairs.any() for pairs in kept.values())


@given(conditions, conditions)
def test_a_pair_tells_two_conditions_apart(one, other):
    pair = witness.pair_between(one, other)
    if pair is not None:
        places = {"n_q": 1, "n_k": pair.n, "q_offset": pair.q}
        assert mask(one, **places)[0, pair.k]
        assert not mask(other, **places)[0, pair.k]
    else:
        assert not any((mask(one, n, n) & ~mask(other, n, n)).any() for n in LENGTHS)


@given(st.lists(conditions, min_size=2, max_size=3).map(tuple))
def test_needless_operands_change_nothing(parts):
    needless = facts(ir.Or(parts)).needless
    rest = tuple(part for place, part in enumerate(parts) if place not in needless)
    assert rest
    assert all((mask(ir.Or(rest), n, n) == mask(ir.Or(parts), n, n)).all() for n in LENGTHS)


@pytest.mark.parametrize(
    ("condition", "back", "ahead"),
    [
        (past(512), 511, 0),
        (window(512), 256, 256),
        (same_block(64), 63, 63),
        (ir.And((CAUSAL, stride(8))), None, 0),
        (ir.Or((window(8), first(4))), None, None),
    ],
)
def test_bandwidth(condition, back, ahead):
    found = facts(condition)
    assert (found.furthest_back, found.furthest_ahead) == (back, ahead)


def test_smallest_witnesses():
    own_left_out = ir.And((ir.Compare(ir.Const(1), "<=", DISTANCE), ir.Compare(DISTANCE, "<", ir.Const(4))))
    assert facts(own_left_out).row_without_key == Witness(n=1, q=0)
    assert facts(stride(64)).later_key == Witness(n=65, q=0, k=64)
    assert facts(ir.And((CAUSAL, ir.Compare(K, ">", Q)))).empty
    assert facts(ir.Or((past(4), past(8), CAUSAL))).needless == (0, 1)
    assert facts(ir.Or((past(4), past(4)))).needless == (1,)
    assert facts(past(4)).causal
    assert not facts(window(4)).causal


@given(conditions)
def test_bandwidth_of_random_conditions(condition):
    found = facts(condition)
    if {"furthest_back", "furthest_ahead"} & found.unknown:
        return
    pairs = [pair for n in (3, 8, 13, 40) for pair in zip(*mask(condition, n, n).nonzero(), strict=True)]
    distances = [int(q - k) for q, k in pairs]
    if found.furthest_back is not None:
        assert max(distances, default=found.furthest_back) <= found.furthest_back
    if found.furthest_ahead is not None:
        assert min(distances, default=-found.furthest_ahead) >= -found.furthest_ahead
