"""Plans against the dense reference: the cover is complete, visits no tile twice and calls no partial tile full."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import wide
from support.kernel import is_full, planned, positions, touches, visited

from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.plan.nodes import Cover, Region
from sparsec.sets import budgets
from sparsec.testing import programs

AFTER = ir.Sub(ir.Var("n"), ir.Var("k"))


@dataclass(frozen=True)
class Call:
    """Lengths, the position of the first query, and the sizes of tiles."""

    n_q: int
    n: int
    q_offset: int
    block_m: int
    block_n: int

    @property
    def rows(self) -> list[tuple[int, int]]:
        """q_lo, q_hi of every tile of queries; the last may reach past the sequence."""
        starts = range(self.q_offset, self.q_offset + self.n_q, self.block_m)
        return [(low, low + self.block_m - 1) for low in starts]

    @property
    def columns(self) -> list[tuple[int, int]]:
        """k_lo, k_hi of every tile of keys."""
        return [(low, low + self.block_n - 1) for low in range(0, self.n, self.block_n)]


calls = st.builds(Call, *(st.integers(1, 150),) * 2, st.integers(0, 70), *(st.integers(16, 40),) * 2)


def check(condition: ir.Set, region: Region, call: Call) -> None:
    """Every kept pair lies in exactly one visited tile, from both sides, and full tiles are full."""
    kept = reference.mask(condition, call.n_q, call.n, call.q_offset)
    assert (kept == reference.mask(region.condition, call.n_q, call.n, call.q_offset)).all()
    starts = np.arange(0, call.n_q, call.block_m), np.arange(0, call.n, call.block_n)
    some = np.logical_or.reduceat(np.logical_or.reduceat(kept, starts[0], axis=0), starts[1], axis=1)
    for i, (low, high) in enumerate(call.rows):
        tiles = visited(region.rows, low, high, call.n, call.n, call.block_n)
        assert len(set(tiles)) == len(tiles)
        assert set(np.nonzero(some[i])[0]) <= set(tiles)
        for box in ((low, high, *column) for column in call.columns):
            there = touches(condition, box, call.n)[:, : call.n - box[2]]  # kernels mask a tile that hangs over the end
            assert not is_full(region, box, call.n) or there.all()
        check_tight(condition, region.rows, (low, high), call)
    for j, (low, high) in enumerate(call.columns):
        tiles = visited(region.columns, low, high, call.n, call.n_q, call.block_m, call.q_offset)
        assert len(set(tiles)) == len(tiles)
        assert set(np.nonzero(some[:, j])[0]) <= set(tiles)
        check_tight(condition, region.columns, (low, high), call)


def check_tight(condition: ir.Set, cover: Cover, edges: tuple[int, int], call: Call) -> None:
    """Every position of an exact segment is touched."""
    length, shift = (call.n, 0) if cover.side == "q" else (call.n_q, call.q_offset)
    for segment in cover.segments:
        first, stop = positions(segment, cover.side, *edges, call.n, length, shift)
        if segment.exact and first < stop:
            seen = (first + shift, stop - 1 + shift)
            box = (*edges, *seen) if cover.side == "q" else (*seen, *edges)
            assert touches(condition, box, call.n).any("qk".index(cover.side)).all()


@example(ir.And((ir.Compare(AFTER, ">=", ir.Const(0)), ir.Compare(AFTER, "<", ir.Const(2)))), Call(1, 1, 0, 16, 16))
@given(programs.conditions(depth=1) | wide.conditions, calls)
def test_random_conditions(condition, call):
    check(condition, planned(condition), call)


@given(programs.conditions(depth=1) | wide.conditions, calls, st.integers(1, 12_000), st.integers(1, 3_000))
def test_any_budget_will_do(condition, call, most, few):
    """Wherever isl runs out of steps, what is left is a cover."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budgets, "PRECISION", most)
        for name in ("NEATER", "BOUND", "SIMPLIFY"):
            patch.setattr(budgets, name, few)
        region = planned(condition)
    check(condition, region, call)


@pytest.mark.full
@settings(max_examples=2500, deadline=None)
@given(programs.conditions(depth=2) | wide.conditions, st.lists(calls, min_size=3, max_size=3))
def test_many_random_conditions(condition, some):
    region = planned(condition)
    for call in some:
        check(condition, region, call)
