"""Nested sums of polynomials, closed by Faulhaber's formulas: n, floors of n, and nothing else is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache, lru_cache
from itertools import zip_longest
from math import ceil, comb, floor, gcd, lcm

import numpy as np

from sparsec.analysis.polynomials import Polynomial
from sparsec.sets.affine import Affine
from sparsec.sets.context import spend
from sparsec.sets.loop_nests import Loop, Nest

_N = Affine.name("n")
_LONGEST = 4096  # most values of n that are tried one by one
_SMALL = 1 << 31  # products of two such numbers fit 64 bits
_MOST_STEPS = 4
_MOST_FLOORS = 12
_MOST_TERMS = 200
_STEPS = 300  # of a budget, for a loop that is summed


class NotPolynomial(Exception):
    """The sum is no polynomial in n and a few floors of n, or a very long one."""


@dataclass(slots=True)
class Floors:
    """Floors of n in one canonical form each: name -> (value, divisor), in an order in which they can be computed."""

    known: dict[str, tuple[Affine, int]] = field(default_factory=dict)

    def floor(self, value: Affine, divisor: int) -> Affine:
        """floor(value / divisor), with whatever is divisible taken out of the floor."""
        rest = Affine.of((name, _centred(factor, divisor)) for name, factor in value.terms)
        whole = Affine.of((name, (factor - rest[name]) // divisor) for name, factor in value.terms)
        if not rest.terms:
            return whole + value.constant // divisor
        if rest.terms[0][1] < 0:  # floor(v / s) == -floor((-v + s - 1) / s)
            return whole + self._named(rest * -1, divisor - 1 - value.constant, divisor) * -1
        return whole + self._named(rest, value.constant, divisor)

    def _named(self, rest: Affine, constant: int, divisor: int) -> Affine:
        common = gcd(divisor, *(factor for _, factor in rest.terms))
        rest = Affine.of((name, factor // common) for name, factor in rest.terms)
        constant, divisor = constant // common, divisor // common
        if len(rest.terms) == 1 and rest.terms[0][1] == 1 and rest.terms[0][0] in self.known:
            inner, inner_divisor = self.known[rest.terms[0][0]]  # (v // d + c) // s == (v + c d) // (d s)
            return self.floor(inner + constant * inner_divisor, inner_divisor * divisor)
        whole, constant = divmod(constant, divisor)
        if divisor == 1:
            return rest + whole
        key = (rest + constant, divisor)
        name = next((name for name, other in self.known.items() if other == key), f"e{len(self.known)}")
        self.known[name] = key
        return Affine.name(name) + whole

    def line(self, value: Affine) -> tuple[Fraction, Fraction, Fraction]:
        """(slope, low, high) with slope * n + low <= value <= slope * n + high for every n."""
        slope, low, high = Fraction(0), Fraction(value.constant), Fraction(value.constant)
        for name, factor in value.terms:
            if name == "n":
                slope += factor
                continue
            inner, divisor = self.known[name]
            rise, least, most = (part / divisor for part in self.line(inner))
            least -= Fraction(divisor - 1, divisor)
            slope += factor * rise
            low += factor * (least if factor > 0 else most)
            high += factor * (most if factor > 0 else least)
        return slope, low, high

    def period(self, value: Affine) -> int:
        """A number after which `value` repeats, but for its slope.  Raises NotPolynomial when it is large."""
        period = 1
        for name in value.names:
            if name != "n":
                inner, divisor = self.known[name]
                period = lcm(period, divisor * self.period(inner))
        if period > _LONGEST:
            raise NotPolynomial
        return period

    def at(self, value: Affine, n: int | np.ndarray) -> int | np.ndarray:
        """The value of an affine expression over n and floors, at one n or at an array of them."""
        total: int | np.ndarray = value.constant
        for name, factor in value.terms:
            if name == "n":
                total += factor * n
            else:
                inner, divisor = self.known[name]
                total += factor * (self.at(inner, n) // divisor)
        return total

    def values(self, n: int) -> dict[str, int]:
        """The values of n and of every floor."""
        values = {"n": n}
        for name, (value, divisor) in self.known.items():
            values[name] = value.at(values) // divisor
        return values


@dataclass(frozen=True, slots=True)
class Part:
    """`value`, a polynomial in n and floors, added for first <= n <= last (None: no end)."""

    first: int
    last: int | None
    value: Polynomial

    def covers(self, n: int) -> bool:
        return self.first <= n and (self.last is None or n <= self.last)


@dataclass(frozen=True, slots=True)
class Sum:
    """Polynomials in `names`, each for its range of n."""

    parts: tuple[Part, ...]
    floors: Floors
    names: tuple[str, ...]

    def edges(self) -> list[int]:
        """The n from which on another set of parts counts, rising; 1 among them."""
        ends = {part.last + 1 for part in self.parts if part.last is not None}
        return sorted({1, *ends, *(part.first for part in self.parts)})

    def at(self, n: int) -> Polynomial:
        """The polynomial that holds from the edge before n to the one after it."""
        return sum((part.value for part in self.parts if part.covers(n)), Polynomial(self.names, {}))


def summed(nests: Iterable[Nest]) -> Sum:
    """The sum of the nests as polynomials over n and floors of n.  Raises NotPolynomial, OutOfBudget."""
    floors = Floors()
    flat = [_flattened(nest, floors) for nest in nests]
    variables = {loop.variable for item in flat for loop in item.loops}
    if len(floors.known) > _MOST_FLOORS:
        raise NotPolynomial
    names = (*sorted(variables), "n", *floors.known)
    parts = []
    for item in flat:
        spend(_STEPS * (1 + len(item.loops)))
        value = _closed(item, names) if item.ranges else Polynomial(names, {})
        parts += [Part(first, last, value) for first, last in item.ranges]
    return Sum(tuple(parts), floors, names)


@dataclass(frozen=True, slots=True)
class _Flat:
    """A nest over loop variables, n and canonical floors."""

    weight: int
    loops: tuple[Loop, ...]
    factors: tuple[Affine, ...]  # 0 or 1, for single-valued loops and for guards that repeat with n
    ranges: list[tuple[int, int | None]]  # of n, from the other guards


def _flattened(nest: Nest, floors: Floors) -> _Flat:
    definitions = {floor.name: floor for floor in nest.floors}
    singles = {loop.variable: loop.upper for loop in nest.loops if loop.single}

    def resolved(value: Affine) -> Affine:
        result = Affine((), value.constant)
        for name, factor in value.terms:
            result += known(name) * factor
        return result

    @cache
    def known(name: str) -> Affine:
        if name in definitions:
            return floors.floor(resolved(definitions[name].value), definitions[name].divisor)
        return resolved(singles[name]) if name in singles else Affine.name(name)

    loops = tuple(replace(loop, lower=resolved(loop.lower), upper=resolved(loop.upper)) for loop in nest.loops)
    guards = [resolved(guard) for guard in nest.guards]
    sloped = [guard for guard in guards if floors.line(guard)[0]]
    factors = [loop.upper - loop.lower + 1 for loop in loops if loop.single]
    factors += [_repeating(guard, floors) for guard in guards if guard not in sloped]
    return _Flat(nest.weight, tuple(loop for loop in loops if not loop.single), tuple(factors), _ranges(sloped, floors))


def _repeating(guard: Affine, floors: Floors) -> Affine:
    """1 where a guard without slope is >= 0, else 0, as a sum of floors."""
    _, low, high = floors.line(guard)
    if low >= 0 or high < 0:
        return Affine((), int(low >= 0))
    period = floors.period(guard)
    signs = [False, *(floors.at(guard, period + r) >= 0 for r in range(period))]
    steps = [r for r in range(period) if signs[r] != signs[r + 1]]
    if len(steps) > _MOST_STEPS:
        raise NotPolynomial
    total = Affine((), 0)
    for r in steps:  # [n % s >= r] == (n + s - r) // s - n // s
        step = floors.floor(_N + (period - r), period) - floors.floor(_N, period)
        total += step * (1 if signs[r + 1] else -1)
    return total


def _ranges(guards: list[Affine], floors: Floors) -> list[tuple[int, int | None]]:
    """The n, at least 1, for which all guards are >= 0, as intervals."""
    ranges: list[tuple[int, int | None]] = [(1, None)]
    for guard in guards:
        ranges = [
            (max(first, other), _least(last, end))
            for first, last in ranges
            for other, end in _range(guard, floors)
            if (end is None or end >= first) and (last is None or other <= last)
        ]
    return ranges


def _range(guard: Affine, floors: Floors) -> list[tuple[int, int | None]]:
    """The n, at least 1, for which guard >= 0: evaluated where floors could decide, else by its slope."""
    slope, low, high = floors.line(guard)
    before, after = sorted((-low / slope, -high / slope))  # outside of them, the sign is that of the line
    begin, end = max(1, floor(before)), max(1, ceil(after) + 1)
    if end - begin > _LONGEST:
        raise NotPolynomial
    exact: type = np.int64 if max(end, abs(guard.constant)) < _SMALL else object
    values = np.asarray(floors.at(guard, np.arange(begin, end, dtype=exact)))
    signs = [slope < 0, *(values >= 0).tolist(), slope > 0]
    edges = [begin + i for i in range(len(signs) - 1) if signs[i] != signs[i + 1]]
    if signs[0]:
        edges = [1, *edges]
    ends = [edge - 1 for edge in edges[1:]]
    return [pair for pair in zip_longest(edges[::2], ends[::2]) if pair[1] is None or pair[0] <= pair[1]]


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _closed(item: _Flat, names: tuple[str, ...]) -> Polynomial:
    total = Polynomial.constant(names, item.weight)
    for loop in item.loops:
        total = _sum(total, loop)
    for factor in item.factors:
        total *= _polynomial(factor, names)
    if len(total) > _MOST_TERMS:
        raise NotPolynomial
    return total


def _sum(summand: Polynomial, loop: Loop) -> Polynomial:
    """The sum of `summand` over loop.variable = lower..upper, as a polynomial."""
    names = summand.names
    total = Polynomial(names, {})
    for power, rest in summand.by_power(names.index(loop.variable)).items():
        total += rest * (_powers(power, loop.upper, names) - _powers(power, loop.lower - 1, names))
    return total


@lru_cache(maxsize=4096)  # loops of a set have few ends
def _powers(power: int, end: Affine, names: tuple[str, ...]) -> Polynomial:
    """1**power + ... + end**power as a polynomial in `end` (Faulhaber), which is also right for end <= 0."""
    total, base = Polynomial(names, {}), _polynomial(end, names)
    for factor in _faulhaber(power):
        total = total * base + factor
    return total


@cache
def _faulhaber(power: int) -> tuple[Fraction, ...]:
    """Coefficients of the sum of powers, highest degree first; B(1) = 1/2."""
    return (*(comb(power + 1, j) * _bernoulli(j) / (power + 1) for j in range(power + 1)), Fraction(0))


@cache
def _bernoulli(place: int) -> Fraction:
    before = sum((comb(place, j) * _bernoulli(j) / (place - j + 1) for j in range(place)), Fraction(0))
    return 1 - before


def _polynomial(value: Affine, names: tuple[str, ...]) -> Polynomial:
    zero, coefficients = (0,) * len(names), dict(value.terms)
    terms = {zero: value.constant}
    for place, name in enumerate(names):
        if name in coefficients:
            terms[(*zero[:place], 1, *zero[place + 1 :])] = coefficients[name]
    return Polynomial(names, terms)


def _centred(factor: int, divisor: int) -> int:
    """factor modulo divisor, between -divisor / 2 and divisor / 2."""
    rest = factor % divisor
    return rest - divisor if 2 * rest > divisor else rest
