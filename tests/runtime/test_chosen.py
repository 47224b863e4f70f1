"""Sets that the call chooses, on a CPU: random programs with lists of blocks and of keys, and calls that do not fit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime.test_inputs import HEADS, assert_exact, lengths
from support.generated import attend_of, pattern_of, random_pattern, spread_module_of

import sparsec
from sparsec.testing import check
from sparsec.testing.programs import chosen, input_programs


@settings(max_examples=10)
@given(input_programs(test=chosen()), lengths(), HEADS, st.integers(0, 99))
def test_random_programs(program, lengths, heads, seed):
    pattern = random_pattern(program)
    assert_exact(attend_of(pattern), pattern, *lengths, heads, seed)


DECLARED = "input sel: blocks[8, 8, t] input far: keys[t] input doc: int[n]\n"


@pytest.mark.parametrize(
    "condition",
    [
        "causal & (past(9) | stride(8)) & (selected(sel) | selected(far))",
        "past(4) | random_blocks(16, 1, 2) & ~selected(sel) | selected(far) & doc[q] == doc[k]",
        "causal & (k % 16 >= 14 | past(6) & selected(far))",
    ],
)
@pytest.mark.parametrize(("n_q", "n", "q_offset"), [(150, 150, None), (3, 150, None), (60, 50, 7)])
def test_layouts(condition, n_q, n, q_offset):
    pattern = pattern_of(f"{DECLARED}pattern p = {condition}")
    assert_exact(spread_module_of(pattern).p, pattern, n_q, n, q_offset, (4, 2), seed=n_q)


BLOCKS = "input sel: blocks[1, 8, t] pattern p = causal & (past(8) | sinks(4) | selected(sel))"


def lists_of(*shape: int, blocks: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(-1, blocks + 2, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int32)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_lists_for_all_heads_for_key_heads_and_for_each(groups):
    attend = sparsec.compile(BLOCKS)
    check(attend, 70, 70, heads=4, kv_heads=2, sel=lists_of(2, groups, 70, 3, blocks=9))
    check(attend, 30, 70, heads=4, kv_heads=2, sel=lists_of(1, groups, 30, 3, blocks=9).long())


@pytest.mark.parametrize("entry", [-1, 0, 8, 9, 2**31 - 1, -(2**31)])
def test_lists_that_name_one_block_or_none(entry):
    attend = sparsec.compile("input sel: blocks[16, 8, t] pattern p = selected(sel)")
    check(attend, 70, 70, heads=2, sel=torch.full((1, 1, 5, 3), entry, dtype=torch.int32))


def test_lists_without_entries():
    attend = sparsec.compile(BLOCKS)
    check(attend, 70, 70, heads=2, sel=torch.zeros(1, 2, 70, 0, dtype=torch.int32))


def test_repeated_entries_and_their_order_change_nothing():
    attend, (q, k, v) = sparsec.compile(BLOCKS), torch.randn(3, 1, 2, 70, 16)
    once = torch.tensor([5, 2, -1, 99]).expand(1, 1, 70, 4)
    often = torch.tensor([2, 2, 5, 2, 5]).expand(1, 1, 70, 5)
    assert torch.equal(attend(q, k, v, sel=once), attend(q, k, v, sel=often))


def test_rows_of_lists_are_the_queries_of_the_call():
    attend = sparsec.compile("input sel: blocks[4, 8, t] pattern p = causal & selected(sel)")
    sel = lists_of(1, 1, 10, 3, blocks=9)
    q, k, v = torch.randn(3, 1, 1, 70, 16)
    mask = attend.pattern.mask(37, 70, sel=sel)[0]
    for row in range(37):
        named = set(sel[0, 0, row // 4].tolist())
        assert mask[row].tolist() == [key <= row + 33 and key // 8 in named for key in range(70)]
    out = attend(q[:, :, :37], k, v, sel=sel)
    step = attend(q[:, :, 36:37], k, v, sel=sel[:, :, 9:])
    torch.testing.assert_close(step, out[:, :, 36:], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("text", "sel", "said"),
    [
        ("blocks[1, 8, t]", torch.zeros(1, 1, 70, 3), "int32 or int64, got torch.float32"),
        ("blocks[1, 8, t]", torch.zeros(1, 3, 70, 3).int(), r"\[B = 1, G = 1 or 2 or 4, rows = 70, t\]"),
        ("blocks[8, 8, 3]", torch.zeros(1, 1, 70, 3).int(), r"\[B = 1, G = 1 or 2 or 4, rows = 9, 3\]"),
        ("keys[3]", torch.zeros(1, 1, 70, 4).int(), r"keys\[3\]` of line 1 must have the shape"),
        ("keys[t]", torch.zeros(1, 70, 4).int(), "must have the shape"),
        ("keys[t]", None, "is missing"),
    ],
)
def test_lists_that_do_not_fit(text, sel, said):
    attend = sparsec.compile(f"input sel: {text} pattern p = causal & selected(sel)")
    q, k = torch.randn(1, 4, 70, 16), torch.randn(1, 2, 70, 16)
    with pytest.raises(ValueError, match=said):
        attend(q, k, k, **({} if sel is None else {"sel": sel}))
    if sel is not None and sel.shape[1] != 3:  # a mask is not told how many heads there are
        with pytest.raises(sparsec.SparsecError, match="SP0620"):
            attend.pattern.mask(70, 70, sel=sel)
