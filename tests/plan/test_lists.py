"""Which covers come from lists, and that plans visit hardly a tile that holds nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.generated import pattern_of

from sparsec.ir import nodes as ir
from sparsec.ir.vector import holds
from sparsec.plan.build import build, ranged
from sparsec.plan.evaluate import BLOCK, listed_tiles, steps
from sparsec.plan.nodes import Contiguous, Gathered, Region, Residue
from sparsec.testing.programs import conditions

N = 2048
SIDES = "rows", "columns"
GRID = "abs(q // {w} - k // {w}) <= {r} & abs(q % {w} - k % {w}) <= {r}"


def touched(region: Region, n: int) -> int:
    """Tiles of the region's layout that hold a pair, from the condition at every pair."""
    positions = np.arange(n)
    match region.layout:
        case Residue(stride):
            sides = [(positions[first::stride],) * 2 for first in range(stride)]
        case Gathered(period, first, width):
            sides = [(positions, positions[(positions >= first) & ((positions - first) % period < width)])]
        case _:
            sides = [(positions, positions)]
    total = 0
    for q, k in sides:
        if len(k):
            kept = np.broadcast_to(holds(region.condition, {"q": q[:, None], "k": k, "n": n}), (len(q), len(k)))
            rows = np.logical_or.reduceat(kept, np.arange(0, len(q), BLOCK), axis=0)
            total += int(np.logical_or.reduceat(rows, np.arange(0, len(k), BLOCK), axis=1).sum())
    return total


def visited_over_touched(pattern: ir.Pattern, n: int = N) -> float:
    """Of tiles of queries and of keys, the side where it is more."""
    regions = [region for region in build(pattern).groups[0].at(n).regions if region.condition != ir.FALSE]
    holding = [touched(region, n) for region in regions]
    visited = [
        sum(held if cover.from_list else steps(cover, region, n).sum() for cover, region, held in side)
        for side in (zip([getattr(each, name) for each in regions], regions, holding, strict=True) for name in SIDES)
    ]
    return float(max(visited) / max(sum(holding), 1))


@pytest.mark.parametrize(("n", "programs"), [(N, 80), pytest.param(8192, 400, marks=pytest.mark.full)])
def test_plans_visit_what_is_touched(n: int, programs: int) -> None:
    """Of random programs: half of them nothing else, and 99 % at most 15 % more."""
    shares = []

    @settings(max_examples=programs, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(conditions())
    def collect(condition: ir.Set) -> None:
        shares.append(visited_over_touched(ir.Pattern("p", "", "", (), (condition,)), n))

    collect()
    print(f"{len(shares)} programs, of which {np.mean(np.array(shares) < 1.15):.2%} below 1.15; most {max(shares):.2f}")
    assert np.median(shares) == 1
    assert np.mean(np.array(shares) < 1.15) >= 0.99


@pytest.mark.parametrize(
    ("text", "from_list"),
    [
        (GRID.format(w=32, r=2), False),  # one range holds little else
        (f"q < 1024 & k < 1024 & {GRID.format(w=32, r=2)}", True),
        ("abs(min(max(q // 32, 1), 62) - k // 32) <= 1 & abs(min(max(q % 32, 1), 30) - k % 32) <= 1", True),
        (" | ".join(f"q in {a}..{a + 60} & k in {2 * a}..{2 * a + 30}" for a in range(0, 900, 60)), True),
        ("past(100) | sinks(4)", False),
        ("causal & (q - k) % 7 < 3", False),  # every tile holds a pair
        ("window(64) | global(8)", False),
    ],
)
def test_who_comes_from_a_list(text: str, from_list: bool) -> None:
    (region,) = build(pattern_of(f"pattern p = {text}"), layouts=False).groups[0].variants[0].regions
    assert region.rows.from_list == from_list


RECTANGLES = " | ".join(f"q in {a * 64}..{(a + 8) * 64} & k in {a * 40}..{a * 40 + 300}" for a in range(0, 80, 8))


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("(q - k) % 8 == 0 & (q // 512 + k // 512) % 3 == 0", Residue),
        ("k % 16 == 0 & (q // 64 + k // 1024) % 3 == 0", Gathered),
        (f"k % 32 == 0 & ({RECTANGLES})", Gathered),
    ],
)
def test_layouts_with_lists(text: str, layout: type) -> None:
    """In a layout of its own a pattern visits no more than it touches there."""
    pattern = pattern_of(f"pattern p = {text}")
    (region,) = build(pattern).groups[0].at(N).regions
    assert isinstance(region.layout, layout)
    assert region.rows.from_list
    assert region.columns.from_list
    assert visited_over_touched(pattern) == 1
    for cover in region.covers:
        assert steps(cover, region, N).sum() <= 1.15 * touched(region, N)


@settings(max_examples=40)
@given(conditions(), st.sampled_from([100, 700, 1500]))
def test_counted_tiles_hold_the_touched_ones(condition: ir.Set, n: int) -> None:
    """Intervals count no tile too few, nor one as whole that is not, in all programs of these lengths."""
    kept = np.broadcast_to(holds(condition, {"q": np.arange(n)[:, None], "k": np.arange(n), "n": n}), (n, n))
    edges = np.arange(0, n, BLOCK)
    for side, pairs in (("q", kept), ("k", kept.T)):
        some = np.logical_or.reduceat(np.logical_or.reduceat(pairs, edges, axis=0), edges, axis=1).sum(1)
        every = np.logical_and.reduceat(np.logical_and.reduceat(pairs, edges, axis=0), edges, axis=1).sum(1)
        region = ranged(condition, Contiguous())
        visited, whole = listed_tiles(side, region, n)
        assert (visited >= some).all()
        assert (whole <= every).all()
