"""A sequence over several processes is one sequence: forward, log-sum-exp, gradients, and what travels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.sharded import Case, Found, all_of, everywhere

from sparsec.analysis.sharding import LAYOUTS
from sparsec.diagnostics import SparsecError
from sparsec.testing.programs import match_programs, programs, tables, terms

RANKS = 3

CASES = [
    Case("past(10)", 48),
    Case("past(10) | sinks(4)", 67, heads=4, sinks=True),
    Case("past(3) | sinks(4)", 40, layout="head-tail", batch=2),
    Case("causal", 66, key_heads=1, layout="head-tail", sinks=True),
    Case("causal", 65, layout="balanced"),
    Case("causal & stride(5)", 61, layout="auto"),
    Case("causal & k % 8 == 0 | past(3)", 61, layout="head-tail"),
    Case("window(9)", 50, layout="auto", batch=2),
    Case("same_block(8) | columns(16, 2)", 70),
    Case("k >= n - 3 | q == k", 33),
    Case("full", 40, layout="head-tail"),
    Case("q - k > 3", 2),
    Case("random_keys(3, 1) | past(2)", 40),
    Case("past(6) | sinks(2)", 60, documents=(0, 0, 13, 14, 40, 60), sinks=True),
    Case("past(6) | sinks(2)", 90, documents=(*range(0, 20, 2), *range(21, 90, 6), 90), key_heads=1, sinks=True),
    Case("causal & k >= n // 2", 50, layout="head-tail", documents=(0, 31, 50)),
    Case("causal & (k >= 20 | h % 2 == 0)", 41, heads=4, layout="head-tail", by_head=True),
    Case("causal & q - k <= 5 * (h + 1)", 41, heads=4, by_head=True),
    Case("causal & q - k <= 5 * (h + 1)", 43, heads=4, key_heads=4, by_head=True, sinks=True),
    Case("past(9) with softcap(5)", 40),
    Case("past(10) | sinks(4)", 67, heads=4, sinks=True, v_head_size=24),
    Case("causal", 66, key_heads=1, layout="head-tail", v_head_size=40),
    Case("causal with alibi", 41, layout="head-tail"),
]


def drawn(count: int) -> list[Case]:
    """Random programs of the language, some with tables, some by head; the same in every run."""
    found: list[Case] = []

    @settings(max_examples=count, derandomize=True, database=None, phases=[Phase.generate])
    @given(programs(1) | programs(1, terms() | tables()) | match_programs(), st.integers(1, 40), st.data())
    def draw(program, n, data) -> None:
        layout, sinks = data.draw(st.sampled_from((*LAYOUTS, "auto"))), data.draw(st.booleans())
        heads = program.heads or 2
        key_heads = data.draw(st.sampled_from([each for each in (1, 2, 3, 4) if heads % each == 0]))
        cuts = tuple(sorted(data.draw(st.lists(st.integers(0, n), max_size=2))))
        documents = (0, *cuts, n) if cuts else None
        by_head = program.heads is not None
        found.append(Case(program.text, n, heads, key_heads, layout, 1, documents, sinks, by_head))

    draw()
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Found]]]:
    """What each rank found of each case: one start of the processes serves all tests."""
    cases = CASES + drawn(8)
    for case in cases:
        with suppress(SparsecError):
            case.attend()  # once for all ranks, which find it in the cache
    yield everywhere(RANKS, tmp_path_factory.mktemp("ranks"), all_of, cases)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ranks_are_one_process(found: list[dict[str, Found]], case: Case) -> None:
    for rank in found:
        check(rank[case.name], case.name)


def test_random_programs(found: list[dict[str, Found]]) -> None:
    known = {case.name for case in CASES}
    for rank in found:
        for name, each in rank.items():
            if name not in known:
                check(each, name)


@pytest.mark.full
@pytest.mark.parametrize("ranks", [2, 4])
def test_many_random_programs(tmp_path: Path, ranks: int) -> None:
    for rank in everywhere(ranks, tmp_path, all_of, drawn(150)):
        for name, each in rank.items():
            check(each, name)


def check(each: Found, name: str) -> None:
    """In float64, as dense attention; no key travels that is not needed."""
    for of, (difference, allowed) in each.differences.items():
        assert difference <= allowed, f"{of} of {name}"
    assert each.received == each.predicted, name
    assert each.received == each.needed, name
    assert each.drawn in (None, each.received), name


def test_the_same_bit_for_bit(found: list[dict[str, Found]]) -> None:
    assert all(each.repeats for rank in found for each in rank.values())
