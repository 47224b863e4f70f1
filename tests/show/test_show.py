"""Pictures against the reference, and what they do on narrow, colourless and large occasions."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsec.ir import reference
from sparsec.ir.nodes import Abs, And, Compare, Const, Mod, Or, Pattern, RandomKeys, Set, Sub, Var
from sparsec.show import page, picture, supported
from sparsec.show.raster import LIMIT, densities, edges, raster

Q, K = Var("q"), Var("k")
CAUSAL = Compare(K, "<=", Q)
BAND = And((Compare(Const(0), "<=", Sub(Q, K)), Compare(Sub(Q, K), "<", Const(16))))
SINKS = And((Compare(K, "<", Const(4)), CAUSAL))
COMB = Compare(Mod(K, 16), ">=", Const(14))
CONDITIONS = [CAUSAL, BAND, SINKS, COMB, Or((BAND, SINKS)), Compare(Abs(Sub(Q, K)), "<", Const(3))]


def pattern(*conditions: Set, heads: tuple[int, ...] = ()) -> Pattern:
    return Pattern("p", "", "", (("w", 16),), conditions, heads)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_picture_of_causal() -> None:
    assert picture(CAUSAL, 64, 8).splitlines() == ["++......", "##++....", "####++..", "######++"]


def test_picture_is_ascii_and_repeatable() -> None:
    first = picture(Or((BAND, SINKS)), 256)
    assert first == picture(Or((BAND, SINKS)), 256)
    assert first.isascii()
    assert {len(line) for line in first.splitlines()} == {32}
    assert first.count("\n") == 15


@given(st.sampled_from(CONDITIONS), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40))
def test_cells_are_the_dense_mask_added_up(condition: Set, n: int, rows: int, columns: int) -> None:
    cells = raster((condition,), n, rows, columns)
    mask = reference.mask(condition, n, n)
    down, across = edges(n, min(rows, n)), edges(n, min(columns, n))
    for i, row in enumerate(cells.kept[0]):
        for j, kept in enumerate(row):
            block = mask[down[i] : down[i + 1], across[j] : across[j + 1]]
            assert (kept, cells.seen[i, j]) == (block.sum(), block.size)


def test_a_pair_in_two_operands_belongs_to_the_first() -> None:
    cells = raster((BAND, SINKS), 64, 64, 64)
    assert cells.kept.max() == 1
    assert cells.kept.sum() == reference.mask(Or((BAND, SINKS)), 64, 64).sum()
    assert cells.owners[0, 0] == 0
    assert cells.owners[40, 0] == 1
    assert cells.owners[0, 40] == -1


@pytest.mark.parametrize("condition", CONDITIONS)
def test_density_of_a_long_mask_is_counted(condition: Set) -> None:
    n = 3 * LIMIT + 5
    shares, sure = densities((condition,), n)
    assert (sure, shares.sum()) == (True, pytest.approx(reference.mask(condition, n, n).mean(), rel=1e-12))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_cells_of_a_long_mask_are_what_they_are(condition: Set) -> None:
    n = LIMIT + 300
    cells = raster((condition,), n, 50, 70)
    mask, (down, across) = reference.mask(condition, n, n), (edges(n, 50, True), edges(n, 70, True))
    for i, row in enumerate(cells.shares):
        for j, share in enumerate(row):
            block = mask[down[i] : down[i + 1], across[j] : across[j + 1]]
            assert (share > 0, share == 1) == (block.any(), block.all())


def test_tables_are_sampled_and_said_to_be() -> None:
    table = RandomKeys(4, 0)
    shares, sure = densities((table,), 3 * LIMIT)
    assert (sure, shares.sum()) == (False, pytest.approx(4 / (3 * LIMIT), rel=0.1))


def test_thin_lines_survive_at_a_million() -> None:
    lines = picture(Or((BAND, SINKS)), 1_000_000).splitlines()
    assert all(line[0] == "+" for line in lines), "sinks"
    assert all(lines[row][2 * row] == "+" for row in range(16)), "the diagonal"
    assert lines[15].count(".") > 20


def test_evaluations_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    evaluate = reference.evaluate

    def counted(condition: Set, queries: np.ndarray, keys: np.ndarray, n: int) -> np.ndarray:
        sizes.append(len(queries) * len(keys))
        return evaluate(condition, queries, keys, n)

    monkeypatch.setattr(reference, "evaluate", counted)
    page(pattern(CAUSAL), 10**7)
    assert max(sizes) <= LIMIT**2


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 17, 200, 5000])
@pytest.mark.parametrize("width", [1, 10, 41, 80, 300])
def test_page_fits_its_width(n: int, width: int, colours: bool) -> None:
    text = page(pattern(BAND), n, width=width, colours=colours)
    drawn = [line for line in plain(text).splitlines() if re.fullmatch(r" *\d* [#+.▀]+", line)]
    assert drawn
    assert all(len(line) <= max(width, len(str(n - 1)) + 2) for line in drawn)


def test_page_counts() -> None:
    n = 100
    kept = int(reference.mask(BAND, n, n).sum())
    assert f"{kept:,} of 10,000 pairs" in page(pattern(BAND), n)
    assert "159,880 of 100,000,000 pairs" in page(pattern(BAND), 10_000)
    assert "about" in page(pattern(RandomKeys(4, 0)), 10_000)


def test_page_names_operands_and_heads() -> None:
    both = Or((BAND, SINKS))
    operands = [[("past(16)", BAND), ("sinks(4)", SINKS)], [("causal", CAUSAL)]]
    text = page(pattern(both, CAUSAL, heads=(0, 1, 0)), 64, operands=operands)
    assert "heads 0, 2" in text
    assert "head 1" in text
    assert "past(16)" in text
    assert "\x1b" not in text


def test_colours_differ_by_operand_and_need_room() -> None:
    operands = [[("past(16)", BAND), ("sinks(4)", SINKS)]]
    drawn = page(pattern(Or((BAND, SINKS))), 64, colours=True, operands=operands)
    assert "86;180;233" in drawn
    assert "230;159;0" in drawn
    assert "\x1b" not in page(pattern(BAND), 64, width=20, colours=True)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_who_gets_colours() -> None:
    able = {"COLORTERM": "truecolor"}
    assert supported(Terminal(), able)
    assert not supported(Terminal(), {**able, "NO_COLOR": "1"})
    assert not supported(Terminal(), {})
    assert not supported(io.StringIO(), able)
