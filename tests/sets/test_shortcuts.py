"""What is looked up, left out or asked of a few pairs instead of the set library answers as it does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import islpy as isl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.analysis import score_gradient
from sparsec.ir import nodes as ir
from sparsec.ir import scores, vector
from sparsec.ir.algebra import HOLDS
from sparsec.ir.boxes import decided, without_phases
from sparsec.ir.sampled import Pairs, pairs_for
from sparsec.plan.coordinates import in_class, pairs_of
from sparsec.plan.covers import region_of
from sparsec.plan.nodes import Contiguous, Gathered, Residue
from sparsec.plan.programs import BLOCK, visited
from sparsec.sets import budgets, redundancy, symbolic_tiles
from sparsec.sets.context import OutOfBudget, allowance, budget, remembered, spend
from sparsec.sets.to_isl import reachable, relation
from sparsec.testing.programs import conditions, tables, terms

Q, K = ir.Var("q"), ir.Var("k")


def only_proofs(function, *arguments):
    """The answer without looking at pairs, for which proofs of all that pairs refute take many more steps."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Pairs, "some", lambda *_: False)
        return with_room(function, *arguments)


def with_room(function, *arguments):
    """The answer with budgets that hardly any question exceeds: a condition whose budget ends stays as it was."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("SIMPLIFY", "GIVEN"):
            patched.setattr(budgets, name, 100 * getattr(budgets, name))
        return function(*arguments)


@settings(max_examples=60)
@given(conditions(term=terms() | tables()))
def test_a_pair_that_is_seen_is_kept(condition):
    look = pairs_for(condition)
    if look.some(condition):
        assert not ir.leaves(condition)
        assert not reachable(condition).is_empty()


def test_pairs_tell_usual_conditions_apart():
    """Otherwise looking at them would be of no use."""
    blocks = ir.Compare(ir.FloorDiv(Q, 2048), "==", ir.FloorDiv(K, 2048))
    class_ = ir.Compare(ir.Mod(ir.Mod(K, 8192), 4), "==", ir.Const(3))
    wide = ir.Compare(ir.FloorDiv(Q, 8192), "==", ir.FloorDiv(K, 8192))
    look = pairs_for(ir.And((blocks, class_, wide)))
    assert look.some(ir.And((wide, class_, ir.Not(blocks))))
    assert look.some(ir.And((wide, blocks, ir.Not(class_))))
    assert not look.some(ir.And((blocks, ir.Not(wide))))


@settings(max_examples=40)
@given(conditions())
def test_simplified_alike_without_looking(condition):
    assert with_room(redundancy.simplify, condition) == only_proofs(redundancy.simplify, condition)


@settings(max_examples=40)
@given(conditions(term=terms() | tables()), conditions(depth=1))
def test_given_alike_without_looking(condition, facts):
    assert with_room(redundancy.given, condition, facts) == only_proofs(redundancy.given, condition, facts)


@settings(max_examples=15)
@given(st.lists(conditions(), min_size=1, max_size=4))
def test_read_alike_after_others(some):
    """Numbers and comparisons are read once in a thread; a condition alone in a new one is read alike."""

    def read_last() -> str:
        return [str(relation(condition)) for condition in (*some[1:], some[0])][-1]

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        assert one.submit(read_last).result() == other.submit(lambda: str(relation(some[0]))).result()


_STRIDES = st.sampled_from((2, 3, 4, 8))


@settings(max_examples=25, deadline=None)
@given(terms(), _STRIDES, st.integers(0, 7), st.sampled_from("qk"), st.data())
def test_one_class_is_planned_as_it_would_be_with_its_residue(term, stride, phase, side, data):
    residue = phase % stride
    own = ir.Compare(ir.Mod(Q, stride), "==", ir.Const(residue))
    beside = ir.Compare(ir.Mod(ir.Sub(Q, K), stride), "==", ir.Const(0))
    pairs = relation(in_class(ir.And((own, beside, term)), stride), parameters=("n", "residue"))
    _, one, when = symbolic_tiles._of_one_class(pairs, stride)
    if when == ir.TRUE:
        assert pairs.is_empty() or pairs.dim(isl.dim_type.param) == 2
        return
    assert one == 1
    assert when == ir.Compare(ir.Var("residue"), "==", ir.Const(residue))
    low = np.asarray(data.draw(st.lists(st.integers(0, 60), min_size=8, max_size=8)))
    other = np.asarray(data.draw(st.lists(st.integers(0, 60), min_size=8, max_size=8)))
    for asked in range(stride):
        at = {"n": 200, "residue": asked, "q_lo": low, "q_hi": low + 15, "k_lo": other, "k_hi": other + 15}
        with budget(10**6):
            whole, found = symbolic_tiles._full(pairs, 8, stride), symbolic_tiles.full(pairs, 8, stride)
            reach = symbolic_tiles._touched(pairs, side, 99, stride, 16)
            less = symbolic_tiles.touched(pairs, side, 99, stride)
        assert np.array_equal(_held(ir.Or(whole or (ir.FALSE,)), at), _held(found, at))
        assert _spans(reach, at) == _spans(less, at)


def _held(condition: ir.Set, at: dict) -> np.ndarray:
    return np.broadcast_to(vector.holds(condition, at), at["q_lo"].shape)


def _spans(reach: symbolic_tiles.Reach, at: dict) -> list[list[tuple]]:
    """For each tile what is touched, as (first, last), in order; open ends are None."""
    found = [[] for _ in at["q_lo"]]
    for each in reach.intervals:
        there = _held(each.when, at)
        ends = [
            [None] * len(found) if end is None else np.broadcast_to(vector.integer(end, at), there.shape).tolist()
            for end in (each.first, each.last)
        ]
        for place, (first, last) in enumerate(zip(*ends, strict=True)):
            if there[place] and not (first is not None and last is not None and first > last):
                found[place].append((first, last))
    return [sorted(some, key=str) for some in found]


@settings(max_examples=25, deadline=None)
@given(conditions(depth=1), st.sampled_from((Contiguous(), Residue(3), Residue(128), Gathered(96, 32, 16))), st.data())
def test_short_sequences_visit_what_long_ones_were_evaluated_for(condition, layout, data):
    pairs = redundancy.simplify(ir.And((condition, pairs_of(layout))))
    region = region_of(pairs, layout, "")
    for n in (data.draw(st.integers(1, 1500)), data.draw(st.integers(1, 1500))):
        for cover in region.covers:
            assert visited(cover, layout, n).tolist() == _one_by_one(cover, layout, n)


def _one_by_one(cover, layout, n: int) -> list[int]:
    """Tiles of each program of a cover, tile by tile in Python's own numbers."""
    counts = []
    for residue in range(min(layout.stride, n)) if isinstance(layout, Residue) else (0,):
        own = other = len(range(residue, n, layout.stride)) if isinstance(layout, Residue) else n
        if isinstance(layout, Gathered):
            keys = sum(0 <= (k - layout.first) % layout.period < layout.width for k in range(layout.first, n))
            own, other = (n, keys) if cover.side == "q" else (keys, n)
        for low in range(0, own, BLOCK):
            at = {"n": n, "residue": residue, f"{cover.side}_lo": low, f"{cover.side}_hi": low + BLOCK - 1}
            tiles = set()
            for segment in cover.segments:
                first = 0 if segment.first is None else max(0, int(vector.integer(segment.first, at)))
                stop = other if segment.last is None else min(other, int(vector.integer(segment.last, at)) + 1)
                if vector.holds(segment.when, at):  # kernels look at no more than the edges of tiles, either
                    tiles |= set(range(first // BLOCK, -(-stop // BLOCK)))
            counts.append(len(tiles))
    return counts


_REMAINDERS = st.builds(
    lambda inner, size, m: ir.Mod(ir.Mod(inner, 24) if m % 2 else ir.FloorDiv(inner, size), m),
    st.sampled_from((Q, K, ir.Sub(Q, K))), st.integers(1, 4), st.integers(1, 12),
)  # fmt: skip
_PHASES = st.builds(ir.Compare, _REMAINDERS, st.sampled_from(sorted(HOLDS)), st.integers(-1, 12).map(ir.Const))
phases = _PHASES | _PHASES.map(lambda one: ir.Compare(one.right, one.op, one.left))


@settings(max_examples=80)
@given(conditions(term=terms() | phases), st.integers(1, 16), st.integers(0, 60), st.integers(0, 60), st.data())
def test_boxes_do_not_tell_the_phases_that_are_left_out(condition, width, q, k, data):
    sides = data.draw(st.tuples(st.integers(width, 40), st.integers(width, 40)))
    at = {
        name: (np.array([low]), np.array([low + side - 1])) for name, low, side in zip("qk", (q, k), sides, strict=True)
    }
    at["n"] = (np.array([200]), np.array([200]))
    for told, expected in zip(decided(without_phases(condition, width), at), decided(condition, at), strict=True):
        assert told == expected


def test_heads_that_differ_in_a_phase_are_alike_to_boxes():
    first, second = (ir.Compare(ir.Mod(ir.Mod(Q, 8192), 4), "==", ir.Const(phase)) for phase in (1, 3))
    assert without_phases(first, 64) == without_phases(second, 64)
    assert without_phases(first, 2) != without_phases(second, 2)


def test_heads_that_differ_in_their_blocks_are_alike_to_boxes():
    block = ir.Mod(ir.FloorDiv(K, 16), 4)
    heads = [
        ir.And((ir.Compare(ir.Const(one), "<=", block), ir.Compare(block, "<", ir.Const(one + 1)))) for one in range(4)
    ]
    assert len({without_phases(head, 64) for head in heads}) == 1
    assert len({without_phases(head, 32) for head in heads}) == 4


@given(
    st.lists(st.integers(-(2**62), 2**62)), st.integers(1, 1 << 40) | st.integers(0, 50).map(lambda power: 1 << power)
)
def test_division_by_shifts(values, divisor):
    some = np.asarray(values, np.int64)
    assert (vector.floor_divided(some, divisor) == some // divisor).all()
    assert (vector.remainder(some, divisor) == some % divisor).all()


def test_an_answer_is_remembered_unless_it_had_to_do_with_less():
    made = []

    def make() -> int:
        made.append(0)
        try:
            with budget(5000):
                spend(2000)
            return 1
        except OutOfBudget:
            return 0

    with allowance(1000):
        assert remembered("what a test asks", make) == 0
    assert [remembered("what a test asks", make) for _ in range(3)] == [1, 1, 1]
    assert len(made) == 2


_LINEAR = st.recursive(
    st.sampled_from((scores.Scaled(), scores.Number(0.5), scores.Whole(Q))),
    lambda inner: st.builds(scores.Arithmetic, inner, st.sampled_from("+-"), inner),
    max_leaves=4,
)


@settings(max_examples=40, deadline=None)
@given(_LINEAR)
def test_the_gradient_of_s_and_what_is_added_is_that_of_sympy(score):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(score_gradient, "_moves_along", lambda *_: False)
        expected = score_gradient.gradient.__wrapped__(score)
    assert score_gradient.gradient.__wrapped__(score) == expected
