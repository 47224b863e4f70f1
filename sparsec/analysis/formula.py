"""Polynomials in n and floors of n in a form that people can read.

Two floors of the same quotient differ by 0 or 1, so one of them and a condition on the remainder say the same:
(n + 4) // 7 == n // 7 + (n % 7 >= 3).  Conditions multiply as the stricter of the two, and are their own squares.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Literal

from sparsec.analysis.polynomials import Exponents, Polynomial
from sparsec.analysis.summation import Floors
from sparsec.sets.affine import Affine
from sparsec.sets.context import spend

if TYPE_CHECKING:
    import sympy

_N = Affine.name("n")
_MOST_REWRITTEN = 3  # quotients for which other ways of writing are tried
_MOST_REMAINDERS = 4
_MOST_TERMS = 24  # of a formula that people read


@dataclass(frozen=True, slots=True)
class Atom:
    """n, value // divisor, value % divisor, or the condition value % divisor >= threshold as 0 or 1."""

    kind: Literal["n", "//", "%", ">="]
    value: Affine = _N
    divisor: int = 1
    threshold: int = 0

    def __call__(self, values: Mapping[str, int]) -> int:
        value = self.value.at(values)
        match self.kind:
            case "n":
                return values["n"]
            case "//":
                return value // self.divisor
            case "%":
                return value % self.divisor
        return int(value % self.divisor >= self.threshold)

    def expression(self, values: Mapping[str, sympy.Expr]) -> sympy.Expr:
        import sympy

        value = _affine(self.value, values)
        match self.kind:
            case "n":
                return values["n"]
            case "//":
                return sympy.floor(value / self.divisor)
            case "%":
                return sympy.Mod(value, self.divisor)
        return sympy.Piecewise((1, sympy.Mod(value, self.divisor) >= self.threshold), (0, True))


@dataclass(frozen=True, eq=False)
class Formula:
    """A polynomial whose i-th variable is the i-th atom; `floors` name what the atoms refer to."""

    polynomial: Polynomial
    atoms: tuple[Atom, ...]
    floors: Floors

    def __call__(self, n: int) -> int:
        spend(len(self.polynomial) * len(self.atoms))
        values = self.floors.values(n)
        numbers = [atom(values) for atom in self.atoms]
        terms = self.polynomial.numerators.items()
        total = sum(factor * prod(map(pow, numbers, exponents)) for exponents, factor in terms)
        pairs, rest = divmod(total, self.polynomial.denominator)
        assert not rest, "a number of pairs is an integer"
        return pairs

    def same(self, other: Formula) -> bool:
        """Whether both are the same polynomial (equal values do not imply it)."""
        return _terms(self) == _terms(other)

    def expression(self, n: sympy.Symbol) -> sympy.Expr:
        """The formula in SymPy, over the symbol `n`."""
        import sympy

        values: dict[str, sympy.Expr] = {"n": n}
        for name, (value, divisor) in self.floors.known.items():
            values[name] = sympy.floor(_affine(value, values) / divisor)
        atoms = [atom.expression(values) for atom in self.atoms]
        terms = self.polynomial.numerators.items()
        total = sum((factor * sympy.prod(map(pow, atoms, exponents)) for exponents, factor in terms), sympy.Integer(0))
        return sympy.expand(total / self.polynomial.denominator)

    @property
    def text(self) -> str | None:
        """The shortest of the ways to write it, with n // s or n % s; None when it is too long to be read."""
        if len(self.polynomial) > _MOST_TERMS:
            return None
        return min((_text(variant) for variant in _variants(self)), key=len)


def formula(polynomial: Polynomial, floors: Floors) -> Formula:
    """A polynomial over n and floors, without the floors that differ from another by a condition."""
    atoms, images = _atoms(floors)
    names = tuple(f"a{place}" for place in range(len(atoms)))
    zero = Polynomial(names, {})
    variables = _variables(zero)
    by_name = {name: sum((variables[place] for place in places), zero) for name, places in images.items()}
    total = zero
    for exponents, factor in polynomial.terms():
        term = Polynomial.constant(names, factor)
        for name, exponent in zip(polynomial.names, exponents, strict=True):
            for _ in range(exponent):
                term = _conditions_once(term * by_name[name], atoms)
        total += term
    return Formula(total, tuple(atoms), floors)


