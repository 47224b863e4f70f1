"""Kernels that go over the tiles of several sequences, in Triton's interpreter."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from support import calls
from support.generated import module_of, pattern_of, random_pattern, spread_module_of
from support.longer import longer

from sparsec.distributed.data import part_of_table
from sparsec.kernels.launches import prepare
from sparsec.kernels.operator import one_by_one, packed
from sparsec.kernels.passes.forward import prepared_forward
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.sequences import sequences
from sparsec.kernels.sequences import tiles as sequence_tiles
from sparsec.testing import dense_attention
from sparsec.testing.programs import programs

pytestmark = pytest.mark.usefixtures("small_tiles")


@pytest.fixture
def _descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads as of GPUs with a tensor memory accelerator, though these sequences are short."""
    monkeypatch.setattr(prepare, "device_tier", lambda device, width: "tma")
    monkeypatch.setattr(prepare, "TMA_LENGTH", 1)
    monkeypatch.setattr(prepare, "TMA_STILL", 1)


def check(module: ModuleType, table: torch.Tensor, mask: torch.Tensor, *, heads: int = 2, **numbers) -> None:
    """Forward and every gradient; rows of Q, K and V that belong to no sequence are NaN."""
    numbers = {"kv_heads": 1, "dtype": torch.float32, **numbers}
    problem = dense_attention.random_problem(mask, heads=heads, batch=len(mask), **numbers)
    program = module._PROGRAM
    program.passes.clear()
    tensors = [torch.full_like(x, float("nan")) for x in (problem.q, problem.k, problem.v)]
    for line in sequences.known(table):
        queries = slice(line.q_first, line.q_first + line.n_q)
        keys = slice(line.k_first, line.k_first + line.n - line.k_begin)
        for x, whole, own in zip(tensors, (problem.q, problem.k, problem.v), (queries, keys, keys), strict=True):
            x[line.row, :, own] = whole[line.row, :, own]
    call = Call(*tensors, problem.scale, table=table)
    out, lse = packed.forward_packed(program, call)
    gradients = packed.backward_packed(program, call, Upstream(problem.g, out, lse, problem.dlse))
    found = dense_attention.compare(dense_attention.Results(out, lse, *gradients), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


ENDS = [3, 3, 20, 21, 70, 70, 118]
PACKS = [
    "past(20) | sinks(3)",
    "full",
    "causal",
    "window(9) & ~stride(3)",
    "same_block(16) | sinks(2)",
    "stride(4) & past(30)",
    "past(16) | causal & stride(7)",
    "n - k < 5 & q % 3 == 1",
]


@pytest.mark.parametrize("text", longer(PACKS, 2))
def test_documents(text: str) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    module = spread_module_of(pattern)
    assert all(any(map(packed.packs, group.variants)) for group in module._PROGRAM.groups)
    table = sequences.of_documents(torch.tensor(ENDS), 125)
    check(module, table, calls.of_documents(pattern, ENDS, 125), dtype=torch.float16)


@pytest.mark.parametrize("text", ["past(20) | sinks(3)", "full", "past(20) & stride(5)"])
@pytest.mark.usefixtures("_descriptors")
def test_documents_by_descriptors(text: str) -> None:
    """Descriptors know the ends of tensors, not those of sequences."""
    pattern = pattern_of(f"pattern p = {text}")
    table = sequences.of_documents(torch.tensor(ENDS), 125)
    check(spread_module_of(pattern), table, calls.of_documents(pattern, ENDS, 125), dtype=torch.float16)


@pytest.mark.usefixtures("_descriptors")
def test_rows_by_descriptors() -> None:
    pattern = pattern_of("pattern p = past(20) | sinks(3)")
    for n_q, lengths, k_offset in ((50, [50, 17, 0], None), (20, None, [0, -20, 37])):
        given = [None if x is None else torch.tensor(x) for x in (lengths, k_offset)]
        table = sequences.of_rows(3, n_q, 50, torch.device("cpu"), given[0], None, None, given[1])
        mask = calls.of_rows(pattern, n_q, 50, lengths, None, None, k_offset, 3)
        check(module_of(pattern), table, mask, dtype=torch.float16, heads=4, kv_heads=2)


def test_more_tiles_than_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_tiles, "_PROGRAMS_MORE", 0)
    pattern = pattern_of("pattern p = past(20)")
    ends = list(range(0, 24, 3))
    table = sequences.of_documents(torch.tensor(ends), 24)
    check(module_of(pattern), table, calls.of_documents(pattern, ends, 24), heads=1)


