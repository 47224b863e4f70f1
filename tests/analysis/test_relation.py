"""Verdicts agree with the reference's masks, and every pair is real."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.analysis.find import find
from sparsec.analysis.relation import Relation, overall, relations
from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.lower.file import lower
from sparsec.sets import budgets
from sparsec.sets.witness import Witness
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read
from sparsec.testing.programs import conditions, match_programs, tables, terms

EXAMPLES = Path(__file__).parents[2] / "examples"
LENGTHS = (1, 2, 3, 5, 8, 13, 21)


def alone(condition: ir.Set) -> ir.Pattern:
    return ir.Pattern("p", "", "", (), (condition,))


def bound(text: str, **given) -> ir.Pattern:
    return lower(parse(Source("p", f"pattern p = {text}\n")), **given)


def compared(one: str, other: str, **given) -> Relation:
    return overall(relations(bound(one, **given), bound(other, **given)))


def masks(condition: ir.Set, n: int) -> np.ndarray:
    """Bool [2 n, n]: queries among the keys, and as many beyond."""
    return mask(condition, 2 * n, n, q_offset=0)


def agrees(found: Relation, one: ir.Set, other: ir.Set) -> None:
    sides = {
        "only_a": lambda n, where: where(one, n) & ~where(other, n),
        "only_b": lambda n, where: where(other, n) & ~where(one, n),
        "both": lambda n, where: where(one, n) & where(other, n),
    }
    for side, kept in sides.items():
        answer = getattr(found, side)
        if answer.pair is not None:
            pair = answer.pair
            assert kept(pair.n, lambda each, n, q=pair.q: mask(each, 1, n, q_offset=q))[0, pair.k]
        assert (answer.status == "pair") == (answer.pair is not None)
        if side != "both" or one != other:
            for n in LENGTHS:
                assert answer.status != "none" or not kept(n, masks).any()
                assert n > answer.clear or not kept(n, masks)[:n].any()


@given(conditions(1), conditions(1))
def test_affine_conditions(one, other):
    found = overall(relations(alone(one), alone(other)))
    agrees(found, one, other)
    assert found.verdict not in ("different", "undecided")


@settings(max_examples=25)
@given(conditions(1), conditions(1))
def test_a_condition_and_what_is_more(one, other):
    (found,) = relations(alone(one), alone(ir.Or((one, other))))
    agrees(found, one, ir.Or((one, other)))
    assert found.verdict in ("equal", "A in B")


@settings(max_examples=25)
@given(conditions(1, terms() | tables()), conditions(1, terms() | tables()))
def test_conditions_with_tables(one, other):
    agrees(overall(relations(alone(one), alone(other))), one, other)


@settings(max_examples=20)
@given(conditions(1), conditions(1))
def test_without_a_budget_answers_are_honest(one, other):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budgets, "DIFFERENCE", 1)
        found = overall(relations(alone(one), alone(other)))
    agrees(found, one, other)
    assert found.verdict != "equal" or one == other


@settings(max_examples=15)
@given(st.data())
def test_heads(data):
    one, other = data.draw(match_programs()), data.draw(match_programs())
    heads = max(one.heads, other.heads)
    a, b = (ir.Pattern("p", "", "", (), *_spread(program.conditions, heads)) for program in (one, other))
    parts = relations(a, b)
    assert sorted(head for part in parts for head in part.heads) == list(range(heads))
    for part in parts:
        for head in part.heads:
            agrees(part, *(each.conditions[each.head_conditions[head]] for each in (a, b)))


def _spread(given: tuple[ir.Set, ...], heads: int) -> tuple[tuple[ir.Set, ...], tuple[int, ...]]:
    listed = [given[head % len(given)] for head in range(heads)]
    distinct = tuple(dict.fromkeys(listed))
    return distinct, tuple(map(distinct.index, listed))


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("past(8)", "causal & window(14)", "equal"),
        ("~(k > q)", "causal", "equal"),
        ("sinks(4) | past(8)", "causal", "A in B"),
        ("causal", "past(100_000)", "B in A"),
        ("causal", "k > q", "disjoint"),
        ("past(8)", "sinks(8)", "overlapping"),
        ("stride(2) & q % 2 == 0", "stride(2) & q % 2 == 1", "disjoint"),
        ("k in 0..4 & q in 0..8", "blocks(4, [[0], [0]])", "equal"),
        ("random_blocks(4, 2, 1) & causal", "causal", "A in B"),
        ("random_past_blocks(1, 2, 1)", "causal", "A in B"),
        ("random_past_blocks(4, 2, 1)", "k < q + 4", "A in B"),
        ("random_keys(3, 1) | past(4)", "random_keys(3, 1) | (causal & window(6))", "equal"),
        ("random_keys(3, 1)", "random_keys(3, 2)", "overlapping"),
        ("random_blocks(100, 3, 1)", "random_blocks(100, 3, 2)", "overlapping"),
        ("past(4) | random_keys(1, 0)", "past(4)", "B in A"),
    ],
)
def test_verdicts(one, other, verdict):
    found = compared(one, other)
    assert found.verdict == verdict
    mirrored = {"A in B": "B in A", "B in A": "A in B"}
    assert compared(other, one).verdict == mirrored.get(verdict, verdict)


def test_the_first_length_that_differs():
    found = compared("past(1000)", "causal")
    assert (found.only_b.pair.n, found.only_b.pair.q, found.only_b.pair.k) == (1001, 1000, 0)
    assert found.same_up_to == 1000


def test_differences_for_queries_beyond_the_keys_only():
    found = compared("causal", "causal & q < n")
    assert found.verdict == "B in A"
    assert found.same_up_to == math.inf
    assert found.only_a.pair.q >= found.only_a.pair.n


def test_random_choices_that_no_search_tells_apart():
    """Which tables differ where is known only by looking, and 9,000 blocks of 1,000 are all blocks up to there."""
    found = compared("random_blocks(1000, 9000, 1)", "random_blocks(1000, 9000, 2)")
    assert found.verdict == "undecided"
    assert found.same_up_to == 64


def test_heads_with_equal_relations_stand_together():
    parts = relations(bound("past(h + 1)", heads=4), bound("past(2)", heads=4))
    assert [(part.heads, part.verdict) for part in parts] == [((0,), "A in B"), ((1,), "equal"), ((2, 3), "B in A")]
    assert overall(parts).verdict == "overlapping"


def test_a_pattern_for_heads_and_one_for_any():
    (part,) = relations(bound("past(h // 8 + 1)", heads=4), bound("past(1)"))
    assert (part.heads, part.verdict) == ((0, 1, 2, 3), "equal")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.spat")), ids=lambda path: path.stem)
def test_examples_are_decided(path):
    pattern, causal = lower(parse(read(path)), heads=4, layer=0), bound("causal")
    assert overall(relations(pattern, causal)).verdict not in ("different", "undecided")


def test_no_pair_of_nothing():
    assert find(ir.FALSE).status == "none"
    assert find(ir.TRUE).pair == Witness(1, 0, 0)
