"""Sets that the call chooses, in Triton's interpreter: bits and sorted lists, tiles and masks."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter.test_inputs import _small_tiles, check, listed, tiles_of  # noqa: F401
from support.generated import module_of, pattern_of, random_pattern, spread_module_of

from sparsec.ir.nodes import And, Compare, Const, DataTest, Grouped, Not, Or, Sub, Var
from sparsec.kernels import kernel_inputs
from sparsec.kernels.arguments import Call
from sparsec.kernels.forward import forward_gpu
from sparsec.kernels.heads_as_rows import as_rows, rows_of_query
from sparsec.kernels.inputs import BITS, checked_inputs
from sparsec.kernels.kernel_inputs import for_kernels
from sparsec.testing.data import masks, random_data
from sparsec.testing.programs import chosen, grouped, input_programs, with_inputs

CONDITIONS = [
    "input sel: blocks[1, 8, t] pattern p = causal & (past(8) | sinks(4) | selected(sel))",
    "input sel: blocks[32, 16, t] pattern p = selected(sel)",
    "input sel: blocks[24, 20, t] pattern p = causal & selected(sel) | past(5)",
    "input sel: keys[t] input doc: int[n] pattern p = causal & (selected(sel) | doc[q] == doc[k]) \\ past(3)",
    "input sel: blocks[5, 3, 2] pattern p = causal & (past(9) | stride(8)) & ~selected(sel)",
]


@pytest.mark.parametrize(
    ("text", "few"),
    [
        (CONDITIONS[0], False),
        (CONDITIONS[3], True),
        *(pytest.param(text, few, marks=pytest.mark.full) for text in CONDITIONS for few in (False, True)),
    ],
)
def test_conditions(text: str, few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_inputs, "_BITS", 0 if few else 8)
    pattern = pattern_of(text)
    n_q, n, q_offset = (33, 50, 40) if few else (50, 50, 0)
    data = random_data(pattern.inputs, 2, 4, n, len(text) + few, n_q=n_q, kv_heads=2)
    check(spread_module_of(pattern), pattern, n_q, n, q_offset, data, heads=(4, 2))


@pytest.mark.parametrize("near", [True, False])
def test_groups(near: bool) -> None:
    own = DataTest(Grouped("chunks" if near else "clusters", near))
    causal, recent = Compare(Var("k"), "<=", Var("q")), Compare(Sub(Var("q"), Var("k")), "<", Const(5))
    condition = And((causal, Or((own, recent)))) if near else Or((And((causal, Not(own))), And((causal, recent))))
    pattern = random_pattern(with_inputs(condition))
    n_q, n, q_offset = (50, 50, 0) if near else (33, 50, 40)
    data = random_data(pattern.inputs, 2, 4, n, 5, n_q=n_q)
    check(module_of(pattern), pattern, n_q, n, q_offset, data, heads=(4, 2))


@pytest.mark.full
@settings(max_examples=8)
@given(
    input_programs(test=chosen() | grouped()),
    st.sampled_from(((40, 40, 0), (5, 70, 65), (33, 20, 9))),
    st.integers(0, 99),
)
def test_random_programs(program, sizes, seed) -> None:
    pattern = random_pattern(program)
    data = random_data(pattern.inputs, 2, 2, sizes[1], seed, n_q=sizes[0], kv_heads=1)
    check(module_of(pattern), pattern, *sizes, data)


@pytest.mark.parametrize(
    ("own", "exact"),
    [("blocks[32, 16, t]", True), ("blocks[16, 16, t]", True), ("blocks[1, 4, t]", False), ("keys[t]", False)],
)
def test_tiles_are_those_that_hold_a_pair(own: str, exact: bool) -> None:
    pattern = pattern_of(f"input sel: {own} pattern p = selected(sel)")
    data = {"sel": np.random.default_rng(1).integers(-1, 8, (2, 1, -(-100 // pattern.inputs[0].sizes[0]), 3))}
    mask = masks(pattern, data, 2, 2, np.arange(100), 100)
    for row, head, line, entries in listed(module_of(pattern), 100, 100, 0, data):
        touched, whole = tiles_of(mask[row, head], line)
        found = [entry // 4 for entry in entries]
        assert found == sorted(set(found))
        assert touched <= set(found)
        assert len(found) < 7  # of the tiles that there are
        assert {entry // 4 for entry in entries if entry % 4 == 1} <= whole
        if exact:
            assert (set(found), {entry // 4 for entry in entries if entry % 4 == 1}) == (touched, whole)


@pytest.mark.parametrize(("n", "listed", "bits"), [(4096, 16, True), (4096 * 64, 16, True), (4096 * 64 + 1, 16, False)])
def test_bits_take_no_more_room_than_some_lists(n: int, listed: int, bits: bool) -> None:
    program = module_of(pattern_of("input sel: blocks[1, 64, t] pattern p = selected(sel)"))._PROGRAM
    q, k = torch.zeros(1, 1, 2, 16), torch.zeros(1, 1, 1, 16).expand(1, 1, n, 16)
    lists = torch.arange(2 * listed).view(1, 1, 2, listed)
    chosen, united = for_kernels(program, checked_inputs(program.inputs, {"sel": lists}, q, k), n, n).values()
    assert (chosen.dim() == BITS) == bits
    assert chosen.numel() <= 8 * lists.numel()
    assert (united != 0).sum() == 1  # one word of 32 blocks, for both queries


@pytest.mark.parametrize(("text", "heads", "groups", "rows"), [
    ("input sel: blocks[1, 8, t] pattern p = causal & (past(5) | selected(sel))", (4, 1), 1, 4),
    ("input sel: blocks[1, 8, t] pattern p = causal & (past(5) | selected(sel))", (4, 2), 2, 2),
    ("input sel: blocks[1, 8, t] pattern p = causal & (past(5) | selected(sel))", (4, 2), 4, 1),
    ("input sel: blocks[1, 8, t] pattern p = causal & (past(5) | selected(sel))", (6, 2), 1, 1),
    ("input sel: blocks[64, 8, t] pattern p = causal & (past(5) | selected(sel))", (4, 2), 1, 1),
    ("input sel: keys[t] pattern p = causal & (stride(8) | past(9) | selected(sel))", (4, 2), 1, 1),
])  # fmt: skip
def test_heads_stand_side_by_side_where_they_choose_alike(text, heads, groups, rows) -> None:
    pattern = pattern_of(text)
    program = spread_module_of(pattern)._PROGRAM
    q, k = torch.zeros(2, heads[0], 40, 16), torch.zeros(2, heads[1], 40, 16)
    sel = np.random.default_rng(2).integers(-1, 5, (2, groups, -(-40 // pattern.inputs[0].sizes[0]), 2))
    assert rows_of_query(program, q, k, checked_inputs(program.inputs, {"sel": torch.from_numpy(sel)}, q, k)) == rows
    if rows > 2:
        check(spread_module_of(pattern), pattern, 40, 70, 30, {"sel": sel}, heads=heads)


def test_tiles_of_several_heads_hold_fewer_choices() -> None:
    pattern = pattern_of("input sel: blocks[1, 16, t] pattern p = causal & selected(sel)")
    program = module_of(pattern)._PROGRAM
    program.passes.clear()
    q, k, n = torch.zeros(1, 16, 64, 16), torch.zeros(1, 1, 64, 16), 64
    sel = torch.arange(64)[:, None] // 16
    inputs = checked_inputs(program.inputs, {"sel": sel.expand(1, 1, 64, 1)}, q, k)
    forward_gpu(program, Call(q, k, k, 1.0, inputs=inputs))
    (run,) = (run for key, run in program.passes.items() if key[0] == "forward")
    data = for_kernels(program, [sel[None, None]], n, n, 16)
    env = run({"Q": as_rows(q, 16), "K": k, "V": k, "scale_log2": 1.0, **data})
    (counts,) = (x for name, x in env.items() if name.startswith("DATA_TILES") and "COUNTS" in name)
    assert counts[:32].tolist() == [1] * 32  # tiles of 32 rows, 2 queries: they choose one block


@pytest.mark.parametrize(
    "arms", ["causal & (past(5) | selected(sel))", "match h { 1 -> past(9), else -> selected(sel) }"]
)
def test_tiles_of_keys_visit_what_each_query_head_chose(arms: str) -> None:
    """Where heads that share keys choose apart, a step is about one of them; others would be visited in vain."""
    pattern = pattern_of(f"input sel: blocks[16, 16, t] pattern p = {arms}", 4)
    sel = np.random.default_rng(3).integers(-1, 5, (2, 4, 5, 1))
    module = spread_module_of(pattern)
    check(module, pattern, 70, 70, 0, {"sel": sel}, heads=(4, 2))
    if "match" in arms:
        return
    mask = masks(pattern, {"sel": sel}, 2, 4, np.arange(70), 70)
    (run,) = (run for key, run in module._PROGRAM.passes.items() if key[0] == "backward")
    q, k = torch.zeros(2, 4, 70, 16), torch.zeros(2, 2, 70, 16)
    inputs = checked_inputs(module._PROGRAM.inputs, {"sel": torch.from_numpy(sel)}, q, k)
    env = run({"Q": q, "K": k, "V": k, "DO": q, "OUT": q, "LSE": q[..., 0], "DLSE": q[..., 0], "scale": 1.0,
               "scale_log2": 1.0, **for_kernels(module._PROGRAM, inputs, 70, 70)})  # fmt: skip
    (counts,) = (x for name, x in env.items() if re.fullmatch(r"DATA_TILES_DKDV\w*_COUNTS_\d+", name))
    tiles = np.pad(mask, ((0, 0), (0, 0), (0, 10), (0, 26))).reshape(2, 2, 2, 5, 16, 3, 32).any((4, 6))
    assert counts.abs().view(2, 2, 3).tolist() == tiles.sum((2, 3)).tolist()  # long lines are negative
