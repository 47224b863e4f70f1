"""Polynomials and their factors, beside SymPy's."""

from __future__ import annotations

import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy.polys.rings import ring

from sparsec.analysis.polynomials import Polynomial
from sparsec.analysis.summation import _faulhaber

NAMES = ("x", "y", "z")
RING = ring(NAMES, sympy.QQ)[0]
NUMBERS = st.integers(-6, 6)
POWERS = st.tuples(*[st.integers(0, 2)] * 3).filter(lambda powers: sum(powers) <= 2)
CUBED = st.tuples(*[st.integers(0, 3)] * 3).filter(lambda powers: sum(powers) <= 3)
POLYNOMIALS = st.builds(Polynomial, st.just(NAMES), st.dictionaries(POWERS, NUMBERS, max_size=5), st.integers(1, 6))
LINEAR = st.builds(
    lambda numbers, constant: sum((Polynomial.variable(NAMES, i) * n for i, n in enumerate(numbers)), constant * ONE),
    st.tuples(*[NUMBERS] * 3),
    NUMBERS,
)
ONE = Polynomial.constant(NAMES, 1)


def same(value: Polynomial):
    """The polynomial as SymPy has it."""
    return RING.from_dict(
        {powers: sympy.QQ(factor.numerator, factor.denominator) for powers, factor in value.terms() if factor}
    )


@given(POLYNOMIALS, POLYNOMIALS, POLYNOMIALS)
def test_arithmetic(a: Polynomial, b: Polynomial, c: Polynomial) -> None:
    assert same(a * b - c + 3) == same(a) * same(b) - same(c) + 3
    assert same((1 - a) / 4) == (1 - same(a)) / 4
    assert same(a.at(1, b)) == same(a).compose(RING.gens[1], same(b))
    assert same(a.coefficient(0, 1)) == same(a).coeff_wrt(0, 1)
    assert not len(a - a)
    assert same(a + b) == same(b + a)


def factored(value: Polynomial) -> set:
    """What SymPy finds, each factor primitive and with its leading number above 0."""
    return {(each.primitive()[1] * (1 if each.LC > 0 else -1), power) for each, power in same(value).factor_list()[1]}


@given(st.one_of(POLYNOMIALS, st.builds(Polynomial.__mul__, LINEAR, LINEAR), st.builds(lambda a: a * a * 2, LINEAR)))
def test_factors(value: Polynomial) -> None:
    content, factors = value.factors()
    product = ONE * content
    for each, power in factors:
        for _ in range(power):
            product *= each
    assert same(product) == same(value)
    if value.numerators:
        assert {(same(each), power) for each, power in factors} == factored(value)


@given(
    st.one_of(
        st.builds(lambda a, b, c: a * b * c, LINEAR, LINEAR, LINEAR),
        st.builds(Polynomial.__mul__, LINEAR, POLYNOMIALS),
        st.builds(Polynomial, st.just(NAMES), st.dictionaries(CUBED, NUMBERS, max_size=6)),
    )
)
def test_factors_of_cubics(value: Polynomial) -> None:
    content, factors = value.factors()
    assert (not value.numerators) == (content == 0)
    if value.numerators:
        assert {(same(each), power) for each, power in factors} == factored(value)


@given(st.integers(0, 6), st.integers(0, 12))
def test_sums_of_powers(power: int, end: int) -> None:
    total = 0
    for factor in _faulhaber(power):
        total = total * end + factor
    assert total == sum(i**power for i in range(1, end + 1))
