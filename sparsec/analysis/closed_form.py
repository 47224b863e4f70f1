"""The number of pairs of a condition as an exact formula in n, or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from sparsec.analysis import inclusion, numbers
from sparsec.analysis.dense import looked
from sparsec.analysis.formula import Formula, formula
from sparsec.analysis.numbers import Uncounted
from sparsec.analysis.summation import NotPolynomial, summed
from sparsec.ir import nodes as ir
from sparsec.sets import budgets
from sparsec.sets.context import OutOfBudget, allowance, budget, within
from sparsec.sets.loop_nests import TooManyCases, nests
from sparsec.sets.pieces import Piece, pieces
from sparsec.sets.points import Points
from sparsec.sets.to_isl import clipped

if TYPE_CHECKING:
    import sympy

_MOST_CASES = 1500
_MOST_ENDS = 6
_MOST_TEXT = 160  # a formula longer than that says nothing to people
_MOST_RANGES = 3  # that are all printed
_SHORT_RANGE = 64


@dataclass(frozen=True, eq=False)
class Case:
    """The count for first <= n <= last (None: no end)."""

    first: int
    last: int | None
    count: Formula

    @property
    def span(self) -> str:
        """The range of n in words, empty when it is all n."""
        if self.last is None:
            return "" if self.first == 1 else f" for n >= {self.first}"
        if self.first == self.last:
            return f" for n = {self.first}"
        return f" for n <= {self.last}" if self.first == 1 else f" for {self.first} <= n <= {self.last}"


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """An exact count for every n >= 1: one formula for each range of n, rising."""

    cases: tuple[Case, ...]

    def __call__(self, n: int) -> int:
        """The number of pairs at n >= 1."""
        return next(case for case in self.cases if case.last is None or n <= case.last).count(n)

    @property
    def text(self) -> str:
        """The formula for large n, then those for shorter n where they are few and short."""
        last, *shorter = (f"{case.count.text}{case.span}" for case in reversed(self.cases[-_MOST_RANGES:]))
        whole = "; ".join([last, *shorter])
        return whole if len(whole) <= _MOST_TEXT and len(self.cases) <= _MOST_RANGES else last

    def expression(self) -> sympy.Expr:
        """The same as a SymPy expression in the positive integer n."""
        import sympy

        n = sympy.Symbol("n", integer=True, positive=True)
        cases = [(case.count.expression(n), n <= case.last) for case in self.cases[:-1]]
        return sympy.Piecewise(*cases, (self.cases[-1].count.expression(n), True), evaluate=False)


@within(budgets.CLOSED_FORM)
def closed_form(condition: ir.Set) -> ClosedForm | None:
    """The number of pairs (q, k) of `condition` with 0 <= q < n and 0 <= k < n, for all n >= 1.

    None for tables, where the count falls into too many cases, and where the formula is too long to be read.  Every
    formula is checked by counting at several lengths of each of its ranges before it is returned.
    """
    if ir.leaves(condition):
        return None

    whole = cache(partial(clipped, condition))
    counted = partial(_pairs, condition)
    direct = _checked(whole, lambda: [(1, whole())], counted=counted)
    if direct is not None:
        return direct
    terms = inclusion.terms(condition)
    if terms is None or len(terms) == 1:
        return None
    return _checked(whole, lambda: [(weight, clipped(term)) for weight, term in terms], counted=counted)


def _counted(points: Points, n: int) -> int:
    return numbers.points([(1, points)], n)


def _pairs(condition: ir.Set, points: Points, n: int) -> int:
    """The number of pairs, by looking where that is soon done."""
    try:
        with allowance(budgets.LOOK_CHECK):
            return looked(condition, n, range(n)).pairs
    except Uncounted:
        return _counted(points, n)


def number_of(made: Callable[[], Points], most_cases: int = _MOST_CASES) -> ClosedForm | None:
    """The number of points of what `made` makes within a budget: a set whose one parameter is n, finite for every n."""
    return _checked(made, lambda: [(1, made())], most_cases)


def _checked(
    made: Callable[[], Points],
    weighted: Callable[[], list[tuple[int, Points]]],
    most_cases: int = _MOST_CASES,
    counted: Callable[[Points, int], int] | None = None,
) -> ClosedForm | None:
    try:
        with budget(budgets.CLOSED_FORM):
            whole = made()
            form = _derived([(weight, part) for weight, some in weighted() for part in pieces(some)], most_cases)
        counted = counted or _counted
        good = all(form(n) == counted(whole, n) for n in _samples(form))
    except (OutOfBudget, TooManyCases, NotPolynomial, Uncounted):
        return None
    return form if good else None


def _derived(parts: list[tuple[int, Piece]], most_cases: int) -> ClosedForm:
    total = summed(nests(parts, frozenset({"n"}), most_cases))
    edges = total.edges()
    cases: list[Case] = []  # falling, so that a formula can take over the shorter lengths for which it is right too
    for first, after in zip(reversed(edges), [None, *reversed(edges[1:])], strict=True):
        last = None if after is None else after - 1
        count = formula(total.at(first), total.floors)
        if not cases and len(count.text or " " * _MOST_TEXT) >= _MOST_TEXT:
            raise NotPolynomial
        if cases and last is not None and _extends(cases[-1].count, count, first, last):
            cases[-1] = Case(first, cases[-1].last, cases[-1].count)
        else:
            cases.append(Case(first, last, count))
    return ClosedForm(tuple(reversed(cases)))


def _extends(longer: Formula, shorter: Formula, first: int, last: int) -> bool:
    """Whether the formula for longer n is right for first..last too."""
    if last - first < _SHORT_RANGE:
        return all(longer(n) == shorter(n) for n in range(first, last + 1))
    return longer.same(shorter)


def _samples(form: ClosedForm) -> list[int]:
    """Lengths to check: a few short ones, a few past the last edge, and the ends of ranges, thinned where many."""
    longest = form.cases[-1].first
    ends = [n for case in form.cases for n in (case.first, case.last) if n is not None]
    thinned = ends[:: len(ends) // _MOST_ENDS + 1]
    return sorted({1, 2, 5, 13, 24, 37, longest, longest + 1, longest + 64, 2 * longest + 11, *thinned})
