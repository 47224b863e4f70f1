"""Affine expressions over named integers, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Affine:
    """The sum of coefficient * name over `terms`, plus `constant`; terms sorted by name, no zero among them."""

    terms: tuple[tuple[str, int], ...]
    constant: int = 0

    @staticmethod
    def of(coefficients: Mapping[str, int] | Iterable[tuple[str, int]], constant: int = 0) -> Affine:
        return Affine(tuple(sorted([term for term in dict(coefficients).items() if term[1]])), constant)

    @staticmethod
    def name(name: str) -> Affine:
        return Affine(((name, 1),))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple([name for name, _ in self.terms])

    def __getitem__(self, name: str) -> int:
        """The coefficient of `name`."""
        for other, value in self.terms:
            if other == name:
                return value
        return 0

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.terms, self.constant + other)
        if not other.terms:
            return Affine(self.terms, self.constant + other.constant)
        total = dict(self.terms)
        for name, value in other.terms:
            total[name] = total.get(name, 0) + value
        return Affine.of(total, self.constant + other.constant)

    def __sub__(self, other: Affine | int) -> Affine:
        return self + other * -1 if isinstance(other, Affine) else self + -other

    def __mul__(self, factor: int) -> Affine:
        terms = tuple([(name, value * factor) for name, value in self.terms]) if factor else ()
        return Affine(terms, self.constant * factor)

    def without(self, *names: str) -> Affine:
        return Affine(tuple([term for term in self.terms if term[0] not in names]), self.constant)

    def only(self, names: Iterable[str]) -> Affine:
        """The terms of these names, without the constant."""
        names = frozenset(names)
        return Affine(tuple(term for term in self.terms if term[0] in names))

    def replaced(self, name: str, value: Affine) -> Affine:
        """This expression with `value` in place of `name`."""
        factor = self[name]
        return self.without(name) + value * factor if factor else self

    def at(self, values: Mapping[str, int]) -> int:
        """The value where every name has its value in `values`."""
        return self.constant + sum(factor * values[name] for name, factor in self.terms)
