"""Polynomials with rational coefficients in named variables, and their factors.

SymPy has them too, and takes longer to import than the rest of `sparsec cost` to run: it is asked only for what is
rare, the factors of cubics that may have some, and beyond.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import gcd, isqrt, lcm

Exponents = tuple[int, ...]  # one for each name
_PRIMES = (5, 7, 11, 13)

Factors = list[tuple["Polynomial", int]]  # (factor, multiplicity)


class Polynomial:
    """The sum of `numerators`, a number for each product of powers, over one `denominator`; in lowest terms."""

    def __init__(self, names: Sequence[str], numerators: Mapping[Exponents, int], denominator: int = 1) -> None:
        common = 1 if denominator == 1 else gcd(denominator, *numerators.values())
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
        if not isinstance(other, Polynomial):
            scaled = {powers: factor * other.numerator for powers, factor in self.numerators.items()}
            return Polynomial(self.names, scaled, self.denominator * other.denominator)
        total: defaultdict[Exponents, int] = defaultdict(int)
        for powers, factor in self.numerators.items():
            for more, scale in other.numerators.items():
                total[tuple(map(int.__add__, powers, more))] += factor * scale
        return Polynomial(self.names, total, self.denominator * other.denominator)

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other: Polynomial | int | Fraction) -> Polynomial:
        return self + other * -1

    def __rsub__(self, other: int | Fraction) -> Polynomial:
        return self * -1 + other

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
        found, total = self.by_power(place), Polynomial(self.names, {})
        for power in range(max(found, default=0), -1, -1):
            total *= value
            if power in found:
                total += found[power]
        return total

    @property
    def degree(self) -> int:
        return max(map(sum, self.numerators), default=0)

    def primitive(self) -> tuple[Fraction, Polynomial]:
        """(content, the polynomial over it): integers without a common divisor, the first one positive; not of 0."""
        content = gcd(*self.numerators.values()) * (1 if self.numerators[max(self.numerators)] > 0 else -1)
        return Fraction(content, self.denominator), self * Fraction(self.denominator, content)

    def factors(self) -> tuple[Fraction, Factors]:
        """The content, and the irreducible factors with their multiplicities."""
        if not self.numerators:
            return Fraction(0), []
        content, whole = self.primitive()
        lowest = [min(powers) for powers in zip(*whole.numerators, strict=True)]
        found = [(Polynomial.variable(self.names, place), power) for place, power in enumerate(lowest) if power]
        shifted = {tuple(map(int.__sub__, powers, lowest)): factor for powers, factor in whole.numerators.items()}
        rest = Polynomial(self.names, shifted)
        if rest.degree == 3 and _has_no_linear_factor(rest):
            found.append((rest, 1))
        elif rest.degree > 2:
            found += _by_sympy(rest)
        elif rest.degree == 2:
            found += _of_quadratic(rest)
        elif rest.degree:
            found.append((rest, 1))
        return content, sorted(found, key=_order)


def _order(factor: tuple[Polynomial, int]) -> tuple[int, int, list[tuple[Exponents, int]]]:
    """Short factors of the first variable come first, and of two the one with the smaller numbers."""
    polynomial, power = factor
    first = max(powers[0] for powers in polynomial.numerators)
    return first, power, sorted(polynomial.numerators.items(), reverse=True)


def _of_quadratic(whole: Polynomial) -> Factors:
    """The factors of a primitive polynomial of degree 2 that no variable divides."""
    halves = _halves(whole)
    if not halves:
        return [(whole, 1)]
    first, second = (half.primitive()[1] for half in halves)
    return [(first, 2)] if first.numerators == second.numerators else [(first, 1), (second, 1)]


def _halves(whole: Polynomial) -> list[Polynomial]:
    """Two linear polynomials whose product it is but for a number, if there are such."""
    place = _squared(whole)
    if place is None:  # with x + y for x, a term x * y has the square of y
        i, j = (place for place, power in enumerate(max(whole.numerators, key=sum)) if power)
        x, y = (Polynomial.variable(whole.names, place) for place in (i, j))
        return [half.at(i, x - y) for half in _halves(whole.at(i, x + y))]
    x, (a, b, c) = Polynomial.variable(whole.names, place), (whole.coefficient(place, power) for power in (2, 1, 0))
    root = _root(b * b - a * c * 4)
    return [] if root is None else [x * a * 2 + b + root, x * a * 2 + b - root]


def _root(square: Polynomial) -> Polynomial | None:
    """The linear polynomial whose square it is, up to its sign."""
    place = _squared(square)
    if place is None:
        root = Polynomial.constant(square.names, isqrt(max(0, 0, *square.numerators.values())))
    else:
        x, a, b = Polynomial.variable(square.names, place), square.coefficient(place, 2), square.coefficient(place, 1)
        side = isqrt(max(0, *a.numerators.values()))
        root = x * side + b / (2 * side or 1)
    return root if not len(root * root - square) else None


def _squared(value: Polynomial) -> int | None:
    """The place of a variable whose square is there."""
    return next((powers.index(2) for powers in value.numerators if 2 in powers), None)


def _has_no_linear_factor(cubic: Polynomial) -> bool:
    """Whether it is seen that a primitive cubic is irreducible; False says nothing.

    Let x ** 3 have a number before it.  A linear factor has x in it then, and a number that divides this one before x:
    modulo a prime that does not divide it, there is a root x, whatever integers stand for the other variables.
    """
    for powers, lead in cubic.numerators.items():
        if 3 not in powers:
            continue
        place = powers.index(3)
        for prime in _PRIMES:
            if lead % prime and not all(_has_root(cubic, place, others, prime) for others in range(prime)):
                return True
    return False


def _has_root(cubic: Polynomial, place: int, others: int, prime: int) -> bool:
    """Whether some value of a variable makes it 0 modulo a prime, with `others` for all other variables."""
    along = [0] * 4  # what stands before the powers of the variable
    for powers, factor in cubic.numerators.items():
        along[powers[place]] += factor * others ** (sum(powers) - powers[place])
    return any(not sum(factor * x**power for power, factor in enumerate(along)) % prime for x in range(prime))


def _by_sympy(polynomial: Polynomial) -> Factors:
    from sympy import ZZ
    from sympy.polys.rings import ring

    domain = ring(polynomial.names, ZZ)[0]
    _, factors = domain.from_dict(polynomial.numerators).factor_list()
    return [
        (Polynomial(polynomial.names, {powers: int(factor) for powers, factor in each.terms()}).primitive()[1], power)
        for each, power in factors
    ]
