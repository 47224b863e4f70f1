"""Tables of all shapes at run time: the rows that were asked for, exact, in proportion to what they list."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.generated import mask_of, module_of, random_pattern
from test_cpu import assert_exact, lengths

from sparsec.analysis import tables
from sparsec.analysis.count import count, tile_counts
from sparsec.analysis.numbers import Uncounted
from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.kernels.cpu import order as cpu_order
from sparsec.kernels.cpu import step as cpu_step
from sparsec.kernels.cpu import visits as cpu_visits
from sparsec.kernels.lists import tables as kernel_tables
from sparsec.kernels.lists.tables import in_listed_row, rows_of_queries, tiles_beside_ranges
from sparsec.runtime.flex import mask_mod
from sparsec.testing.programs import Program

CPU = torch.device("cpu")
NEAR = ir.Compare(ir.Abs(ir.Sub(ir.Var("q"), ir.Var("k"))), "<", ir.Const(5))
GLOBAL_ROW = ir.Blocks(3, (tuple(range(40)), (), (2,), *[()] * 9, (0, 39, 2**31 - 1)))


@st.composite
def ragged(draw: st.DrawFn) -> ir.Blocks:
    """Rows of 0 to 60 blocks, more or fewer than there are queries, of blocks that are there or not."""
    unit = st.integers(0, 70) | st.sampled_from((2**20, 2**31 - 1))
    row = st.just(()) | st.sets(unit, max_size=4) | st.integers(17, 60).map(range)
    rows = draw(st.lists(row.map(sorted).map(tuple), min_size=1, max_size=40))
    return ir.Blocks(draw(st.sampled_from((1, 2, 7, 16, 64, 2**31 - 1))), tuple(rows))


def drawn() -> st.SearchStrategy[ir.Leaf]:
    sizes, counts = st.sampled_from((1, 3, 16, 500_000_000)), st.sampled_from((1, 5, 40, 65_536))
    seeds = st.integers(0, 2**31 - 1)
    return st.builds(ir.RandomKeys, counts, seeds) | st.builds(ir.RandomBlocks, sizes, counts, seeds, st.booleans())


def around(table: ir.Leaf, how: int) -> ir.Set:
    return (table, ir.Or((table, NEAR)), ir.And((ir.Not(table), NEAR)), ir.And((table, ir.Not(NEAR))))[how]


def pattern_of(condition: ir.Set) -> ir.Pattern:
    return random_pattern(Program("", (condition,)))


# ---------------------------------------------------------------- exact


@settings(max_examples=12)
@given(ragged() | drawn(), st.integers(0, 3), lengths(), st.sampled_from((1, 40, 1 << 24)))
@example(GLOBAL_ROW, 1, (70, 50, 60), 1)
@example(ir.RandomKeys(40, 0), 0, (60, 70, None), 40)
def test_attention(table: ir.Leaf, how: int, lengths: tuple[int, int, int | None], entries: int) -> None:
    """Forward and gradients, with steps of few rows whose part of the table is read by itself."""
    pattern = pattern_of(around(table, how))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_order, "TILE", 16)
        patch.setattr(cpu_visits, "_ENTRIES", entries)
        patch.setattr(cpu_step, "_FEW", entries % 2 * 16)  # a few queries by themselves, or with all others
        assert_exact(pattern, *lengths, dtype=torch.float64)


@settings(max_examples=12)
@given(ragged() | drawn(), st.integers(1, 60), st.integers(0, 80), st.integers(1, 50))
@example(ir.RandomBlocks(1, 9, 2**31 - 1, True), 50, 3, 30)
def test_rows_of_a_module_are_those_of_the_analysis(table: ir.Leaf, n: int, first: int, queries: int) -> None:
    """Random choices are the same for ever, whichever rows are drawn."""
    module = module_of(pattern_of(ir.Or((table, NEAR))))
    found = rows_of_queries(module._TABLE_0, first, first + queries - 1, n, CPU)
    wanted = tables.source(table)(n, range(first, first + queries))
    assert found.first == wanted.first
    assert found.starts.tolist() == wanted.starts.tolist()
    assert found.entries.tolist() == wanted.entries.tolist()


@settings(max_examples=25)
@given(ragged() | drawn(), st.integers(1, 60), st.integers(0, 60))
@example(ir.RandomBlocks(3, 5, 0, False), 20, 30)
@example(ir.RandomBlocks(3, 5, 0, True), 20, 30)
def test_rows_that_are_the_same_at_every_length(table: ir.Leaf, n: int, more: int) -> None:
    """Packed calls read one table for documents of all lengths: what it lists is what the reference keeps at each."""
    source = module_of(pattern_of(ir.Or((table, NEAR))))._TABLE_0
    short, long = (rows_of_queries(source, 0, n - 1, length, CPU) for length in (n, n + more))
    same = torch.equal(short.starts, long.starts) and torch.equal(short.entries, long.entries)
    assert same or not source.same_at_every_length
    if source.same_at_every_length:
        assert (mask(table, n, n) == mask(table, n + more, n + more)[:n, :n]).all()


def test_draws_from_all_blocks_are_others_at_another_length() -> None:
    table = ir.RandomBlocks(3, 5, 0, False)
    assert (mask(table, 60, 60) != mask(table, 90, 90)[:60, :60]).any()


@settings(max_examples=12)
@given(ragged() | drawn(), st.integers(1, 60), st.integers(1, 60), st.integers(0, 80))
def test_lists_say_what_the_reference_says(table: ir.Leaf, n_q: int, n: int, q_offset: int) -> None:
    q, k = np.arange(n_q) + q_offset, np.arange(n)
    wanted = mask(table, n_q, n, q_offset)
    known = tables.tables(table, n, range(q_offset, q_offset + n_q))
    assert (tables.holds(table, q[:, None], k, n, known) == wanted).all()
    module = module_of(pattern_of(ir.Or((table, NEAR))))
    listed = rows_of_queries(module._TABLE_0, q_offset, q_offset + n_q - 1, n, CPU)
    rows, columns = torch.from_numpy(q // table.size)[:, None], torch.from_numpy(k // table.size)[None]
    assert (in_listed_row(listed, rows, columns).numpy() == wanted).all()
    pairs = (x.flatten()[:, None] for x in torch.broadcast_tensors(rows, columns))
    assert (in_listed_row(listed, *pairs).numpy() == wanted.reshape(-1, 1)).all()


@given(ragged() | drawn(), st.integers(1, 60), st.sampled_from((0, 1 << 28)))
def test_mask_mod(table: ir.Leaf, n: int, dense: int) -> None:
    """Also with tables that are too large to have an entry for each pair."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparsec.runtime.flex._DENSE", dense)
        found = mask_mod(pattern_of(table), n)
        q, k = torch.arange(n)[:, None], torch.arange(n)
        kept = found(torch.tensor(0), torch.tensor(0), *torch.broadcast_tensors(q, k))
    assert (kept.numpy() == mask_of(pattern_of(table), n, n)).all()


