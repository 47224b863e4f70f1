"""Lists of tiles that kernels visit, made from conditions or named by tables, against the plan and the mask."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.generated import listed_module_of, module_of, pattern_of, random_pattern, spread_listed_module_of
from support.kernel import only_region, visited

from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.kernels.lists import tile_lists
from sparsec.kernels.lists.tables import rows_of_queries, tiles_beside_ranges
from sparsec.kernels.lists.tile_grid import TileGrid, grid_of
from sparsec.kernels.lists.tile_lists import _alike, _pairs_kept, tile_list, unpacked_tiles
from sparsec.kernels.program.program import Region
from sparsec.plan.build import build
from sparsec.testing.programs import Program, conditions, tables, terms

NEAR = ir.Compare(ir.Abs(ir.Sub(ir.Var("q"), ir.Var("k"))), "<", ir.Const(9))
CPU = torch.device("cpu")


@given(
    conditions(term=terms() | tables()),
    *(st.integers(1, most) for most in (150, 150, 90)),
    *(st.sampled_from([16, 32, 48]) for _ in range(2)),
)
@example(ir.Or((NEAR, ir.RandomBlocks(8, 2, 0))), 100, 150, 50, 16, 32)
@example(ir.Or((NEAR, ir.Blocks(5, ((),)))), 9, 9, 0, 16, 16)
def test_every_tile_once(condition: ir.Set, n_q: int, n: int, q_offset: int, block_m: int, block_n: int) -> None:
    def tiles(some: ir.Set) -> np.ndarray:
        """Bool [row tiles, column tiles, block_m, block_n], False beyond the ends."""
        kept = np.pad(mask(some, n_q, n, q_offset), ((0, -n_q % block_m), (0, -n % block_n)))
        return kept.reshape(len(kept) // block_m, block_m, -1, block_n).swapaxes(1, 2)

    pattern = random_pattern(Program("", (condition,)))
    plan, module = only_region(build(pattern, layouts=False).groups[0]), module_of(pattern)
    (region,) = module._PROGRAM.groups[0].at(1).regions
    if region.listed:
        return
    for side, cover in (("rows", plan.rows), ("columns", plan.columns)):
        if not cover.tables:
            continue
        starts, codes = (x.tolist() for x in tiles_beside_ranges(region, side, n_q, n, q_offset, block_m, block_n, CPU))
        kept, *named = (x if side == "rows" else x.swapaxes(0, 1) for x in map(tiles, (condition, *cover.tables)))
        assert len(starts) == len(kept) + 1
        for line, pairs in enumerate(kept):
            if side == "rows":
                low = q_offset + line * block_m
                found = visited(cover, low, low + block_m - 1, n, n, block_n)
            else:
                low = line * block_n
                found = visited(cover, low, low + block_n - 1, n, n_q, block_m, q_offset)
            for code in codes[starts[line] : starts[line + 1]]:
                found.append(code // 2)
                assert code % 2 == 0 or any(table[line, code // 2].all() for table in named)
            assert len({*found}) == len(found), "a tile comes twice"
            assert {*np.flatnonzero(pairs.any((1, 2)))} <= {*found}


GRID = ir.And(
    tuple(
        ir.Compare(
            ir.Abs(ir.Sub(ir.Min(ir.Max(part(ir.Var("q"), 8), ir.Const(1)), ir.Const(6)), part(ir.Var("k"), 8))),
            "<=",
            ir.Const(1),
        )
        for part in (ir.FloorDiv, ir.Mod)
    )
)


@given(
    conditions(term=terms() | tables()),
    *(st.integers(1, most) for most in (150, 150, 90)),
    *(st.sampled_from([16, 32, 48]) for _ in range(2)),
)
@example(GRID, 64, 64, 0, 16, 16)
@example(ir.And((GRID, ir.Not(ir.RandomBlocks(8, 2, 0)))), 64, 64, 0, 32, 16)
@example(ir.Or((ir.And((NEAR, ir.Not(ir.RandomKeys(3, 1)))), ir.Blocks(5, ((3,), (), (0, 9))))), 60, 60, 10, 16, 16)
def test_lists_of_conditions(condition: ir.Set, n_q: int, n: int, q_offset: int, block_m: int, block_n: int) -> None:
    check(condition, n_q, n, q_offset, block_m, block_n)


LAYOUTS = [ir.Compare(ir.Mod(ir.Sub(ir.Var("q"), ir.Var("k")), size), "==", ir.Const(0)) for size in (2, 3, 7)]
LAYOUTS += [ir.Compare(ir.Mod(ir.Var("k"), size), "==", ir.Const(1)) for size in (9, 16)]
LAYOUTS += [ir.Compare(ir.Mod(ir.Var("k"), 20), "<", ir.Const(3))]


@settings(max_examples=60)
@given(
    st.sampled_from(LAYOUTS),
    conditions(),
    *(st.integers(1, most) for most in (150, 150, 90)),
    *(st.sampled_from([16, 32]) for _ in range(2)),
)
@example(LAYOUTS[1], GRID, 64, 64, 5, 16, 16)
@example(LAYOUTS[3], GRID, 64, 64, 0, 32, 16)
def test_lists_in_layouts(
    layout: ir.Set, condition: ir.Set, n_q: int, n: int, q_offset: int, block_m: int, block_n: int
) -> None:
    """In tiles of residue classes and of gathered keys, each pair is in one tile, and no tile is without one."""
    condition = ir.And((layout, condition))
    module = spread_listed_module_of(random_pattern(Program("", (condition,))))
    for side in ("rows", "columns"):
        listed = np.zeros((n_q, n), np.int64)
        for region in module._PROGRAM.groups[0].at(1).regions:
            assert region.tile_lists == ("rows", "columns")
            grid = grid_of(region, side, n_q, n, q_offset, block_m, block_n)
            found = tile_list(region, side, n_q, n, q_offset, block_m, block_n, CPU)
            line = torch.arange(grid.lines).repeat_interleave(found.starts.diff())
            assert len(line) == len(found.tiles) == len(set(zip(line.tolist(), found.tiles.tolist(), strict=True)))
            rows, keys = (x.numpy() for x in torch.broadcast_tensors(*grid.pairs(line, found.tiles.long() // 2)))
            there = (rows < n_q) & (keys < n)
            full = (found.tiles.numpy() % 2 == 1)[:, None, None]
            if side == "rows":  # kernels take no mask there, and have to have every key
                assert (keys < n)[full[:, 0, 0]].all()
            pairs = (unpacked_tiles(found, slice(None))[:, :, : grid.other].numpy() | full) & there
            assert pairs.any((1, 2)).all()
            np.add.at(listed, (rows[pairs], keys[pairs]), 1)
        assert np.array_equal(listed, mask(condition, n_q, n, q_offset))


PACKED = " | ".join(f"q in {a}..{a + 1000} & k in {a}..{a + 1000}" for a in range(0, 60_000, 1000))


@pytest.mark.parametrize(
    "text",
    [
        "abs(q // 256 - k // 256) <= 6 & abs(q % 256 - k % 256) <= 6",
        "abs(min(max(q // 256, 3), 252) - k // 256) <= 3 & abs(min(max(q % 256, 3), 252) - k % 256) <= 3",
        "abs(k // 3136 - max(1, min(q // 3136, 14))) <= 1 & abs(k // 56 % 56 - max(1, min(q // 56 % 56, 54))) <= 1",
        f"causal & ({PACKED})",
    ],
)
def test_pairs_are_looked_at_in_one_tile_of_each_kind(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some ten thousand tiles that hold a pair."""
    (region,) = listed_module_of(pattern_of(f"pattern p = {text}"))._PROGRAM.groups[0].at(1).regions
    looked_at = 0

    def pairs_kept(region: Region, grid: TileGrid, tables: list, line: torch.Tensor, place: torch.Tensor):
        nonlocal looked_at
        looked_at += len(line)
        return _pairs_kept(region, grid, tables, line, place)

    monkeypatch.setattr(tile_lists, "_pairs_kept", pairs_kept)
    found = tile_list(region, "rows", 1 << 16, 1 << 16, 0, 64, 64, CPU)
    assert len(found.tiles) > 5_000
    assert looked_at < len(found.tiles) / 8


