"""What of a decoder's cache may be dropped, against every later row of the dense reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.analysis.retention import retention
from sparsec.ir import nodes as ir
from sparsec.ir.reference import evaluate
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.programs import conditions, tables, terms

N = 24  # lengths that are looked at
FAR = 700  # the last row; whatever small numbers let a row see is seen by an earlier one


def pattern_of(*conditions: ir.Set) -> ir.Pattern:
    return ir.Pattern("p", "", "", (), conditions)


def text(condition: str, **counts: int) -> ir.Pattern:
    return lower(parse(Source("held", f"pattern p = {condition}")), **counts)


def needed(pattern: ir.Pattern, n: int, far: int = FAR) -> list[set[int]]:
    """For each length up to n, the keys below it that a row from there on to `far` sees, whatever the head."""
    seen = np.zeros((far, n), bool)
    for condition in pattern.conditions:
        if "n" in ir.names(condition) or ir.leaves(condition):
            seen |= [evaluate(condition, np.array([q]), np.arange(n), q + 1)[0] for q in range(far)]
        else:
            seen |= evaluate(condition, np.arange(far), np.arange(n), far)
    later = np.logical_or.accumulate((seen & (np.arange(n) <= np.arange(far)[:, None]))[::-1])[::-1]
    return [{k for k in range(length) if later[length, k]} for length in range(n + 1)]


def check(pattern: ir.Pattern, n: int = N, far: int = FAR) -> None:
    kept = retention(pattern)
    before: set[int] = set()
    for length, real in enumerate(needed(pattern, n, far)):
        held = kept.held(length).tolist()
        assert held == sorted(real) if kept.exact else set(held) >= real
        assert set(held) <= before | {length - 1}  # nothing that was dropped comes back
        before = set(held)
        for page in (1, 3, 16):
            pages = {key // page for key in held} | ({length // page} if length % page else set())
            assert kept.pages(length, page).tolist() == sorted(pages)
            assert set(kept.skipped(length, page)) == set(range(-(-length // page))) - pages
        assert not any(kept.prefix(length) > key for key in held if not kept.forever.contains(np.array(key)))
        if kept.ring is None:
            continue
        step = [*held, length]  # the row's own key takes a slot, too
        slots = kept.slot(np.array(step))
        used = [slot for slot in slots.tolist() if slot >= 0]
        assert len(set(used)) == len(used) and all(slot >= 0 for slot in slots[:-1])
        assert all(slot < kept.slots(length) for slot in used)
        assert sorted(key for key in kept.keys_of_slots(length).tolist() if key >= 0) == held
    if kept.capacity is not None:
        assert all(len(real) <= kept.capacity for real in needed(pattern, n, far))


@settings(max_examples=8, deadline=None)
@given(st.lists(conditions(1), min_size=1, max_size=2, unique=True))
def test_a_key_is_needed_where_a_later_row_sees_it(found):
    check(pattern_of(*found))


@settings(max_examples=4, deadline=None)
@given(conditions(1, terms() | tables()))
def test_no_key_is_dropped_that_tables_may_list(found):
    check(pattern_of(found), far=80)


@pytest.mark.full
@settings(max_examples=400, deadline=None)
@given(st.lists(conditions(2), min_size=1, max_size=3, unique=True))
def test_many(found):
    check(pattern_of(*found), n=40)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("past(512)", "at most 512 keys: a ring of 512"),
        ("sinks(4) | past(512)", "at most 516 keys: 4 pinned and a ring of 512"),
        ("causal & same_block(128)", "at most 128 keys: a ring of 128"),
        ("causal & dilated(16, 4)", "at most 33 keys: a ring of 33"),
        ("causal & k // 32 % 2 == 0 & q - k < 64", "at most 32 keys: a ring of 32"),
        ("match h { 0 -> past(8)\n else -> sinks(2) }", "at most 10 keys: 2 pinned and a ring of 8"),
        ("causal", "grows with the text: every key for ever"),
        ("causal & (past(64) | stride(8))", "grows with the text: every key for ever"),
        ("causal & k % 8 == 0 | past(12)", "grows with the text: 1 of 8 keys for ever and a ring of 11"),
        ("causal & q - k <= k", "grows with the text: keys for a time that no number bounds"),
        ("causal & random_past_blocks(16, 2, 0)",
         "grows with the text: every key for ever, as far as is known without tables and data"),
        ("past(40) & random_keys(4, 0)", "at most 40 keys: a ring of 40, as far as is known without tables and data"),
    ],
)  # fmt: skip
def test_what_is_said(condition, said):
    kept = retention(text(condition, heads=2) if "match h" in condition else text(condition))
    assert str(kept) == said
    assert kept.bounded is (True if said.startswith("at most") else None if "random" in condition else False)


def test_long_texts_cost_what_is_held():
    kept = retention(text("sinks(4) | past(512)"))
    n = 10**12
    assert kept.held(n).tolist() == [*range(4), *range(n - 511, n)]
    assert kept.pages(n, 16).tolist() == [0, *range((n - 511) // 16, n // 16)]
    assert kept.prefix(n) == n - 511
    assert (kept.pinned, kept.ring, kept.slots(n), kept.capacity) == (4, 512, 516, 516)


def test_what_no_ring_serves_says_so():
    kept = retention(text("causal & q - k <= k"))
    assert kept.bounded is False and kept.capacity is None and kept.slots(8) is None
    assert kept.held(9).tolist() == [5, 6, 7, 8] == sorted(needed(text("causal & q - k <= k"), 9)[9])
    for call in (lambda: kept.slot(3), lambda: kept.keys_of_slots(3)):
        with pytest.raises(ValueError, match="no ring suffices"):
            call()
    for call in (lambda: kept.held(-1), lambda: kept.pages(4, 0), lambda: kept.skipped(2.5)):
        with pytest.raises(ValueError, match="SP0601"):
            call()
