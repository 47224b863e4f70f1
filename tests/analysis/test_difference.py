"""What two conditions differ in, with what they share taken out, is what they differ in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsec.analysis import samples
from sparsec.analysis.difference import Difference, difference
from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.sets.context import OutOfBudget, budget
from sparsec.testing.programs import conditions, tables, terms

LENGTHS = (1, 7, 40)
_parts = st.lists(conditions(1, terms() | tables()), min_size=2, max_size=5)


def differing(one: ir.Set, other: ir.Set) -> list[np.ndarray]:
    return [mask(one, n, n) != mask(other, n, n) for n in LENGTHS]


def holds(found: Difference, one: ir.Set, other: ir.Set) -> None:
    whole = ir.And((found.core, *found.inside, *(ir.Not(part) for part in found.outside)))
    for n, expected in zip(LENGTHS, differing(one, other), strict=True):
        np.testing.assert_array_equal(mask(whole, n, n), expected)
    try:
        with budget(20_000):
            proved = found.none()
    except OutOfBudget:
        return
    assert not proved or not any(map(np.any, differing(one, other)))
    assert not proved or not found.seen(500)


@given(_parts, st.integers(0, 4), terms(), st.booleans())
def test_a_union_without_a_part(parts, place, common, below):
    """Also below a union in an intersection, and where a part has taken something away."""
    place %= len(parts)
    one, other = algebra.disjunction(*parts), algebra.disjunction(*parts[:place], *parts[place + 1 :])
    if below:
        one, other = (algebra.disjunction(common, algebra.conjunction(parts[0], each)) for each in (one, other))
    holds(difference(one, other), one, other)


@given(_parts, terms())
def test_without_what_is_taken_away(parts, common):
    one = algebra.conjunction(common, *map(algebra.complement, parts))
    other = algebra.conjunction(common, *map(algebra.complement, parts[1:]))
    holds(difference(one, other), one, other)


@given(conditions(), conditions())
def test_any_two(one, other):
    holds(difference(one, other), one, other)


def test_shared_parts_are_taken_out():
    parts = tuple(ir.Compare(ir.Var("q"), "==", ir.Const(value)) for value in range(9))
    causal = ir.Compare(ir.Var("k"), "<=", ir.Var("q"))
    one, other = (ir.And((causal, ir.Or(some))) for some in (parts, parts[:4] + parts[5:]))
    assert difference(one, other) == Difference(parts[4], (causal,), parts[:4] + parts[5:])


def test_looks_count_what_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is a union of hundreds takes hundreds of looks, so that few points are tried."""
    taken = [0]
    holds = samples.holds

    def counted(node: ir.Set, *arguments: object) -> bool:
        taken[0] += isinstance(node, ir.Compare)
        return holds(node, *arguments)

    monkeypatch.setattr(samples, "holds", counted)
    q, k = ir.Var("q"), ir.Var("k")
    never = ir.Or(tuple(ir.Compare(ir.Sub(k, q), "==", ir.Const(1_000_000 + place)) for place in range(500)))
    assert not Difference(never).seen(2000)
    assert 500 <= taken[0] <= 12_000
