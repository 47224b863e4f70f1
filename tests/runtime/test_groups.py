"""Passes over groups of tokens, `lsh` and `routed`, on a CPU: against dense attention, at every length."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import pattern_of, spread_module_of

from sparsec.kernels.cpu import groups as cpu_groups
from sparsec.testing.verify import Case, verify

LSH = ("lsh(4, 2, 8, 0)", "lsh(2, 3, 5, 1)", "lsh(6, 1, 64, 2)")
ROUTED = ("routed(mu, 9)", "routed(nu, 3)", "routed(mu, 200)")
DECLARED = """\
input mu: centroids[c]
input nu: centroids[5]
input doc: int[n]
input sel: blocks[4, 8, t]
"""
CASES = (60, 50, 7), (70, 70, None), (3, 70, None), (40, 90, None), (1, 1, None), (150, 150, None)


def grouped_conditions(depth: int = 2) -> st.SearchStrategy[str]:
    """Conditions that groups, positions and data decide together."""
    terms = (*LSH, *ROUTED, "past(4)", "causal", "stride(8)", "sinks(3)", "doc[q] == doc[k]", "selected(sel)")
    terms += ("random_keys(3, 1)", "k % 5 < 3")
    own = st.sampled_from(terms)
    if depth == 0:
        return own
    inner = grouped_conditions(depth - 1)
    pair = st.tuples(inner, st.sampled_from(("&", "|", "\\")), inner).map(lambda x: f"({x[0]} {x[1]} {x[2]})")
    return st.one_of(own, pair, pair)


def declared(condition: str) -> str:
    """A text with what a condition reads declared."""
    lines = (line for line in DECLARED.splitlines() if line.split()[1].strip(":") in condition)
    return f"{' '.join(lines)} pattern p = {condition}"


def assert_grouped(text: str, n_q: int, n: int, q_offset: int | None, seed: int = 0) -> None:
    pattern, case = pattern_of(text), Case(n_q, n, 4, 2, 16, torch.float32, q_offset)
    found = verify(spread_module_of(pattern).p, pattern, case, torch.device("cpu"), seed)
    assert found.holds, ", ".join(map(str, found.comparisons))


def regions_of(text: str) -> list:
    """The groups of each region, None of one that is about positions."""
    return [region.groups for region in spread_module_of(pattern_of(text))._PROGRAM.groups[0].at(1 << 20).regions]


TEXTS = [
    "pattern p = lsh(4, 3, 8, 0)",
    "pattern p = causal & (past(3) | lsh(4, 2, 8, 0))",
    "input mu: centroids[40] pattern p = causal & (routed(mu, 9) | past(3))",
    "input m: centroids[c] pattern p = routed(m, 9) & lsh(2, 2, 8, 1) | stride(4) & causal | routed(m, 5) \\ past(2)",
]


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_patterns(number):
    assert any(regions_of(TEXTS[number]))
    assert_grouped(TEXTS[number], *CASES[number])


@pytest.mark.full
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("text", TEXTS)
def test_more_patterns(text, case):
    assert_grouped(text, *case)


def test_groups_that_are_taken_out_stay_where_they_are():
    assert not any(regions_of("pattern p = causal \\ lsh(4, 2, 8, 0)"))
    assert not any(regions_of("pattern p = causal & (past(3) | ~lsh(4, 2, 8, 0))"))


def test_repeatable():
    attend = spread_module_of(pattern_of(TEXTS[3])).p
    q, k, v = torch.randn(3, 1, 2, 150, 16).requires_grad_()
    mu = torch.randn(1, 5, 16)
    first, second = (torch.autograd.grad(attend(q, k, v, m=mu).sum(), (q, k, v)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@settings(max_examples=2)
@given(grouped_conditions(), st.sampled_from(CASES), st.integers(0, 99))
def test_random_conditions(condition, case, seed):
    assert_grouped(declared(condition), *case, seed)


@pytest.mark.full
@settings(max_examples=200)
@given(grouped_conditions(3), st.sampled_from(CASES), st.integers(0, 999))
def test_many_random_conditions(condition, case, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_groups, "_TILE", 16)
        patch.setattr(cpu_groups, "_NUMBERS_AT_ONCE", 1 << 10)
        assert_grouped(declared(condition), *case, seed)
