"""Query tiles that a CPU takes together: every visit once, in stacks that are predicted to be no slower than tiles."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import module_of, pattern_of
from torch import Tensor

from sparsec.kernels.cpu import order as cpu_order
from sparsec.kernels.cpu import runs as cpu_runs
from sparsec.kernels.cpu import stacks as cpu_stacks
from sparsec.kernels.cpu import visits as cpu_visits
from sparsec.kernels.cpu.stacks import Stacks, single_tiles, stacks_of


@st.composite
def visits(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Query tiles, with gaps, of a few kinds that visit the same keys, and some that do not."""
    first, k_tiles = draw(st.integers(0, 20)), draw(st.integers(1, 12))
    kinds = draw(st.lists(st.sets(st.integers(0, k_tiles - 1), min_size=1), min_size=1, max_size=4))
    visited = draw(st.lists(st.sampled_from([*kinds, set[int]()]), min_size=1, max_size=40))
    pairs = [(row, key) for row, keys in enumerate(visited, first) for key in sorted(keys)]
    rows, keys = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    masks = torch.where(torch.arange(len(pairs)) % 3 == 0, cpu_visits.EVERY_PAIR, torch.arange(len(pairs)) + 2)
    return rows, keys, masks


def of_tiles(stacks: list[Stacks]) -> list[tuple[int, int, int]]:
    """Query tile, key tile and mask of each visit."""
    found = []
    for some in stacks:
        assert (some.stack.diff() >= 0).all()
        assert (some.key.diff() > 0)[some.stack.diff() == 0].all()
        here = some.masks != cpu_visits.NO_PAIR
        places = some.tiles[some.stack][here], some.key[:, None].expand_as(here)[here], some.masks[here]
        found += zip(*(x.tolist() for x in places), strict=True)
    return sorted(found)


def time_of(stacks: list[Stacks], rows: int) -> float:
    """As predicted."""
    return sum(some.masks.numel() * (1 + cpu_stacks._ROWS / (rows * some.tiles.shape[1])) for some in stacks)


@settings(max_examples=60)
@given(visits(), st.sampled_from((64, 256)))
def test_stacks_hold_every_visit_once(found, rows):
    stacks = stacks_of(*found, rows)
    assert of_tiles(stacks) == sorted(zip(*(x.tolist() for x in found), strict=True))
    tiles = torch.cat([some.tiles.flatten() for some in stacks]) if stacks else found[0]
    assert sorted(tiles.tolist()) == found[0].unique().tolist()
    assert time_of(stacks, rows) <= time_of([single_tiles(*found)], rows) * (1 + 1e-9)


def test_tiles_that_see_the_same_are_together_wherever_they_stand():
    """Sliding tiles: the window of a tile at the edge is that of its neighbour, in each of three axes."""
    axes = ("q // 1024", "q // 256 % 4", "q // 64 % 4")
    near = " & ".join(f"abs({x.replace('q', 'k')} - max(1, min({x}, 2))) <= 1" for x in axes)
    [region] = module_of(pattern_of(f"pattern p = {near}"))._PROGRAM.groups[0].at(4096).regions
    order = cpu_order.order_of(region, 4096, 4096, 0)
    [part] = cpu_visits.parts_of(order)
    visits, runs = cpu_runs.work_of(order, *part, 1)
    assert len(visits.row) == 64 * 27
    assert {run.height for run in runs} == {8}
    assert sum(run.keys.numel() * run.height for run in runs) == len(visits.row)
    assert all(run.masks is None for run in runs)
