"""Sets that the call chooses, in Triton's interpreter: bits and sorted lists, tiles and masks."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter.test_inputs import _small_tiles, check, listed, tiles_of  # noqa: F401
from support.generated import module_of, pattern_of, random_pattern, spread_module_of

import sparsec
from sparsec.ir.nodes import And, Compare, Const, DataTest, Grouped, Not, Or, Sub, Var
from sparsec.kernels.launches import kernel_inputs
from sparsec.kernels.launches.kernel_inputs import for_kernels
from sparsec.kernels.lists import data_tiles
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.passes.heads_as_rows import as_rows, rows_of_query
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.inputs import BITS, checked_inputs
from sparsec.kernels.tiles.chosen import is_chosen
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


def test_tables_beside_lists_that_ranges_hold() -> None:
    """A walk names of a table what its own ranges lack: tiles within these are kept though no list names them."""
    text = "input sel: blocks[32, 32, t] pattern p = causal & random_blocks(64, 3, 1) | causal & selected(sel)"
    pattern = pattern_of(text)
    data = random_data(pattern.inputs, 2, 2, 450, 1, n_q=70, kv_heads=1)
    check(spread_module_of(pattern), pattern, 70, 450, 380, data)


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
    assert chosen.untyped_storage().nbytes() <= 8 * 4 * lists.numel()
    if bits:
        assert (united != 0).sum() == 1  # one word of 32 blocks, for both queries
    else:
        assert united[united < n].tolist() == list(range(2 * listed))  # of both queries in one line


@triton.jit
def _write_chosen(CHOSEN, OUT, n, first, ROWS: tl.constexpr, SIZE: tl.constexpr, KEYS: tl.constexpr):
    q, k = tl.arange(0, 32), first + tl.arange(0, KEYS)
    held = is_chosen(CHOSEN, (0, 0, 1, 0, 32, first, first + KEYS), 128, q[:, None], k[None, :], n, ROWS, SIZE)
    tl.store(OUT + q[:, None] * KEYS + tl.arange(0, KEYS)[None, :], held)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 64, 100, 256])
def test_words_of_tiles(size: int) -> None:
    """Tiles of keys whose blocks have their bits in one word, or in several."""
    program = module_of(pattern_of(f"input sel: blocks[4, {size}, t] pattern p = selected(sel)"))._PROGRAM
    n, keys = 500, 128
    q, k = torch.zeros(1, 1, 32, 16), torch.zeros(1, 1, n, 16)
    lists = torch.randint(-1, -(-n // size), (1, 1, 8, 40), generator=torch.Generator().manual_seed(size))
    chosen_, _ = for_kernels(program, checked_inputs(program.inputs, {"sel": lists}, q, k), n, n).values()
    assert chosen_.dim() == BITS
    kept = (lists[0, 0, :, :, None] == torch.arange(n) // size).any(1).repeat_interleave(4, 0)
    for first in range(0, n, keys):
        out = torch.zeros(32, keys, dtype=torch.bool)
        _write_chosen[(1,)](chosen_, out, n, first, ROWS=4, SIZE=size, KEYS=keys)
        assert torch.equal(out, torch.nn.functional.pad(kept, (0, keys))[:, first : first + keys])


@pytest.mark.parametrize(("text", "heads", "groups", "rows"), [
    ("input sel: blocks[1, 8, t] pattern p = causal & (past(5) | selected(sel))", (4, 1), 1, 4),
    ("input sel: blocks[1, 8, t] pattern p = causal & (past(5) | selected(sel))", (4, 2), 2, 2),
    ("input sel: blocks[1, 8, t] pattern p = causal & (past(5) | selected(sel))", (4, 2), 4, 1),
    ("input sel: blocks[1, 8, t] pattern p = causal & (past(5) | selected(sel))", (6, 2), 1, 1),
    ("input sel: blocks[1, 8, t] pattern p = causal & (past(5) | selected(sel))", (12, 1), 1, 4),
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


@pytest.mark.parametrize(("text", "heads", "rows"), [
    ("input sel: blocks[1, 16, t] pattern p = causal & selected(sel)", (4, 1), 4),
    ("input sel: blocks[1, 16, t] pattern p = selected(sel) \\ past(9) | past(3) | sinks(2)", (2, 2), 1),
    ("input sel: blocks[2, 32, t] input doc: int[n] pattern p = past(5) & doc[q] == doc[k] | selected(sel)", (4, 2), 4),
    ("input sel: blocks[1, 16, t] pattern p = causal & selected(sel)", (12, 2), 2),
    ("input sel: blocks[1, 16, t] pattern p = causal & ~selected(sel)", (4, 1), None),  # nearly all there is
    ("input sel: blocks[32, 16, t] pattern p = causal & selected(sel)", (4, 1), None),  # tiles choose alike
    ("input sel: blocks[1, 5, t] pattern p = causal & selected(sel)", (4, 1), None),  # small blocks share bits
])  # fmt: skip
@pytest.mark.parametrize("few", [False, pytest.param(True, marks=pytest.mark.full)])
def test_queries_that_chose_a_tile_of_keys_are_gathered(text, heads, rows, few, monkeypatch) -> None:
    monkeypatch.setattr(kernel_inputs, "_BITS", 0 if few else 8)
    pattern = pattern_of(text)
    module = module_of(pattern)
    n_q, n, q_offset = (150, 170, 20) if "doc" in text else (170, 170, 0)
    data = random_data(pattern.inputs, 2, heads[0], n, 1, n_q=n_q, kv_heads=heads[1])
    size, lists = pattern.inputs[0].sizes[1], -(-n_q // pattern.inputs[0].sizes[0])
    data["sel"] = np.random.default_rng(4).integers(-1, -(-n // size) + 1, (2, heads[1], lists, 1))
    check(module, pattern, n_q, n, q_offset, data, heads=heads)
    (run,) = (run for key, run in module._PROGRAM.passes.items() if key[0] == "backward")
    (kernel,) = module._PROGRAM.groups[0].at(n).of("dkdv")
    assert data_tiles.rows_listed(run, kernel, q_offset) == rows


@pytest.mark.parametrize(("score", "rows"), [("", 1), ("with alibi", 1), ("with near", None)])
def test_rows_are_not_gathered_where_a_score_reads_by_distance(score: str, rows: int | None) -> None:
    """Such a score is read of rows that follow one another."""
    near = "input t: float[H, d] score near = s + t[min(q - k, 7)]" if "near" in score else ""
    attend = sparsec.compile(f"input sel: blocks[1, 16, t] {near} pattern p = causal & selected(sel) {score}")
    program, (q, k) = attend._operator.program, (torch.zeros(1, heads, 170, 16) for heads in (4, 4))
    given = {"sel": torch.arange(170).view(1, 1, 170, 1) // 16} | ({"t": torch.zeros(4, 8)} if near else {})
    call = Call(q, k, k, 1.0, inputs=checked_inputs(program.inputs, given, q, k))
    program.passes.clear()
    out, lse = forward_gpu(program, call)
    backward_gpu(program, call, Upstream(out, out, lse, None))
    (run,) = (run for key, run in program.passes.items() if key[0] == "backward")
    (kernel,) = program.groups[0].at(170).of("dkdv")
    assert data_tiles.rows_listed(run, kernel, 0) == rows


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
