"""What a rank does, without any other: each pair in one step, and own keys in steps that wait for nobody."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import sparsec
from sparsec.analysis.any_data import anywhere, for_any_data
from sparsec.analysis.numbers import Uncounted
from sparsec.analysis.sharding import LAYOUTS, Shards, split
from sparsec.distributed.forms import Forms, Run, Steps
from sparsec.distributed.steps import steps_of
from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.ir.approximate import affine_over, bounded
from sparsec.testing.programs import input_programs, programs, tables, terms


@dataclass(frozen=True)
class Call:
    """A pattern over ranks; `unknown`: the device alone knows documents; `dropped`: weights are dropped."""

    text: str
    n: int = 40
    ranks: int = 3
    layout: str = "contiguous"
    ends: tuple[int, ...] = ()
    unknown: bool = False
    dropped: bool = False

    def forms(self) -> Forms:
        with warnings.catch_warnings():  # that rows have no key
            warnings.simplefilter("ignore", sparsec.PatternWarning)
            return Forms(sparsec.compile(self.text))

    def shards(self, pattern: ir.Pattern) -> Shards:
        asked = anywhere(for_any_data(pattern)) if self.unknown else for_any_data(pattern)
        return Shards(asked, self.ends or (0, self.n), split(self.layout, self.n, self.ranks, bounded(pattern)))


def pairs(shards: Shards, rank: int, steps: Steps, waits: bool) -> np.ndarray:
    """int64 [n, n]: in how many steps a pair is, of those that wait for received keys, or of the others."""
    found = np.zeros((shards.length, shards.length), np.int64)
    held = np.concatenate([np.arange(0), *(np.arange(*segment) for segment in shards.shares[rank])])
    for step in steps.steps:
        run = steps.runs[step.run]
        if run.received != waits:
            continue
        if len(step.lines) > 1:  # documents side by side, each with its own keys
            for _, high, row, _, wide, _ in step.lines:
                rows = held[step.rows[0] + row : step.rows[0] + row + high]
                found[np.ix_(rows, rows[:wide])] += 1
            continue
        first, stop = step.keys or (run.first, run.stop)
        found[held[slice(*step.rows)], run.document[0] + first : run.document[0] + stop] += 1
    return found


def check(call: Call) -> None:
    """Every pair is in one step at most, those that some data keep are, and pairs of own keys wait for nobody."""
    forms = call.forms()
    shards = call.shards(forms.pattern)
    kept = np.zeros((call.n, call.n), bool)
    for begin, end in shards.documents:
        for condition in shards.pattern.conditions:
            over = affine_over(condition)
            kept[begin:end, begin:end] |= np.broadcast_to(
                reference.mask(over, end - begin, end - begin), (end - begin,) * 2
            )
    for rank in range(call.ranks):
        steps = steps_of(forms, shards, rank, ((0,),), call.unknown, call.dropped)
        soon, late = (pairs(shards, rank, steps, waits) for waits in (False, True))
        assert (soon + late).max(initial=0) <= 1
        own = shards.owner == rank
        assert ((soon + late)[own] >= kept[own]).all()
        assert (soon[:, ~own] == 0).all()
        waits = [steps.runs[step.run].received for step in steps.steps]
        assert waits == sorted(waits)
        for first, stop in shards.shares[rank]:
            together = slice(first, stop), slice(first, stop)
            assert hidden(forms, call) <= (soon[together] >= kept[together]).all()


def hidden(forms: Forms, call: Call) -> bool:
    """Whether docs/howto/shard.md says that own keys do not wait."""
    if forms.chooses or (call.unknown and (forms.has_data or forms.whole)):
        return False
    return forms.has_data or call.dropped or not forms.whole


@pytest.mark.parametrize(
    "call",
    [
        Call("pattern p = past(9) | sinks(2)", layout="head-tail"),
        Call("pattern p = past(9) | sinks(2)", layout="head-tail", dropped=True),
        Call("pattern p = past(9) | sinks(2)", unknown=True),
        Call("pattern p = window(9)", unknown=True, dropped=True, layout="head-tail"),
        Call("pattern p = causal & k >= n - 25", dropped=True),
        Call("pattern p = causal & k >= n - 25", unknown=True),
        Call("pattern p = causal & k >= n // 2", ends=(0, 0, 13, 14, 40)),
        Call("input doc: int[B, n] pattern p = window(30) & doc[q] == doc[k]", ends=(0, 9, 40), dropped=True),
        Call("input doc: int[n] pattern p = past(9) & doc[q] == doc[k]", unknown=True),
        Call("input doc: int[n] pattern p = past(9) & doc[q] == doc[k + 1] | sinks(2)", layout="head-tail"),
        Call("input b: float[H, n] score f = s + b[k] pattern p = past(9) with f", layout="head-tail"),
        Call("input a: blocks[5, 8, t] pattern p = causal & (selected(a) | past(5))", 60, layout="head-tail"),
        Call("pattern p = past(5) | causal & top_blocks(2, 8, among = causal)"),
    ],
    ids=str,
)
def test_own_keys_wait_for_nobody(call: Call) -> None:
    check(call)


@settings(max_examples=12)
@given(
    programs(1) | programs(1, terms() | tables()) | input_programs(1),
    st.integers(1, 40),
    st.integers(1, 4),
    st.sampled_from(LAYOUTS),
    st.data(),
)
def test_random_programs(program, n: int, ranks: int, layout: str, data) -> None:
    unknown, dropped = data.draw(st.booleans()), data.draw(st.booleans())
    cuts = () if unknown else tuple(sorted(data.draw(st.lists(st.integers(0, n), max_size=2))))
    assume(not cuts or not any(own.by_row for own in program.inputs))
    try:
        check(Call(program.text, n, ranks, layout, (0, *cuts, n) if cuts else (), unknown, dropped))
    except (sparsec.SparsecError, Uncounted):  # a program that holds no pair, or that nobody can count
        assume(False)


def test_a_run_that_is_nothing_but_own_rows() -> None:
    assert Run((0, 9), 2, 5, (((4, 7), (0, 3)),)).rows == (4, 7)
    assert Run((0, 9), 0, 5, (((4, 7), (2, 5)),)).rows is None
    assert Run((0, 9), 2, 5, (((4, 7), (0, 3)),), received=True).rows is None