# ---------------------------------------------------------------- in proportion


def peak(step: object) -> int:
    """Bytes that Python's objects and numpy's arrays take at most."""
    tracemalloc.start()
    step()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_a_long_row_does_not_make_the_others_long() -> None:
    """20,000 rows with one that lists everything: 40,000 entries, where a square has 400 million."""
    table = ir.Blocks(16, (tuple(range(20_000)), *((row,) for row in range(1, 20_000))))
    pattern = pattern_of(table)
    module = module_of(pattern)
    whole = module._TABLE_0.rows(20_000 * 16, 0, None, CPU)
    assert len(whole.entries) == 39_999
    assert peak(lambda: mask(table, 64, 64)) < 40_000_000
    assert peak(lambda: tables.tables(table, 320_000, range(320_000))) < 40_000_000
    assert count(table, 320_000) == 39_999 * 256


@pytest.mark.parametrize("table", [ir.Blocks(2**31 - 1, ((0,),)), ir.RandomBlocks(500_000_000, 1, 0)], ids=str)
def test_a_block_beyond_the_sequence_takes_what_the_sequence_takes(table: ir.Leaf) -> None:
    pattern = pattern_of(table)
    assert_exact(pattern, 64, 64)
    module = module_of(pattern)
    (part,) = module._PROGRAM.groups[0].at(64).regions
    starts, _ = tiles_beside_ranges(part, "rows", 64, 64, 0, 16, 16, CPU)
    assert starts.tolist() == [0, 4, 8, 12, 16]
    assert count(table, 64) == 64 * 64
    assert peak(lambda: mask(table, 64, 64)) < 1_000_000


def test_a_step_of_decoding_draws_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = pattern_of(ir.RandomKeys(64, 0))
    module, lines = module_of(pattern), []
    floyd = kernel_tables._floyd

    def counted(seed: int, row: torch.Tensor, *rest: object) -> torch.Tensor:
        lines.append(len(row))
        return floyd(seed, row, *rest)

    monkeypatch.setattr(kernel_tables, "_floyd", counted)
    kernel_tables.draw_rows.cache_clear()
    k = torch.randn(1, 1, 5000, 16)
    for n in (4998, 4999, 5000):
        module.p(torch.randn(1, 1, 1, 16), k[:, :, :n], k[:, :, :n])
        (part,) = module._PROGRAM.groups[0].at(n).regions
        kernel_tables.pair_lists(part, "rows", 1, n, n - 1, 16, CPU)  # as on a GPU
    assert lines == [1, 1, 1]


@pytest.mark.parametrize(
    ("table", "n"), [(ir.RandomKeys(64, 0), 1 << 22), (ir.RandomBlocks(1, 16, 0), 100_000_000)], ids=str
)
def test_what_takes_too_long_is_not_counted(table: ir.Leaf, n: int) -> None:
    """At once, without drawing what would be counted."""
    for counted in (count, lambda *what: tile_counts(*what, (64, 64))):
        tracemalloc.start()
        with pytest.raises(Uncounted):
            counted(table, n)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


# ---------------------------------------------------------------- under limits


def within_limits(seed: int, programs: int) -> None:
    script = Path(__file__).parents[1] / "support/hostile_tables.py"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(seed), str(programs)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert run.returncode == 0, (run.stdout + run.stderr)[-3000:]


def test_hostile_tables() -> None:
    within_limits(3, 3)


@pytest.mark.full
def test_many_hostile_tables() -> None:
    within_limits(1000, 300)
