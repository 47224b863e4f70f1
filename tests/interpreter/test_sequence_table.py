"""The kernels that write the table of sequences, in Triton's interpreter: as torch writes it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import module_of, pattern_of

from sparsec.kernels.sequences import table as sequence_table
from sparsec.kernels.sequences.positions import Positions
from sparsec.kernels.sequences.sequences import of_documents, of_rows, of_starts

PROGRAM = module_of(pattern_of("pattern p = causal"))._PROGRAM
INTEGERS = st.sampled_from((torch.int32, torch.int64))


def written(positions: Positions, batch: int, n_q: int, n_k: int) -> list[list[int]]:
    """The lines that have rows of Q or K."""
    q, k = torch.empty(batch, 1, n_q, 16), torch.empty(batch, 1, n_k, 16)
    made = sequence_table.table_pass(PROGRAM, positions, q, k)(sequence_table.table_inputs(positions))["SEQUENCES"]
    return with_rows(made)


def with_rows(table: torch.Tensor) -> list[list[int]]:
    return [line for line in table.tolist() if line[2] > 0 or line[5] > line[4]]


@settings(max_examples=20)
@given(st.lists(st.integers(-5, 400), min_size=1, max_size=160), INTEGERS)
def test_documents(ends: list[int], dtype: torch.dtype) -> None:
    """Also ends that don't rise or lie outside, at which nobody looks on a GPU."""
    cu_seqlens = torch.tensor(ends, dtype=dtype)
    table = with_rows(of_documents(cu_seqlens, 333))
    # Of rows that have queries or keys alone the other columns say nothing.
    assert [used(line) for line in written(Positions(documents=cu_seqlens), 1, 333, 333)] == list(map(used, table))


def used(line: list[int]) -> list[int]:
    row, q_first, n_q, k_first, k_begin, n, q_offset = line
    queries, keys = n_q > 0, n > k_begin
    return [row, n_q, n, q_first if queries else 0, k_first if keys else 0, k_begin, q_offset if queries else 0]


@settings(max_examples=20)
@given(st.data(), INTEGERS)
def test_rows(data: st.DataObject, dtype: torch.dtype) -> None:
    batch, n_q, n_k = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))

    def some(low: int, high: int, whole: bool) -> torch.Tensor | int | None:
        kind = data.draw(st.sampled_from(("none", "tensor", "int") if whole else ("none", "tensor")))
        if kind == "int":
            return data.draw(st.integers(low, high))
        numbers = st.lists(st.integers(low, high), min_size=batch, max_size=batch)
        return torch.tensor(data.draw(numbers), dtype=dtype) if kind == "tensor" else None

    given = {"lengths": some(-2, 99, False), "q_lengths": some(-2, 99, False)}
    given |= {"q_offset": some(-30, 60, True), "k_offset": some(-60, 30, True)}
    offsets = given["q_offset"], given["k_offset"]
    table = of_rows(batch, n_q, n_k, torch.device("cpu"), given["lengths"], given["q_lengths"], *offsets)
    found = written(Positions(**given), batch, n_q, n_k)
    assert sorted(map(used, found)) == sorted(map(used, with_rows(table)))


@pytest.mark.parametrize("at_once", [16, 1024])
@settings(max_examples=15)
@given(data=st.data(), dtype=INTEGERS)
def test_starts(at_once: int, data: st.DataObject, dtype: torch.dtype) -> None:
    """Documents within and across what a program reads; also starts that say nothing."""
    batch, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 90))
    rows = []
    for _ in range(batch):
        row = data.draw(st.lists(st.integers(0, 3), min_size=length, max_size=length))
        start = torch.arange(length) * torch.tensor([x > 0 for x in row])
        rows.append(start.cummax(0).values if data.draw(st.booleans()) else torch.tensor(row))
    starts = torch.stack(rows).to(dtype)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(sequence_table, "_TOKENS_AT_ONCE", at_once)
        PROGRAM.passes.clear()
        found = written(Positions(documents=starts), batch, length, length)
    assert found == with_rows(of_starts(starts))


def test_kernels_get_tensors_as_they_were_compiled_for() -> None:
    """Views into a longer tensor begin anywhere; compiled code may load 16 bytes at a time."""
    whole = torch.arange(20, dtype=torch.int32)
    given = sequence_table.table_inputs(Positions(None, None, None, whole[1:4], whole[5:17:4]))
    assert given["LENGTHS"].tolist() == [1, 2, 3]
    assert given["Q_LENGTHS"].tolist() == [5, 9, 13]
    assert all(x.is_contiguous() and x.data_ptr() % 16 == 0 for x in given.values() if isinstance(x, torch.Tensor))
