"""Plans beside dense attention, by the planner's cost model."""

from __future__ import annotations

import pytest

from sparsec.analysis.count import pattern_count
from sparsec.lower.file import lower
from sparsec.plan.build import build
from sparsec.report.prediction import speed, visited, wasted
from sparsec.source import Source
from sparsec.syntax.parse import parse


def plan(body: str, **given):
    return build(lower(parse(Source("p.spat", f"pattern p = {body}\n")), **given))


def test_dense_is_as_fast_as_dense_and_never_pays() -> None:
    assert speed(plan("full"), 4096, past=False).to_json() == {"ratio": 1.0, "pays_from": None, "cpu_ratio": 1.0}
    assert speed(plan("causal"), 4096, past=True).pays_from is None


@pytest.mark.parametrize("body", ["past(256)", "window(128) | global(64)", "causal & stride(64) | past(64)"])
def test_where_sparse_pays(body: str) -> None:
    least = speed(plan(body), 4096, past=False).pays_from
    assert least is not None and least % 64 == 0
    assert speed(plan(body), least, past=False).ratio > 1 >= speed(plan(body), least - 64, past=False).ratio
    assert speed(plan(body), 1 << 17, past=False).ratio > 10


def test_heads_count_each() -> None:
    one, both = plan("past(64)"), plan("match h { 0 -> past(64) else -> full }", heads=2)
    assert 1 < speed(both, 4096, past=False).ratio < 2 < speed(one, 4096, past=False).ratio


@pytest.mark.parametrize("body", ["causal & stride(64)", "causal & (same_block(128) | columns(128, 8))"])
def test_layouts_waste_little(body: str) -> None:
    """Of what tiles in the contiguous layout waste, which is nearly all."""
    (heads,) = plan(body).groups
    alone, apart = heads.variants
    assert wasted(heads.condition, alone.regions, 8192) is None, "told by the row of tiles"
    assert 0 <= wasted(heads.condition, apart.regions, 8192) < 0.5


def test_what_is_not_counted_is_not_guessed() -> None:
    (heads,) = plan("random_keys(2, 1) | causal & stride(64)").groups
    assert all(wasted(heads.condition, variant.regions, 8192) is None for variant in heads.variants)


@pytest.mark.parametrize("body", ["past(100)", "causal & stride(96)", "window(64) | global(8)", "full"])
def test_visited_tiles_hold_the_pairs(body: str) -> None:
    made = plan(body)
    assert pattern_count(made.pattern, 1000) <= visited(made, 1000)


def test_tiles_of_every_head_are_visited() -> None:
    assert visited(plan("past(h // 4 + 2)", heads=4), 1024) == 4 * visited(plan("past(2)"), 1024)
