"""`sparsec cost --ranks`: each number of it, counted pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.analysis.cost import cost
from sparsec.analysis.sharding import LAYOUTS
from sparsec.ir import reference
from sparsec.ir.nodes import Pattern
from sparsec.report.ranks import LINKS, Ranks, ranks
from sparsec.report.roofline import GPUS, floors
from sparsec.testing.programs import match_programs, programs, tables, terms

PROGRAMS = programs(1) | programs(1, terms() | tables()) | match_programs()


def pattern_of(program) -> Pattern:
    conditions = tuple(dict.fromkeys(program.conditions))
    heads = tuple(map(conditions.index, program.conditions)) if program.heads else ()
    return Pattern("p", "", "", (), conditions, heads)


def counted(pattern: Pattern, n: int, found: Ranks, owner: np.ndarray, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys of all heads that rank i needs from rank j, and kept pairs of each rank's queries."""
    count = len(found.held)
    traffic, pairs = np.zeros((count, count), np.int64), np.zeros(count, np.int64)
    for number in pattern.head_conditions or (0,) * heads:
        mask = reference.mask(pattern.conditions[number], n, n)
        for rank in range(count):
            seen = mask[owner == rank].any(0) & (owner != rank)
            traffic[rank] += np.bincount(owner[seen], minlength=count)
            pairs[rank] += mask[owner == rank].sum()
    return traffic, pairs


def owners(layout: str, n: int, held: tuple[int, ...]) -> np.ndarray:
    """The rank of each position, by the definition of the layout; a balanced one is in the order of the ranks."""
    count = len(held)
    if layout == "balanced":
        return np.repeat(np.arange(count), held)
    chunks = count * (2 if layout == "head-tail" else 1)
    chunk = np.arange(n) // -(-n // chunks)
    return np.minimum(chunk, chunks - 1 - chunk) if layout == "head-tail" else chunk


@settings(max_examples=10)
@given(PROGRAMS, st.integers(2, 50), st.integers(2, 9), st.sampled_from(LAYOUTS), st.integers(1, 3))
def test_numbers_of_random_patterns(program, n: int, count: int, layout: str, heads: int) -> None:
    check(pattern_of(program), n, count, layout, heads)


@pytest.mark.full
@settings(max_examples=200)
@given(PROGRAMS, st.integers(2, 300), st.integers(2, 1024), st.sampled_from(LAYOUTS), st.integers(1, 3))
def test_numbers_of_many_random_patterns(program, n: int, count: int, layout: str, heads: int) -> None:
    check(pattern_of(program), n, count, layout, heads)


def check(pattern: Pattern, n: int, count: int, layout: str, heads: int) -> None:
    """Bytes, floors and scaling follow from the counts as written here."""
    whole = cost(pattern, n, heads=heads)
    found = ranks(pattern, whole, count, layout, "h100", "nvlink")
    owner = owners(found.layout, n, found.held)
    assert found.held == tuple(np.bincount(owner, minlength=count))
    traffic, pairs = counted(pattern, n, found, owner, heads)
    assert found.exact
    assert (found.receives, found.sends) == (tuple(traffic.sum(1)), tuple(traffic.sum(0)))
    total = pattern.heads or heads
    assert found.gathered == tuple((n - own) * total for own in found.held)
    work = (pairs if pattern.heads else pairs // heads) + np.array(found.held)
    assert found.busiest == pytest.approx(work.max() * count / work.sum())
    least = floors(whole, GPUS["h100"])["forward"].least
    most = max(*found.receives, *found.sends) * 2 * 2 * whole.head_size
    exchange = most / LINKS["nvlink"].bandwidth["h100"]
    assert found.compute == pytest.approx(least * found.busiest / count)
    assert found.exchange == pytest.approx(exchange)
    assert found.scaling == pytest.approx(least / max(least * found.busiest / count, exchange))