@st.composite
def many_parts(draw: st.DrawFn) -> ir.Set:
    """A union of parts that hold in rows of their own, most of them alike but for numbers, some beside others."""
    cuts = sorted(draw(st.sets(st.integers(0, 200), min_size=9, max_size=20)))
    parts: list[ir.Set] = []
    for first, stop in pairwise(cuts):
        a, b = draw(st.integers(0, 150)), draw(st.integers(0, 60))
        rows = ir.Compare(ir.Var("q"), ">=", ir.Const(first)), ir.Compare(ir.Var("q"), "<", ir.Const(stop))
        keys = ir.Compare(ir.Abs(ir.Sub(ir.Var("k"), ir.Const(a))), "<=", ir.Const(b)), NEAR
        parts.append(ir.And((*rows, keys[draw(st.sampled_from([0, 0, 0, 0, 1]))])))
    more = draw(st.lists(conditions(), max_size=2))
    return ir.Or((*draw(st.permutations(parts)), *more))


@settings(max_examples=40)
@given(
    many_parts(),
    *(st.integers(1, most) for most in (150, 150, 90)),
    *(st.sampled_from([16, 32, 48]) for _ in range(2)),
)
def test_lists_of_many_parts(condition: ir.Set, n_q: int, n: int, q_offset: int, block_m: int, block_n: int) -> None:
    check(condition, n_q, n, q_offset, block_m, block_n)


