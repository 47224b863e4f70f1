"""Keys that each query lists for itself, loaded one by one, in Triton's interpreter: against dense attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interpreter.test_inputs import _small_tiles, check  # noqa: F401
from support.generated import module_of, pattern_of, random_pattern

from sparsec.kernels.passes import chosen_keys
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.program.inputs import checked_inputs
from sparsec.testing.data import random_data
from sparsec.testing.programs import chosen, input_programs

CONDITIONS = [
    "input sel: keys[t] pattern p = past(7) | selected(sel)",
    "input sel: keys[t] pattern p = selected(sel)",
    "input sel: keys[5] input two: keys[3] pattern p = causal & (selected(sel) | selected(two)) | sinks(2)",
    "input sel: keys[6] input two: keys[9] pattern p = causal & (selected(sel) & selected(two) | stride(5))",
    "input sel: keys[t] input doc: int[n] pattern p = causal & (selected(sel) | doc[q] == doc[k]) \\ past(3)",
    "input sel: keys[4] input own: blocks[8, 16, u] pattern p = causal & (selected(sel) | selected(own))",
]
SIZES = (50, 50, 0), (33, 50, 17), (33, 70, 20)


@pytest.fixture(params=["one by one", "side by side"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How keys of lists are gone over, in the place of tiles, whatever it costs; a program has 16 rows."""
    monkeypatch.setattr(chosen_keys, "_is_cheaper", lambda *_: True)
    monkeypatch.setattr(chosen_keys, "_ONE_BY_ONE", 0.0 if request.param == "one by one" else 1e9)
    monkeypatch.setattr(chosen_keys, "_ROWS_APART", 16)
    monkeypatch.setattr(chosen_keys, "_KEYS_APART", 2)
    return request.param


@pytest.mark.parametrize("number", [2, *(pytest.param(number, marks=pytest.mark.full) for number in (0, 1, 3, 4, 5))])
def test_conditions(number: int, way: str) -> None:
    pattern, sizes = pattern_of(CONDITIONS[number]), SIZES[number % len(SIZES)]
    data = random_data(pattern.inputs, 2, 4, sizes[1], number + 1, n_q=sizes[0], kv_heads=2)
    check(module_of(pattern), pattern, *sizes, data, heads=(4, 2))


@pytest.mark.full
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(input_programs(test=chosen()), st.sampled_from(SIZES), st.integers(0, 99))
def test_random_programs(way: str, program, sizes: tuple[int, int, int], seed: int) -> None:
    pattern = random_pattern(program)
    data = random_data(pattern.inputs, 2, 2, sizes[1], seed, n_q=sizes[0], kv_heads=1)
    check(module_of(pattern), pattern, *sizes, data)


def test_lists_are_ordered_once_each() -> None:
    program = module_of(pattern_of(CONDITIONS[0]))._PROGRAM
    program.passes.clear()
    sel = torch.tensor([[3, 9, 3, -1, 12, 0, 9], [5, 5, 5, 5, 99, 2**40, -7]])[None, None]
    q, k = torch.zeros(1, 1, 2, 16), torch.zeros(1, 1, 12, 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chosen_keys, "_is_cheaper", lambda *_: True)
        call = Call(q, k, k, 1.0, 10, inputs=checked_inputs(program.inputs, {"sel": sel}, q, k))
        (lists,) = chosen_keys.lists_of_keys(program, call).values()
    assert [x[x < 12].tolist() for x in lists[0, 0]] == [[0, 3, 9], [5]]


@pytest.mark.parametrize(
    ("heads", "t", "n", "apart"),
    [((32, 32), 16, 4096, True), ((32, 1), 16, 4096, True), ((32, 32), 16, 1024, False), ((32, 1), 512, 1024, False)],
)
def test_tiles_are_left_where_they_cost_more(heads: tuple[int, int], t: int, n: int, apart: bool) -> None:
    program = module_of(pattern_of("input sel: keys[t] pattern p = past(512) | selected(sel)"))._PROGRAM
    program.passes.clear()
    q, k = (torch.zeros(1, 1, 1, 16).expand(1, each, n, 16) for each in heads)
    sel = torch.from_numpy(np.zeros((1, 1, n, t), np.int32))
    assert chosen_keys._worth(program, Call(q, k, k, 1.0, inputs=[sel])) == apart