def test_documents_by_head() -> None:
    pattern = pattern_of("pattern p = match h { 0..2 -> past(9), 2 -> causal & stride(3), else -> window(5) }", 4)
    table = sequences.of_documents(torch.tensor(ENDS), 125)
    check(module_of(pattern), table, calls.of_documents(pattern, ENDS, 125), heads=4, kv_heads=2)


@settings(max_examples=6)
@given(programs())
def test_random_programs(program) -> None:
    pattern = random_pattern(program)
    ends = [0, 5, 5, 40, 41]
    table = sequences.of_documents(torch.tensor(ends), 41)
    check(module_of(pattern), table, calls.of_documents(pattern, ends, 41))


@pytest.mark.parametrize("text", ["past(20) | sinks(3)", "causal & stride(3)", "full"])
def test_rows(text: str) -> None:
    """Padding on both sides, queries at the end, keys that are gone."""
    pattern = pattern_of(f"pattern p = {text}")
    for n_q, lengths, k_offset in ((50, [50, 17, 0], None), (20, [50, 33, 9], None), (50, None, [0, -20, 37])):
        given = [None if x is None else torch.tensor(x) for x in (lengths, k_offset)]
        table = sequences.of_rows(3, n_q, 50, torch.device("cpu"), given[0], None, None, given[1])
        check(spread_module_of(pattern), table, calls.of_rows(pattern, n_q, 50, lengths, None, None, k_offset, 3))


def test_many_documents_of_one_token() -> None:
    pattern = pattern_of("pattern p = past(5)")
    starts = [*range(20), *([20] * 30), *range(50, 60)]
    table = sequences.of_starts(torch.tensor([starts]))
    check(module_of(pattern), table, calls.of_starts(pattern, [starts]))


def test_sequences_that_overlap_have_no_tile_behind_the_list() -> None:
    """What cu_seqlens that do not rise may hold, on a GPU where no value is looked at."""
    module = module_of(pattern_of("pattern p = causal"))
    table = sequences.of_documents(torch.tensor([0, 400] * 20), 400)
    q, k, v = torch.randn(3, 1, 1, 400, 16).unbind(0)
    module._PROGRAM.passes.clear()
    run = prepared_forward(module._PROGRAM, q, k, v, 0, table)
    env = run({"Q": q, "K": k, "V": v, "SEQUENCES": table, "scale_log2": 1.0})
    (tiles,) = (x for name, x in env.items() if name.startswith("TILES") and x.dim() == 2)
    assert tiles[0, 0] == len(tiles) - 1
    assert env["OUT"].isfinite().all()


def test_no_call_reads_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_by_one, "known", None)
    pattern = pattern_of("pattern p = past(20)")
    table = sequences.of_documents(torch.tensor([0, 9, 30]), 30)
    check(module_of(pattern), table, calls.of_documents(pattern, [0, 9, 30], 30))


def test_a_part_of_the_rows_has_its_part_of_the_table() -> None:
    """As ranks of a sequence have it: the rows of results are those of the whole, and gradients of keys add up."""
    program = module_of(pattern_of("pattern p = past(20)"))._PROGRAM
    program.passes.clear()
    length, table = 70, sequences.of_documents(torch.tensor([0, 3, 20, 21, 55, 70]), 70)
    q, k, v, g = torch.randn(4, 1, 2, length, 16, generator=torch.Generator().manual_seed(0)).unbind()

    def run(queries: slice, keys: slice, table: torch.Tensor) -> tuple[torch.Tensor, ...]:
        own = q[:, :, queries], k[:, :, keys], v[:, :, keys]
        call = Call(*own, 0.25, table=table)
        out, lse = packed.forward_packed(program, call)
        return out, lse, *packed.backward_packed(program, call, Upstream(g[:, :, queries], out, lse))

    whole, sums = run(slice(None), slice(None), table), torch.zeros(2, 1, 2, length, 16)
    for first, stop, begin in ((0, 30, 0), (30, 50, 11), (50, length, 31)):
        part = part_of_table(table, (first, stop), slice(begin, stop))
        *of_rows, dk, dv = run(slice(first, stop), slice(begin, stop), part)
        for x, y in zip(of_rows, whole[:3], strict=True):
            torch.testing.assert_close(x, y[:, :, first:stop])
        sums[:, :, :, begin:stop] += torch.stack([dk, dv])
    torch.testing.assert_close(sums, torch.stack(whole[3:]))
