"""Packed calls of patterns with tables, at once, in Triton's interpreter: each document as if it were alone."""

from __future__ import annotations

import itertools
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import calls
from support.generated import mask_of, module_of, pattern_of
from support.longer import longer

from sparsec.kernels.launches import prepare
from sparsec.kernels.lists.table_tiles import tables_of_masks
from sparsec.kernels.lists.tile_lists import read_besides
from sparsec.kernels.machine.settings import Settings
from sparsec.kernels.operator import one_by_one, packed
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.sequences import sequences
from sparsec.testing import dense_attention

ENDS = [3, 3, 20, 21, 70, 70, 118]
ROWS = 125
TABLES = [
    "causal & (past(20) | sinks(4) | random_past_blocks(16, 2, 1))",
    "blocks(16, [[0], [1, 3], [0, 2], [], [5, 4, 3, 2, 1, 0]])",
    "random_past_blocks(4, 3, 5)",
    "past(9) | random_past_blocks(32, 1, 2)",
    "causal & ~random_past_blocks(16, 2, 1)",
    "window(5) | blocks(48, [[0, 1], [1]]) | blocks(16, [[], [0, 4]])",
    "n - k < 5 | blocks(16, [[0], [2, 1], [0, 2]])",
]
PARTLY_WHOLE = ["causal & (past(20) | random_past_blocks(32, 2, 1))", "window(70) & blocks(64, [[0, 1], [1, 0]])"]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Settings((16, 32, 4, 1, None), (32, 16, 4, 1, None), (16, 32, 4, 1, None))  # forward, dq, dkdv
    monkeypatch.setattr(prepare, "SETTINGS", dict.fromkeys(prepare.SETTINGS, small))


def check(text: str, ends: list[int], rows: int, heads: int = 2, kv_heads: int = 1, by_head: int | None = None) -> None:
    """Forward and all gradients against dense attention; nothing runs one by one."""
    pattern = pattern_of(f"pattern p = {text}", by_head)
    program = module_of(pattern)._PROGRAM
    program.passes.clear()
    mask = calls.of_documents(pattern, ends, rows)
    problem = dense_attention.random_problem(mask, heads=heads, kv_heads=kv_heads, batch=1, dtype=torch.float16)
    table = sequences.of_documents(torch.tensor(ends), rows)
    call = Call(problem.q, problem.k, problem.v, problem.scale, rows, table=table)
    with patch.object(packed, "forward_each"), patch.object(packed, "backward_each"):
        out, lse = packed.forward_packed(program, call)
        gradients = packed.backward_packed(program, call, Upstream(problem.g, out, lse, problem.dlse))
    found = dense_attention.compare(dense_attention.Results(out, lse, *gradients), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


@pytest.mark.parametrize("text", longer(TABLES, 3))
def test_documents(text: str) -> None:
    check(text, ENDS, ROWS)


@pytest.mark.parametrize("text", longer(PARTLY_WHOLE, 1))
def test_tiles_that_a_table_has_whole(text: str) -> None:
    """They go without a mask where the rest of the condition is proved there: less of them is right, more is not."""
    check(text, ENDS, ROWS)
    pattern = pattern_of(f"pattern p = {text}")
    region = module_of(pattern)._PROGRAM.groups[0].at(ROWS).regions[0]
    assert region.tables_fill and region.full_named is not None
    read = read_besides(region, "rows", ROWS, ROWS, 0, (16, 32), torch.device("cpu"))
    kept = torch.from_numpy(mask_of(pattern, 128, 128)).view(8, 16, 4, 32).all(3).all(1)
    line = torch.arange(len(read["LIST_STARTS"]) - 1).repeat_interleave(read["LIST_STARTS"].diff())
    whole = [(m, e // 2) for m, e in zip(line.tolist(), read["LIST"].tolist(), strict=True) if e % 2]
    assert whole
    assert all(kept[at] for at in whole)


@pytest.mark.parametrize("text", longer(TABLES[:3], 1))
def test_by_descriptors(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads as of GPUs with a tensor memory accelerator, whose tiles know the ends of tensors alone."""
    monkeypatch.setattr(prepare, "device_tier", lambda device, width: "tma")
    monkeypatch.setattr(prepare, "TMA_LENGTH", 1)
    monkeypatch.setattr(prepare, "TMA_STILL", 1)
    check(text, ENDS, ROWS, heads=4, kv_heads=2)


def test_heads_with_tables_of_their_own() -> None:
    text = "match h { 0 -> past(9), 1 -> random_past_blocks(16, 1, 7), else -> past(3) | random_past_blocks(16, 2, h) }"
    check(text, [0, 40, 77], 80, heads=4, kv_heads=2, by_head=4)


@settings(max_examples=3)
@given(st.data())
def test_any_blocks(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from((4, 16, 20, 48)))
    row = st.lists(st.integers(0, 5), max_size=4)
    listed = data.draw(st.lists(row, min_size=1, max_size=5).filter(any))
    sizes = data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=4).filter(lambda x: sum(x) <= 100))
    ends = list(itertools.accumulate(sizes, initial=data.draw(st.integers(0, 3))))
    check(f"blocks({size}, {listed}) | past({data.draw(st.integers(1, 20))})", ends, ends[-1] + 2)


def test_rows_behind_the_last_query() -> None:
    """A row of the table that no position reaches, but the tile of the last queries does."""
    check("blocks(20, [[], [1]]) | past(9)", [0, 14], 16)
    for source in module_of(pattern_of("pattern p = blocks(20, [[], [1]]) | past(9)"))._PROGRAM.groups[0].at(1).regions:
        found = tables_of_masks(source, 16, torch.device("cpu"))["TABLES"]
        assert len(found[0]) == 3  # where two rows begin, and where they end


def test_a_document_is_what_it_is_alone() -> None:
    """Bit for bit, where both come to tiles in the same order: there the table is all that is visited."""
    program = module_of(pattern_of("pattern p = random_past_blocks(16, 2, 1)"))._PROGRAM
    table = sequences.of_documents(torch.tensor(ENDS), ROWS)
    q, k, v = torch.randn(3, 1, 2, ROWS, 16, dtype=torch.float16, generator=torch.Generator().manual_seed(0))
    call = Call(q, k, v, 0.25, ROWS, table=table)
    together, alone = packed.forward_packed(program, call), one_by_one.forward_each(forward_gpu, program, call)
    assert all(torch.equal(x, y) for x, y in zip(together, alone, strict=True))


def test_positions_that_nobody_bounds_and_tables_of_a_length_run_one_by_one() -> None:
    past = module_of(pattern_of("pattern p = random_past_blocks(16, 2, 1)"))._PROGRAM
    of_all = module_of(pattern_of("pattern p = random_blocks(16, 2, 1)"))._PROGRAM
    assert packed.at_once(past, anywhere=False)
    assert not packed.at_once(past, anywhere=True)
    assert not packed.at_once(of_all, anywhere=False)
