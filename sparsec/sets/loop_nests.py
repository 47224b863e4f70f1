"""A convex piece as nested sums: how many points it has, as loops that polynomial summation can close.

The points of a piece are counted one variable at a time, innermost first.  A variable whose coefficients are all
1 or -1 has as many values as its upper bound minus its lower bound plus 1; where several bounds compete, the cases
in which each is the tightest are told apart.  A variable with other coefficients can be counted once its bounds
hold nothing but n: they become floors of n.  What is left (strides that do not divide each other) is split by
residues.

A case may reach one step too far, to an upper bound just below the lower one: it then counts 0 there, and so does
the polynomial.  That makes cases meet at multiples of the divisors, and the sums short.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from math import lcm

from sparsec.sets.affine import Affine
from sparsec.sets.context import spend
from sparsec.sets.pieces import Piece, tightened

_MOST_RESIDUES = 64
_STEPS = 4  # of a budget, for a number of a case: about as long as isl's


class TooManyCases(Exception):
    """The count falls into more cases than are worth telling apart."""


@dataclass(frozen=True, slots=True)
class Floor:
    """name = floor(value / divisor)."""

    name: str
    value: Affine
    divisor: int


@dataclass(frozen=True, slots=True)
class Loop:
    """Sum over variable = lower..upper, ends included; upper >= lower - 1, and then the sum is empty.

    `single`: at most one value, and everything inside uses `upper` for it.
    """

    variable: str
    lower: Affine
    upper: Affine
    single: bool = False


@dataclass(frozen=True, slots=True)
class Nest:
    """Counts `weight` for every value of the loops, innermost first, where every guard is >= 0.

    `floors` are defined in order, over n, earlier floors and variables of single loops; guards hold n and floors.
    """

    loops: tuple[Loop, ...] = ()
    floors: tuple[Floor, ...] = ()
    guards: tuple[Affine, ...] = ()
    weight: int = 1


@dataclass(frozen=True, slots=True)
class _Case:
    piece: Piece
    symbols: frozenset[str]  # names that are not summed over
    nest: Nest
    facts: tuple[Affine, ...] = ()  # >= 0 by the definition of the symbols

    @property
    def free(self) -> tuple[str, ...]:
        return tuple(name for name in self.piece.names if name not in self.symbols)

    def bounds(self, name: str) -> tuple[list[Affine], list[Affine]]:
        """Inequalities that bound `name` from below and from above."""
        rows = self.piece.inequalities
        return [row for row in rows if row[name] > 0], [row for row in rows if row[name] < 0]

    def alone(self, row: Affine, name: str) -> bool:
        """Whether `row` bounds `name` by symbols only."""
        return all(other == name or other in self.symbols for other in row.names)

    def changed(self, equalities: Iterable[Affine], inequalities: Iterable[Affine], dropped: str = "") -> _Case:
        names = tuple(name for name in self.piece.names if name != dropped)
        return replace(self, piece=Piece(names, tuple(equalities), tuple(inequalities)))

    def replaced(self, name: str, value: Affine) -> _Case:
        """`value` in place of the variable `name`, here and in the inner loops.

        value may hold `name` itself, then as a new variable.
        """
        equalities = [row.replaced(name, value) for row in self.piece.equalities]
        inequalities = [row.replaced(name, value) for row in self.piece.inequalities]
        loops = tuple(
            replace(loop, lower=loop.lower.replaced(name, value), upper=loop.upper.replaced(name, value))
            for loop in self.nest.loops
        )
        case = replace(self, nest=replace(self.nest, loops=loops))
        return case.changed(equalities, inequalities, dropped="" if value[name] else name)

    def rounded(self, row: Affine, name: str) -> tuple[Affine, _Case]:
        """The bound of `name` that row >= 0 says; a division is a new floor in the nest."""
        rest, divisor, sign = row.without(name), abs(row[name]), -1 if row[name] > 0 else 1
        if divisor == 1:
            return rest * sign, self
        if not rest.terms:
            return Affine((), sign * (rest.constant // divisor)), self
        floor = Floor(f"f{len(self.nest.floors)}", rest, divisor)  # a lower bound is -floor(-bound)
        return Affine.name(floor.name) * sign, replace(self, nest=replace(self.nest, floors=(*self.nest.floors, floor)))

    def looped(self, loop: Loop) -> _Case:
        return replace(self, nest=replace(self.nest, loops=(*self.nest.loops, loop)))


def nests(parts: Iterable[tuple[int, Piece]], symbols: frozenset[str], limit: int) -> tuple[Nest, ...]:
    """Nests that together count the points of weighted pieces, over the names that are not `symbols`.

    Raises TooManyCases when more than `limit` have to be told apart, OutOfBudget under a budget.
    """
    found: list[Nest] = []
    pending = [_Case(part, symbols, Nest(weight=weight)) for weight, part in parts]
    for _ in range(limit):
        if not pending:
            return tuple(found)
        case = pending.pop()
        spend(_STEPS * len(case.piece.inequalities) * len(case.piece.names))
        piece = tightened(case.piece)
        if piece is None:
            continue
        case = replace(case, piece=piece)
        if not case.free:
            found.append(_finished(case))
            continue
        steps = (step(case) for step in (_by_equality, _by_bounds, _by_single_value, _by_residues))
        pending += next(cases for cases in steps if cases is not None)
    raise TooManyCases


def _finished(case: _Case) -> Nest:
    both = (row for equality in case.piece.equalities for row in (equality, equality * -1))
    rows = [row for row in (*both, *case.piece.inequalities) if row not in case.facts]
    return replace(case.nest, guards=tuple(row for row in rows if not _known(row, case)))


def _known(row: Affine, case: _Case) -> bool:
    """Whether the guard says no more than what defines the symbols."""
    if not set(row.names) & {name for fact in case.facts for name in fact.names}:
        return False
    others = tuple(guard for guard in case.piece.inequalities if guard.names == ("n",) and guard != row)
    return tightened(Piece(case.piece.names, (), (*case.facts, *others, row * -1 - 1))) is None


def _by_equality(case: _Case) -> list[_Case] | None:
    """Use an equality to remove a variable."""
    free = set(case.free)
    usable = [row for row in case.piece.equalities if free & set(row.names)]
    if not usable:
        return None
    row, name = min(
        ((row, name) for row in usable for name in row.names if name in free), key=lambda pick: abs(pick[0][pick[1]])
    )
    factor = row[name]
    if abs(factor) == 1:
        return [case.replaced(name, row.without(name) * -factor)]
    others = [other for other in row.names if other in free and other != name]
    if others:  # a x + b y: with x' = x + (b // a) y only b % a is left beside y
        shear = Affine.of((other, -(row[other] // factor)) for other in others)
        return [case.replaced(name, Affine.name(name) + shear)]
    return [_single(case, name, row * (1 if factor > 0 else -1), row * (-1 if factor > 0 else 1))]  # a x == f(n)


def _by_bounds(case: _Case) -> list[_Case] | None:
    """Sum over a variable with unit coefficients, or one that is bound by symbols alone."""
    choices = []
    for name in case.free:
        lowers, uppers = case.bounds(name)
        units = all(abs(row[name]) == 1 for row in (*lowers, *uppers))
        if units or all(case.alone(row, name) for row in (*lowers, *uppers)):
            choices.append((len(lowers) * len(uppers), not units, name))
    if not choices:
        return None
    name = min(choices)[2]
    lowers, uppers = case.bounds(name)
    return [_between(case, name, lower, upper) for lower, upper in product(lowers, uppers)]


def _between(case: _Case, name: str, lower: Affine, upper: Affine) -> _Case:
    """The case in which `lower` and `upper` are the tightest bounds of the variable."""
    lowers, uppers = case.bounds(name)
    room = _meeting(lower, upper, name)
    if lower[name] == -upper[name] == 1:
        room += 1  # one step too far is allowed, see above
    rows = [row for row in case.piece.inequalities if not row[name]]
    rows += [*_tightest(lower, lowers, name), *_tightest(upper, uppers, name), room]
    first, rounded = case.rounded(lower, name)
    last, rounded = rounded.rounded(upper, name)
    return rounded.changed(case.piece.equalities, rows, dropped=name).looped(Loop(name, first, last))


def _meeting(lower: Affine, upper: Affine, name: str) -> Affine:
    """>= 0 where the rational bounds leave room for the variable."""
    return lower.without(name) * -upper[name] + upper.without(name) * lower[name]


def _tightest(chosen: Affine, bounds: list[Affine], name: str) -> Iterable[Affine]:
    """>= 0 where `chosen` is the tightest of the bounds, the first of equals."""
    before = True
    for other in bounds:
        if other is chosen:
            before = False
            continue
        slack = other.without(name) * abs(chosen[name]) - chosen.without(name) * abs(other[name])
        yield slack - 1 if before else slack


def _by_single_value(case: _Case) -> list[_Case] | None:
    """A variable that has at most one value for every n becomes a symbol: a floor of n."""
    for name in case.free:
        lowers, uppers = ([row for row in side if case.alone(row, name)] for side in case.bounds(name))
        for lower, upper in product(lowers, uppers):
            gap = lower + upper
            if not gap.terms and gap.constant < lower[name]:
                return [_single(case, name, lower, upper)]
    return None


def _single(case: _Case, name: str, lower: Affine, upper: Affine) -> _Case:
    first, rounded = case.rounded(lower, name)
    last, rounded = rounded.rounded(upper, name)
    loop = Loop(name, first, last, single=True)
    return replace(rounded.looped(loop), symbols=case.symbols | {name}, facts=(*case.facts, lower, upper))


def _by_residues(case: _Case) -> list[_Case]:
    """Split other variables by residues, so that one variable gets unit coefficients."""
    choices = []
    for name in case.free:
        rows = [row for row in case.piece.inequalities if row[name]]
        period = lcm(*(row[name] for row in rows))
        others = {o for row in rows for o in row.names if o in case.free and o != name and row[o] % row[name]}
        choices.append((period ** len(others), name, period, tuple(sorted(others))))
    number, name, period, beside = min(choices)
    if number > _MOST_RESIDUES:
        raise TooManyCases
    cases = []
    for residues in product(range(period), repeat=len(beside)):
        inner = case
        for other, residue in zip(beside, residues, strict=True):
            inner = inner.replaced(other, Affine(((other, period),), residue))
        cases.append(_divided(inner, name))
    return cases


def _divided(case: _Case, name: str) -> _Case:
    """Inequalities on `name` divided by its coefficient; where symbols do not divide, their floor is a new symbol."""
    rows = list(case.piece.inequalities)
    for place, row in enumerate(rows):
        divisor = abs(row[name])
        if divisor <= 1:
            continue
        rest = Affine.of(((n, value) for n, value in row.terms if value % divisor), row.constant)
        whole = Affine.of((n, value // divisor) for n, value in row.terms if value % divisor == 0)
        if not rest.terms:
            rows[place] = whole + rest.constant // divisor
            continue
        floor = Floor(f"f{len(case.nest.floors)}", rest, divisor)
        remainder = rest - Affine.name(floor.name) * divisor
        facts = (remainder, remainder * -1 + (divisor - 1))
        rows[place] = whole + Affine.name(floor.name)
        case = replace(
            case,
            piece=Piece((*case.piece.names, floor.name), case.piece.equalities, ()),
            symbols=case.symbols | {floor.name},
            nest=replace(case.nest, floors=(*case.nest.floors, floor)),
            facts=(*case.facts, *facts),
        )
        rows += facts
    return case.changed(case.piece.equalities, rows)
