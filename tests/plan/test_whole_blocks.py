"""Conditions of whole blocks: found by proof, and then every tile within a block is full where it is visited."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kernel import visited

from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.lower.file import lower
from sparsec.plan.build import build
from sparsec.plan.nodes import Region
from sparsec.sets.block_alignment import block_size
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.programs import conditions, tables, terms

TILE = 16


def region_of(text: str) -> Region:
    (plan,) = build(lower(parse(Source("test", f"pattern p = {text}\n")))).groups
    return plan.variants[0].regions[0]


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("same_block(48)", 48),
        ("block_window(32, 3) | global(64) | random_blocks(32, 2, 1)", 32),
        ("block_window(32, 3) | global(40)", 1),
        ("blocks(64, [[0, 2], [1]]) | same_block(32)", 1),
        ("blocks(64, [[0, 2], [1]]) | same_block(64)", 64),
        ("causal & same_block(32)", 1),
        ("q // 32 >= k // 32", 32),
        ("past(64)", 1),
        ("blocks(64, [[0, 2], [1]]) & random_blocks(32, 2, 1)", 1),
    ],
)
def test_block(text: str, block: int) -> None:
    region = region_of(text)
    assert region.block == block
    if block > 1:
        assert_full(region, block, 5 * block)


def assert_full(region: Region, block: int, n: int) -> None:
    """No visited tile within a block has a pair that is left out."""
    kept = mask(region.condition, n, n)
    for tile in (tile for tile in (TILE, 2 * TILE, block) if block % tile == 0):
        every = kept.reshape(n // tile, tile, n // tile, tile).all(axis=(1, 3))
        for cover, full in ((region.rows, every), (region.columns, every.T)):
            seen = np.zeros_like(full)
            for leaf in cover.tables:
                some = mask(leaf, n, n).reshape(n // tile, tile, n // tile, tile).any(axis=(1, 3))
                seen |= some if cover.side == "q" else some.T
            for row in range(n // tile):
                seen[row, visited(cover, row * tile, row * tile + tile - 1, n, n, tile)] = True
            assert not (seen & ~full).any()


_rounded = st.builds(
    lambda size, width: ir.Compare(
        ir.Abs(ir.Sub(ir.FloorDiv(ir.Var("q"), size), ir.FloorDiv(ir.Var("k"), size))), "<=", ir.Const(width)
    ),
    st.sampled_from([4, 8, 12]),
    st.integers(0, 2),
)


@given(conditions(term=_rounded | terms() | tables()) | conditions(term=_rounded | tables()))
def test_found_blocks_are_whole(condition: ir.Set) -> None:
    size = block_size(condition)
    n = 3 * 24
    kept = mask(condition, n, n)
    if n % size == 0:
        cells = kept.reshape(n // size, size, n // size, size)
        assert (cells.all(axis=(1, 3)) == cells.any(axis=(1, 3))).all()