def _atoms(floors: Floors) -> tuple[list[Atom], dict[str, tuple[int, ...]]]:
    """The atoms, and for n and each floor the places of the atoms that it is the sum of."""
    families: dict[tuple[Affine, int], list[tuple[int, str]]] = defaultdict(list)
    for name, (value, divisor) in floors.known.items():
        families[value + -value.constant, divisor].append((value.constant, name))
    atoms = [Atom("n")]
    images: dict[str, tuple[int, ...]] = {"n": (0,)}
    for (linear, divisor), members in families.items():
        (least, first), *others = sorted(members)
        base = len(atoms)
        images[first] = (base,)
        atoms.append(Atom("//", linear + least, divisor))
        for constant, name in others:
            images[name] = (base, len(atoms))
            atoms.append(Atom(">=", linear + least, divisor, divisor - (constant - least)))
    return atoms, images


def _conditions_once(polynomial: Polynomial, atoms: list[Atom]) -> Polynomial:
    """c * c == c, and of two conditions on one remainder the stricter."""
    spend(len(polynomial) * len(atoms))
    terms: defaultdict[Exponents, int] = defaultdict(int)
    for exponents, factor in polynomial.numerators.items():
        kept = list(exponents)
        strictest: dict[tuple[Affine, int], int] = {}
        for place, atom in enumerate(atoms):
            if atom.kind == ">=" and kept[place]:
                kept[place] = 0
                key = (atom.value, atom.divisor)
                if key not in strictest or atoms[strictest[key]].threshold < atom.threshold:
                    strictest[key] = place
        for place in strictest.values():
            kept[place] = 1
        terms[tuple(kept)] += factor
    return Polynomial(polynomial.names, terms, polynomial.denominator)


def _affine(value: Affine, values: Mapping[str, sympy.Expr]) -> sympy.Expr:
    return sum((factor * values[name] for name, factor in value.terms), value.constant)


def _terms(value: Formula) -> dict[frozenset[tuple[Atom, int]], Fraction]:
    """Terms by their atoms, whatever the order of these."""
    return {
        frozenset((atom, exponent) for atom, exponent in zip(value.atoms, exponents, strict=True) if exponent): factor
        for exponents, factor in value.polynomial.terms()
    }


def _variants(value: Formula) -> Iterator[Formula]:
    """Equal formulas: m = (n + c) // s as it is, or by the remainder r as (n + c - r) / s, or n as s * m + r - c."""
    places = [i for i, atom in enumerate(value.atoms) if atom.kind == "//" and atom.value - atom.value.constant == _N]
    variables = _variables(value.polynomial)
    if len(places) > _MOST_REWRITTEN:
        places = []
    for choice in product(("keep", "quotient", "n"), repeat=len(places)):
        if choice.count("n") > 1:
            continue
        polynomial, atoms = value.polynomial, list(value.atoms)
        for place, kind in zip(places, choice, strict=True):
            shift, divisor = atoms[place].value.constant, atoms[place].divisor
            remainder = Atom("%", atoms[place].value, divisor)
            if kind == "quotient":  # the variable of the quotient becomes that of the remainder
                polynomial = polynomial.at(place, (variables[0] + shift - variables[place]) / divisor)
                atoms[place] = remainder
            elif kind == "n":  # the variable of n becomes that of the remainder
                polynomial = polynomial.at(0, divisor * variables[place] + variables[0] - shift)
                atoms[0] = remainder
        polynomial = _without_idle_conditions(_conditions_once(polynomial, atoms), atoms)
        yield Formula(polynomial, tuple(atoms), value.floors)


def _without_idle_conditions(polynomial: Polynomial, atoms: list[Atom]) -> Polynomial:
    """Drop [r >= t] * P(r) where P is 0 for those r, and drop only the condition where P is 0 for all other r."""
    variables = _variables(polynomial)
    for place, atom in enumerate(atoms):
        remainder = Atom("%", atom.value, atom.divisor)
        if atom.kind != ">=" or remainder not in atoms:
            continue
        rest, remainder_place = polynomial.coefficient(place, 1), atoms.index(remainder)
        low, high = range(atom.threshold), range(atom.threshold, atom.divisor)
        if _vanishes(rest, remainder_place, high):
            polynomial -= variables[place] * rest
        elif _vanishes(rest, remainder_place, low):
            polynomial += (1 - variables[place]) * rest
    return polynomial


