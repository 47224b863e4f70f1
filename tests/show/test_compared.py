"""Pictures of two patterns: a difference of one pair is never hidden by what they share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsec.ir import reference
from sparsec.ir.algebra import complement, conjunction
from sparsec.ir.nodes import Set
from sparsec.lower.file import lower
from sparsec.show import plain
from sparsec.show.colour import EMPTY, PALETTE, pixels
from sparsec.show.raster import LIMIT, edges, raster
from sparsec.source import Source
from sparsec.syntax.parse import parse

TEXTS = ["past(20)", "past(21)", "window(9) | sinks(2)", "causal & stride(5)", "k == 40 & q == 90", "global(3)"]


def condition(text: str) -> Set:
    return lower(parse(Source("p", f"pattern p = {text}"))).conditions[0]


def sides(a: str, b: str) -> tuple[Set, Set, Set]:
    one, two = condition(a), condition(b)
    return conjunction(one, complement(two)), conjunction(two, complement(one)), conjunction(one, two)


@given(st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.integers(1, 150), st.integers(1, 40), st.integers(1, 40))
def test_characters_are_what_a_cell_holds(a: str, b: str, n: int, rows: int, columns: int) -> None:
    first, second = (reference.mask(condition(text), n, n) for text in (a, b))
    drawn = plain.characters(raster(sides(a, b), n, rows, columns, compared=True))
    down, across = edges(n, min(rows, n)), edges(n, min(columns, n))
    for i, line in enumerate(drawn):
        for j, character in enumerate(line):
            cell = np.s_[down[i] : down[i + 1], across[j] : across[j + 1]]
            x, y = first[cell], second[cell]
            held = [(x & ~y).any(), (y & ~x).any(), (x & y).any()]
            assert character == (
                "x" if all(held[:2]) else "<" if held[0] else ">" if held[1] else "=" if held[2] else "."
            )


@pytest.mark.parametrize("n", [500, 40 * LIMIT])
def test_one_diagonal_owns_every_cell_that_it_crosses(n: int) -> None:
    cells = raster(sides("past(300)", "past(301)"), n, 10, 10, compared=True)
    crossed = np.zeros((10, 10), bool)
    crossed[np.arange(300, n) * 10 // n, np.arange(n - 300) * 10 // n] = True
    assert np.array_equal(cells.owners == 1, crossed)
    shown = pixels(cells)
    strength = 0.4 + 0.6 * cells.shares[crossed][:, None]
    assert np.array_equal(shown[crossed], np.rint(EMPTY + (PALETTE[1] - EMPTY) * strength))
