"""Inputs, dropout and documents that the device knows, over several processes: as one process has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.sharded import everywhere
from support.sharded_data import DataCase, all_of

from sparsec.analysis.sharding import LAYOUTS
from sparsec.testing.programs import input_programs

RANKS = 3

CASES = [
    DataCase("input doc: int[B, n] pattern p = causal & doc[q] == doc[k]", 43, layout="head-tail", batch=2),
    DataCase("input doc: int[n] pattern p = past(9) & doc[q] == doc[k]", 50, key_heads=1, sinks=True),
    DataCase("input doc: int[n] pattern p = past(9) & doc[q] == doc[k + 1] | sinks(2)", 31),
    DataCase(
        "input time: int[n] input b: float[H, n] score f = s + b[k] * 0.5 + b[time[q]] - abs(time[q] - time[k]) / 9 "
        "pattern p = past(9) with f",
        44,
        layout="head-tail",
    ),
    DataCase("input a: blocks[1, 8, t] pattern p = causal & (selected(a) | past(5))", 40, layout="head-tail"),
    DataCase("pattern p = past(5) | causal & top_blocks(2, 8, among = causal)", 45, layout="head-tail"),
    DataCase("pattern p = causal", 44, layout="head-tail", dropout_p=0.2, documents=(0, 0, 13, 30, 44)),
    DataCase("pattern p = window(9)", 44, starts=((0, 3, 25, 40), (0, 20)), batch=2, dropout_p=0.2),
    DataCase("pattern p = past(9) | sinks(2)", 44, layout="head-tail", starts=((0, 3, 25, 40),), sinks=True),
]
MORE = [
    DataCase("input ok: bool[B, n] pattern p = past(9) & ok[k] & (q < n - 3)", 40, batch=2, layout="head-tail"),
    DataCase("input reach: int[H] input mark: bool[n] pattern p = past(3 * reach) | causal & mark[k]", 40),
    DataCase("input col: int[H, c] pattern p = causal & (k in col | q - k < 3)", 41, layout="balanced"),
    DataCase("input t: float[H, d] score f = s + t[min(q - k, 4)] pattern p = causal with f", 44, sinks=True),
    DataCase("input w: float[n, n] score f = s + w[q, k] pattern p = past(7) with f", 33),
    DataCase("input a: blocks[4, 4, t] pattern p = causal & selected(a)", 24, heads=4),
    DataCase("pattern p = top_blocks(2, 4, 4, among = causal, over = group)", 36, heads=4),
    DataCase("pattern p = causal & lsh(8, 2, 8, 0)", 40),
    DataCase("pattern p = past(9) | sinks(2)", 44, dropout_p=0.3, batch=2, sinks=True),
    DataCase("pattern p = causal & k >= n - 5", 40, starts=((0, 3, 25),)),
    DataCase("input doc: int[n] pattern p = past(9) & doc[q] == doc[k]", 44, starts=((0, 3, 25),)),
    DataCase("input doc: int[n] pattern p = past(9) & doc[q] == doc[k]", 44, documents=(0, 9, 44)),
]


def drawn(count: int) -> list[DataCase]:
    """Random programs that read data; the same in every run."""
    found: list[DataCase] = []

    @settings(max_examples=count, derandomize=True, database=None, phases=[Phase.generate])
    @given(input_programs(1), st.integers(1, 40), st.data())
    def draw(program, n, data) -> None:
        layout, dropped = data.draw(st.sampled_from((*LAYOUTS, "auto"))), data.draw(st.booleans())
        cuts = tuple(sorted(data.draw(st.lists(st.integers(0, n), max_size=2))))
        some: dict = (
            {"documents": (0, *cuts, n)}
            if data.draw(st.booleans())
            else {"starts": (tuple(cut for cut in cuts if cut < n),)}
        )
        some = {} if not cuts or any(own.by_row for own in program.inputs) else some
        key_heads, sinks = data.draw(st.sampled_from((1, 2))), data.draw(st.booleans())
        more = {"dropout_p": 0.2 * dropped, "sinks": sinks, **some}
        found.append(DataCase(program.text, n, 2, key_heads, layout, 1, **more))

    draw()
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict]]:
    """What each rank found of each case: one start of the processes serves all tests."""
    for case in CASES:
        case.attend()  # once for all ranks, which find it in the cache
    yield everywhere(RANKS, tmp_path_factory.mktemp("ranks"), all_of, CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_data_are_those_of_one_process(found: list[dict], case: DataCase) -> None:
    for rank in found:
        check(rank[case.name], case.name)


def check(found: dict[str, tuple[float, float]], name: str) -> None:
    for of, (difference, allowed) in found.items():
        assert difference <= allowed, f"{of} of {name}"


@pytest.mark.full
@pytest.mark.parametrize("ranks", [2, 4])
def test_many_programs(tmp_path: Path, ranks: int) -> None:
    for rank in everywhere(ranks, tmp_path, all_of, [*MORE, *drawn(60)]):
        for name, each in rank.items():
            check(each, name)