def _vanishes(polynomial: Polynomial, place: int, values: range) -> bool:
    return len(values) <= _MOST_REMAINDERS and not any(polynomial.at(place, value).numerators for value in values)


def _variables(polynomial: Polynomial) -> list[Polynomial]:
    return [Polynomial.variable(polynomial.names, place) for place in range(len(polynomial.names))]


# ---------------------------------------------------------------- text


def _text(value: Formula) -> str:
    names = [_atom_text(atom, value.floors) for atom in value.atoms]
    conditions = [atom.kind == ">=" for atom in value.atoms]
    groups: defaultdict[Exponents, dict[Exponents, int]] = defaultdict(dict)
    for exponents, factor in value.polynomial.numerators.items():
        condition = tuple(e if c else 0 for e, c in zip(exponents, conditions, strict=True))
        groups[condition][tuple(0 if c else e for e, c in zip(exponents, conditions, strict=True))] = factor
    parts = []
    for condition, terms in sorted(groups.items(), key=lambda group: sum(group[0])):
        body = _polynomial_text(Polynomial(value.polynomial.names, terms, value.polynomial.denominator), names)
        guards = "*".join(name for name, exponent in zip(names, condition, strict=True) if exponent)
        if guards:
            body = guards if body == "1" else f"{guards}*({body})"
        parts.append(body)
    return " + ".join(parts).replace("+ -", "- ") or "0"


def _atom_text(atom: Atom, floors: Floors) -> str:
    if atom.kind == "n":
        return "n"
    inner = affine_text(atom.value, floors)
    inner = inner if len(atom.value.terms) == 1 and not atom.value.constant else f"({inner})"
    if atom.kind == ">=":
        return f"({inner} % {atom.divisor} >= {atom.threshold})"
    return f"({inner}{' % ' if atom.kind == '%' else '//'}{atom.divisor})"


def affine_text(value: Affine, floors: Floors) -> str:
    """An affine expression over n and floors."""
    parts = []
    for name, factor in value.terms:
        inner = "n" if name == "n" else _atom_text(Atom("//", *floors.known[name]), floors)
        parts.append(inner if factor == 1 else f"-{inner}" if factor == -1 else f"{factor}*{inner}")
    if value.constant or not parts:
        parts.append(str(value.constant))
    return " + ".join(parts).replace("+ -", "- ")


def _polynomial_text(polynomial: Polynomial, names: list[str]) -> str:
    """Expanded or as factors, whichever is shorter, over one denominator."""
    denominator, whole = polynomial.denominator, polynomial * polynomial.denominator
    texts = [_over(_expanded(whole, names), denominator, len(whole) > 1)]
    factor, factors = whole.factors()
    if len(factors) > 1 or (factors and factors[0][1] > 1):
        front = [] if factor == 1 else ["-1" if factor == -1 else str(factor)]
        back = []
        for inner, power in factors:
            text = _expanded(inner, names)
            text = f"({text})" if len(inner) > 1 else text
            back.append(text if power == 1 else f"{text}**{power}")
        texts.append(_over("*".join([*front, *sorted(back, key=len)]), denominator, False))
    return min(texts, key=len)


def _over(text: str, denominator: int, several: bool) -> str:
    if denominator == 1:
        return text
    return f"({text})/{denominator}" if several else f"{text}/{denominator}"


def _expanded(polynomial: Polynomial, names: list[str]) -> str:
    parts = []
    for exponents, factor in sorted(
        polynomial.numerators.items(), key=lambda term: (-sum(term[0]), [-e for e in term[0]])
    ):
        powers = [
            name if exponent == 1 else f"{name}**{exponent}"
            for name, exponent in zip(names, exponents, strict=True)
            if exponent
        ]
        number = str(factor)
        if powers and number in ("1", "-1"):
            number = number[:-1]
            parts.append(number + "*".join(powers))
        else:
            parts.append("*".join([number, *powers]))
    return " + ".join(parts).replace("+ -", "- ") or "0"
