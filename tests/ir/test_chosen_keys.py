"""Lists of single keys apart from all else: together they are the condition, and no pair is in two parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.generated import pattern_of, random_pattern

from sparsec.ir import nodes as ir
from sparsec.ir.chosen_keys import keys_apart
from sparsec.testing.data import masks, random_data
from sparsec.testing.programs import chosen, input_programs


@given(input_programs(test=chosen()), st.integers(0, 99))
def test_parts_are_disjoint_and_the_whole(program, seed: int) -> None:
    pattern = random_pattern(program)
    apart = keys_apart(pattern.conditions[0])
    if apart is None:
        return
    data = random_data(pattern.inputs, 1, 2, 30, seed, n_q=20, kv_heads=1)

    def kept(condition: ir.Set) -> np.ndarray:
        return masks(replace(pattern, conditions=(condition,)), data, 1, 2, np.arange(10, 30), 30)

    parts = [kept(apart.beside)]
    parts += [kept(ir.And((ir.DataTest(ir.Chosen(own.name, 1, 1)), own.kept))) for own in apart.lists]
    assert (sum(part.astype(int) for part in parts) == kept(pattern.conditions[0])).all()


def test_lists_that_take_pairs_stay() -> None:
    text = "input sel: keys[t] input two: keys[t] pattern p = past(9) \\ selected(sel) | selected(two) \\ selected(sel)"
    apart = keys_apart(pattern_of(text).conditions[0])
    assert apart is not None and [own.name for own in apart.lists] == ["two"]
    assert (
        keys_apart(pattern_of("input sel: blocks[1, 16, t] pattern p = past(9) | selected(sel)").conditions[0]) is None
    )
