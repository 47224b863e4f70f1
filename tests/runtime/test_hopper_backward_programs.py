"""Programs of the Hopper tier's backward kernel end, read nothing that is overwritten, and add what they should."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from support.generated import module_of, pattern_of
from support.hopper_backward_on_cpu import KEYS, Program, Work

from sparsec.kernels.hopper.backward_steps import STEP_QUERIES, steps_of
from sparsec.kernels.program.program import cdiv

CASES = [  # a pattern, queries, keys, head size, key heads, query heads for each
    ("past(300)", 700, 700, 128, 2, 2),
    ("causal", 520, 700, 64, 1, 1),
    ("k >= q & k < q + 60", 640, 640, 128, 2, 1),  # tiles of one step and of two
    ("past(100) | sinks(4)", 4200, 300, 128, 1, 1),  # in parts
    ("window(300) | global(40)", 900, 900, 64, 1, 1),
]


@pytest.mark.parametrize("programs", [1, 3])
@pytest.mark.parametrize(("text", "n_q", "n", "size", "kv_heads", "group"), CASES)
def test_programs(text: str, n_q: int, n: int, size: int, kv_heads: int, group: int, programs: int) -> None:
    queries, rows = STEP_QUERIES[size], kv_heads * group
    kernel = module_of(pattern_of(f"pattern p = {text}"))._PROGRAM.groups[0].at(n).of("dkdv")[0]
    made = steps_of(kernel.regions[0], n_q, n, 0, kernel.split_prefix, queries, torch.device("cpu"))
    work = Work(made.tiles.flatten().tolist(), made.steps.flatten().tolist(), made.sums, rows)
    numbers = {"rows": kv_heads, "together": kv_heads, "query_tiles": cdiv(n_q, queries), "sums": made.sums}
    numbers |= {"n": n, "tiles": len(made.tiles) - 1}
    threads = [thread for _ in range(programs) for thread in Program(work, size, kv_heads, group, **numbers).threads()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if work.errors:
        raise work.errors[0]
    visits: dict[int, set[int]] = {}  # by tile of queries
    tiles: dict[tuple[int, int], list[int]] = {}  # by tile of keys and part
    lines = made.tiles.tolist()
    for (key, begin, part), (_, end, _) in itertools.pairwise(lines):
        tiles[key, part] = made.steps[begin:end, 0].tolist()
        for query in tiles[key, part]:
            visits.setdefault(query, set()).add(key)
    joined = set(made.joined[:, 0].tolist())
    found = {}
    for _, batch, head, row, column, sources in work.queries:
        assert (batch, row, head, column) not in found
        found[batch, row, head, column] = _rows(sources, "K")
        assert _rows(sources, "Q") == _rows(sources, "DO") == {(batch, head, row // queries * queries)}
    assert len(found) == 2 * rows * len(visits.keys() - joined)
    for (_, row, head, _), keys in found.items():
        assert keys == {(0, head // group, KEYS * key) for key in visits[row // queries]}
    for place, several in work.added.items():
        head, sum_of = divmod(place // 2, made.sums)
        if sum_of >= cdiv(n_q, queries):  # what another kernel joins
            (tile,) = (t for t, first, count in made.joined.tolist() if first <= sum_of < first + count)
            assert {head_row for x in several for head_row in _rows(x, "Q")} == {(0, head, tile * queries)}
    assert len(work.keys) == sum(2 * 2 * kv_heads for _ in tiles)
    for name, batch, head, *more, sources in work.keys:
        if name == "part":
            continue
        key = more[0] // KEYS
        own = {(batch, head * group + g, query * queries) for query in tiles[key, -1] for g in range(group)}
        assert _rows(sources, "Q") == _rows(sources, "DO") == own
        assert _rows(sources, "K") == {(batch, head, key * KEYS)}


def _rows(sources: Any, name: str) -> set[tuple[int, ...]]:
    """Batch, head and first row of all boxes of a tensor that something is made of."""
    if isinstance(sources, tuple):
        if sources[:1] == (name,):
            return {sources[1:4]}
        return set().union(*(_rows(each, name) for each in sources))
    return _rows(sources.made, name) if hasattr(sources, "made") else set()