def test_parts_of_rows_become_a_table() -> None:
    cuts = [0, 5, 9, 20, 31, 32, 40, 57, 60, 64]
    text = " | ".join(f"q in {a}..{b} & k in {a}..{b}" for a, b in pairwise(cuts))
    module = listed_module_of(pattern_of(f"pattern p = causal & ({text})"))
    rows = [row[:2] for row in module._ROWS_0]
    assert [row for row in rows if row[0]] == [*pairwise(cuts)][1:]  # the first part names no first row


def check(condition: ir.Set, n_q: int, n: int, q_offset: int, block_m: int, block_n: int) -> None:
    """Exactly the tiles that hold a pair, each once; full means full; the mask of any other is the condition's."""
    pattern = random_pattern(Program("", (condition,)))
    (region,) = listed_module_of(pattern)._PROGRAM.groups[0].at(1).regions
    kept = mask(condition, n_q, n, q_offset)
    for side, own, other in (("rows", block_m, block_n), ("columns", block_n, block_m)):
        found = tile_list(region, side, n_q, n, q_offset, block_m, block_n, CPU)
        pairs = kept if side == "rows" else kept.T
        lines = np.pad(pairs, ((0, -len(pairs) % own), (0, -pairs.shape[1] % other)))
        lines = lines.reshape(len(lines) // own, own, -1, other).swapaxes(1, 2)
        starts, tiles = found.starts.tolist(), found.tiles.tolist()
        assert starts[len(lines)] == len(tiles)
        masks = unpacked_tiles(found, slice(None))[:, :, :other].numpy()
        for line, touched in enumerate(lines):
            entries = range(starts[line], starts[line + 1])
            assert sorted(tiles[entry] // 2 for entry in entries) == np.flatnonzero(touched.any((1, 2))).tolist()
            for entry in entries:
                tile, full = divmod(tiles[entry], 2)
                # Rows beyond the last one have no weights, and keys of a kernel's own beyond it no results.
                rows = min(own, len(pairs) - line * own)
                columns = other if side == "rows" else min(other, n_q - tile * other)
                some = touched[tile][:rows, :columns]
                assert some.all() if full else np.array_equal(masks[entry][:rows, :columns], some), (line, tile)


@given(conditions(term=terms() | tables()), st.sampled_from(["rows", "columns"]))
@example(GRID, "rows")
@settings(max_examples=20)
def test_kinds_are_told_on_the_device_of_the_call(condition: ir.Set, side: str) -> None:
    """Numbers of a condition become tensors beside the tiles, not on the CPU: seen without a GPU, by shapes alone."""
    module = module_of(random_pattern(Program("", (condition,))))
    (region,) = module._PROGRAM.groups[0].at(1).regions[:1]
    if region.listed:
        return
    seen: list[torch.Tensor] = []

    def kinds(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(keys)
        return keys[0], keys[0]

    device, grid = torch.device("meta"), grid_of(region, side, 100, 150, 0, 16, 32)
    tables = [rows_of_queries(source, 0, 99, 150, CPU) for _, source in region.tables]  # nobody looks into these
    with patch.object(tile_lists, "kinds", kinds):
        _alike(region, grid, tables, torch.zeros(7, dtype=torch.int64, device=device))
    assert [(x.device, x.shape) for x in seen] == [(device, (2, 7))]
