"""Polynomials with rational coefficients in named variables, and their factors.

SymPy has them too, and takes longer to import than `sparsec cost` to run: it is asked only for what is rare, the
factors of cubics and beyond.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from math import gcd, isqrt, lcm

Exponents = tuple[int, ...]  # one for each name
Factors = list[tuple["Polynomial", int]]  # (factor, multiplicity)


class Polynomial:
    """The sum of `numerators`, a number for each product of powers, over one `denominator`; in lowest terms."""

    def __init__(self, names: Sequence[str], numerators: Mapping[Exponents, int], denominator: int = 1) -> None:
        common = gcd(denominator, *numerators.values())
        self.names = tuple(names)
        self.numerators = {powers: factor // common for powers, factor in numerators.items() if factor}
        self.denominator = denominator // common

    @classmethod
    def constant(cls, names: Sequence[str], value: int | Fraction) -> Polynomial:
        return cls(names, {(0,) * len(names): value.numerator}, value.denominator)

    @classmethod
    def variable(cls, names: Sequence[str], place: int) -> Polynomial:
        return cls(names, {tuple(int(i == place) for i in range(len(names))): 1})

    def __len__(self) -> int:
        """The number of terms."""
        return len(self.numerators)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and self._key == other._key

    def __hash__(self) -> int:
        return hash((self.denominator, frozenset(self.numerators.items())))

    @property
    def _key(self) -> tuple[tuple[str, ...], int, Mapping[Exponents, int]]:
        return self.names, self.denominator, self.numerators

    def __add__(self, other: Polynomial | int | Fraction) -> Polynomial:
        other = self._lifted(other)
        denominator = lcm(self.denominator, other.denominator)
        total: defaultdict[Exponents, int] = defaultdict(int)
        for each in (self, other):
            scale = denominator // each.denominator
            for powers, factor in each.numerators.items():
                total[powers] += factor * scale
        return Polynomial(self.names, total, denominator)

    def __mul__(self, other: Polynomial | int | Fraction) -> Polynomial:
        other = self._lifted(other)
        total: defaultdict[Exponents, int] = defaultdict(int)
        for powers, factor in self.numerators.items():
            for more, scale in other.numerators.items():
                total[tuple(map(int.__add__, powers, more))] += factor * scale
        return Polynomial(self.names, total, self.denominator * other.denominator)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Polynomial:
        return self * -1

    def __sub__(self, other: Polynomial | int | Fraction) -> Polynomial:
        return self + -other

    def __rsub__(self, other: int | Fraction) -> Polynomial:
        return -self + other

    def __truediv__(self, divisor: int) -> Polynomial:
        return self * Fraction(1, divisor)

    def _lifted(self, other: Polynomial | int | Fraction) -> Polynomial:
        return other if isinstance(other, Polynomial) else Polynomial.constant(self.names, other)

    def terms(self) -> Iterator[tuple[Exponents, Fraction]]:
        """(powers, coefficient) of each term."""
        return ((powers, Fraction(factor, self.denominator)) for powers, factor in self.numerators.items())

    def by_power(self, place: int) -> dict[int, Polynomial]:
        """The coefficients of the powers of one variable that occur, the highest first."""
        found: defaultdict[int, dict[Exponents, int]] = defaultdict(dict)
        for powers, factor in self.numerators.items():
            found[powers[place]][(*powers[:place], 0, *powers[place + 1 :])] = factor
        return {power: Polynomial(self.names, found[power], self.denominator) for power in sorted(found, reverse=True)}

    def coefficient(self, place: int, power: int) -> Polynomial:
        """What stands before that power of a variable."""
        return self.by_power(place).get(power, Polynomial(self.names, {}))

    def at(self, place: int, value: Polynomial | int) -> Polynomial:
        """The polynomial with `value` in the place of a variable."""
        total, last = Polynomial(self.names, {}), 0
        for power, rest in self.by_power(place).items():
            for _ in range(last - power):
                total *= value
            total, last = total + rest, power
        for _ in range(last):
            total *= value
        return total

    @cached_property
    def degree(self) -> int:
        return max(map(sum, self.numerators), default=0)

    @property
    def leading(self) -> Exponents:
        """The term that comes first by the powers of the first variable, then of the second, and so on."""
        return max(self.numerators)

    def primitive(self) -> tuple[Fraction, Polynomial]:
        """(content, the polynomial over it): integers without a common divisor, the leading one positive; not of 0."""
        content = gcd(*self.numerators.values()) * (1 if self.numerators[self.leading] > 0 else -1)
        return Fraction(content, self.denominator), self * Fraction(self.denominator, content)

    def factors(self) -> tuple[Fraction, Factors]:
        """The content, and the irreducible factors with their multiplicities."""
        if not self.numerators:
            return Fraction(0), []
        content, rest = self.primitive()
        lowest = [min(powers) for powers in zip(*rest.numerators, strict=True)]
        found = [(Polynomial.variable(self.names, place), power) for place, power in enumerate(lowest) if power]
        shifted = {
            tuple(power - low for power, low in zip(powers, lowest, strict=True)): factor
            for powers, factor in rest.numerators.items()
        }
        rest = Polynomial(self.names, shifted)
        if rest.degree > 2:
            found += _by_sympy(rest)
        elif rest.degree == 2 and (halves := _halves(rest)):
            first, second = halves
            found += [(first, 2)] if first == second else [(first, 1), (second, 1)]
        elif rest.degree:
            found.append((rest, 1))
        return content, sorted(found, key=_order)


def _order(factor: tuple[Polynomial, int]) -> tuple[int, int, list[tuple[Exponents, int]]]:
    """Short factors of the first variable come first, and of two the one with the smaller numbers."""
    polynomial, power = factor
    first = max(powers[0] for powers in polynomial.numerators)
    return first, power, sorted(polynomial.numerators.items(), reverse=True)


def _halves(quadratic: Polynomial) -> tuple[Polynomial, Polynomial] | None:
    """The two linear factors of a primitive polynomial of degree 2 that no variable divides, if it has such."""
    places = range(len(quadratic.names))
    squared = next((place for place in places if any(powers[place] == 2 for powers in quadratic.numerators)), None)
    if squared is not None:  # a x^2 + b x + c, whose discriminant has to be a square
        x = Polynomial.variable(quadratic.names, squared)
        a, b, c = (quadratic.coefficient(squared, power) for power in (2, 1, 0))
        root = _root(b * b - a * c * 4)
        return None if root is None else tuple((x * a * 2 + b + sign * root).primitive()[1] for sign in (1, -1))  # type: ignore[return-value]
    mixed = next(place for place in places if quadratic.coefficient(place, 1).degree == 1)  # b x + c
    b, c = quadratic.coefficient(mixed, 1).primitive()[1], quadratic.coefficient(mixed, 0)
    place = next(place for place in places if b.coefficient(place, 1).numerators)
    slope = b.coefficient(place, 1)
    [factor] = slope.numerators.values()
    zero = (b - Polynomial.variable(b.names, place) * factor) * Fraction(-1, factor)
    if c.at(place, zero).numerators:  # not divided by b
        return None
    other = _divided(quadratic, b)
    return b, other.primitive()[1]


def _divided(whole: Polynomial, divisor: Polynomial) -> Polynomial:
    """The quotient of two polynomials of which one divides the other."""
    quotient, rest = Polynomial(whole.names, {}), whole
    lead = divisor.leading
    while rest.numerators:
        powers = tuple(high - low for high, low in zip(rest.leading, lead, strict=True))
        factor = Fraction(rest.numerators[rest.leading], rest.denominator) / divisor.numerators[lead]
        term = Polynomial(whole.names, {powers: factor.numerator}, factor.denominator)
        quotient, rest = quotient + term, rest - term * divisor
    return quotient


def _root(square: Polynomial) -> Polynomial | None:
    """The linear polynomial with integers whose square it is, up to its sign."""
    names = square.names
    units = [Polynomial.variable(names, place).leading for place in range(len(names))] + [(0,) * len(names)]
    sizes = {unit: square.numerators.get(tuple(2 * power for power in unit), 0) for unit in units}
    if min(sizes.values()) < 0:
        return None
    roots = {unit: isqrt(size) for unit, size in sizes.items() if size}
    first = next(iter(roots), None)
    for unit in roots:
        product = square.numerators.get(tuple(map(int.__add__, first, unit)), 0) if first and unit != first else 1
        roots[unit] *= -1 if product < 0 else 1
    root = Polynomial(names, roots)
    return root if root * root == square else None


def _by_sympy(polynomial: Polynomial) -> Factors:
    from sympy import ZZ
    from sympy.polys.rings import ring

    domain = ring(polynomial.names, ZZ)[0]
    _, factors = domain.from_dict(polynomial.numerators).factor_list()
    return [
        (Polynomial(polynomial.names, {powers: int(factor) for powers, factor in each.terms()}).primitive()[1], power)
        for each, power in factors
    ]
