"""A sequence over several processes is one sequence: forward, log-sum-exp, gradients, and what travels.

One start of the processes serves all cases of the default run: starting them takes longer than most cases do.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.group import everywhere
from support.sharded import Case, all_of

from sparsec.analysis.sharding import LAYOUTS
from sparsec.diagnostics import SparsecError
from sparsec.testing.programs import input_programs, match_programs, programs, tables, terms

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
DATA = [
    Case("input doc: int[B, n] pattern p = causal & doc[q] == doc[k]", 43, layout="head-tail", batch=2),
    Case("input doc: int[n] pattern p = past(9) & doc[q] == doc[k]", 50, key_heads=1, sinks=True),
    Case("input doc: int[n] pattern p = past(9) & doc[q] == doc[k + 1] | sinks(2)", 31),
    Case(
        "input time: int[n] input b: float[H, n] score f = s + b[k] * 0.5 + b[time[q]] - abs(time[q] - time[k]) / 9 "
        "pattern p = past(9) with f",
        44,
        layout="head-tail",
    ),
    Case("input a: blocks[1, 8, t] pattern p = causal & (selected(a) | past(5))", 40, layout="head-tail"),
    Case("pattern p = past(5) | causal & top_blocks(2, 8, among = causal)", 45, layout="head-tail"),
    Case("pattern p = causal", 44, layout="head-tail", dropout_p=0.2, documents=(0, 0, 13, 30, 44)),
    Case("pattern p = window(9)", 44, starts=((0, 3, 25, 40), (0, 20)), batch=2, dropout_p=0.2),
    Case("pattern p = past(9) | sinks(2)", 44, layout="head-tail", starts=((0, 3, 25, 40),), sinks=True),
]
MORE_DATA = [
    Case("input ok: bool[B, n] pattern p = past(9) & ok[k] & (q < n - 3)", 40, batch=2, layout="head-tail"),
    Case("input reach: int[H] input mark: bool[n] pattern p = past(3 * reach) | causal & mark[k]", 40),
    Case("input col: int[H, c] pattern p = causal & (k in col | q - k < 3)", 41, layout="balanced"),
    Case("input t: float[H, d] score f = s + t[min(q - k, 4)] pattern p = causal with f", 44, sinks=True),
    Case("input w: float[n, n] score f = s + w[q, k] pattern p = past(7) with f", 33),
    Case("input a: blocks[4, 4, t] pattern p = causal & selected(a)", 48, heads=4),
    Case("pattern p = top_blocks(2, 4, 4, among = causal, over = group)", 48, heads=4),
    Case("pattern p = causal & lsh(8, 2, 8, 0)", 40),
    Case("pattern p = past(9) | sinks(2)", 44, dropout_p=0.3, batch=2, sinks=True),
    Case("pattern p = causal & k >= n - 5", 40, starts=((0, 3, 25),)),
    Case("input doc: int[n] pattern p = past(9) & doc[q] == doc[k]", 44, starts=((0, 3, 25),)),
    Case("input doc: int[n] pattern p = past(9) & doc[q] == doc[k]", 44, documents=(0, 9, 44)),
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


def drawn_data(count: int) -> list[Case]:
    """Random programs that read data; the same in every run."""
    found: list[Case] = []

    @settings(max_examples=count, derandomize=True, database=None, phases=[Phase.generate])
    @given(input_programs(1), st.integers(1, 40), st.data())
    def draw(program, n, data) -> None:
        layout, dropped = data.draw(st.sampled_from((*LAYOUTS, "auto"))), data.draw(st.booleans())
        cuts = tuple(sorted(data.draw(st.lists(st.integers(0, n), max_size=2))))
        some: dict = (
            {"documents": (0, *cuts, n), "on_device": data.draw(st.booleans())}
            if data.draw(st.booleans())
            else {"starts": (tuple(cut for cut in cuts if cut < n),)}
        )
        some = {} if not cuts or any(own.by_row for own in program.inputs) else some
        key_heads, sinks = data.draw(st.sampled_from((1, 2))), data.draw(st.booleans())
        more = {"dropout_p": 0.2 * dropped, "sinks": sinks, **some}
        found.append(Case(program.text, n, 2, key_heads, layout, 1, **more))

    draw()
    return found


def test_ranks_are_one_process(tmp_path: Path) -> None:
    """In float64; no key travels that is not needed, and a second call gives the same bits."""
    cases = [*CASES, *DATA, *drawn(8), *drawn_data(3)]
    for case in cases:
        with suppress(SparsecError):
            case.attend()  # once for all ranks, which find it in the cache
    check(everywhere(RANKS, tmp_path, all_of, cases), {case.name for case in (*CASES, *DATA)})


@pytest.mark.full
@pytest.mark.parametrize("ranks", [2, 4])
def test_many_random_programs(tmp_path: Path, ranks: int) -> None:
    cases = [*MORE_DATA, *drawn_data(60), *drawn(150)]
    check(everywhere(ranks, tmp_path, all_of, cases), {case.name for case in MORE_DATA})


def check(found: list, names: set[str]) -> None:
    """`names`: of cases that no rank may leave out."""
    for rank in found:
        assert rank.keys() >= names
    problems = [problem for rank in found for name, each in rank.items() for problem in each.problems(name)]
    assert not problems, "\n".join(problems)
