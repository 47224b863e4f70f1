"""Exact numbers of points at one n."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sparsec.analysis import inclusion
from sparsec.analysis.formula import formula
from sparsec.analysis.summation import NotPolynomial, summed
from sparsec.ir import nodes as ir
from sparsec.sets import budgets, fixed_tiles
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.loop_nests import TooManyCases, nests
from sparsec.sets.pieces import pieces
from sparsec.sets.points import Points, at, counted

_MOST_LINES = 2000
_MOST_CASES = 3000


class Uncounted(Exception):
    """The set is too intricate to be counted by its pieces."""


def points(weighted: list[tuple[int, Points]], n: int, lines: int | None = None) -> int:
    """The weighted number of points of bounded sets at n, of so many lines, by default n.  Raises Uncounted."""
    try:
        with budget(budgets.COUNT_BY_ISL):
            if (n if lines is None else lines) <= _MOST_LINES:  # isl goes through lines of points one by one
                return sum(weight * counted(part, n) for weight, part in weighted)
    except OutOfBudget:
        pass
    try:
        with budget(budgets.COUNT):
            parts = [(weight, piece) for weight, part in weighted for piece in pieces(at(part, n))]
            total = summed(nests(parts, frozenset(), _MOST_CASES))
    except (OutOfBudget, TooManyCases, NotPolynomial):
        raise Uncounted from None
    return formula(total.at(n), total.floors)(n)


@lru_cache(maxsize=4096)
def number(condition: ir.Set, n: int, queries: range | None = None) -> int:
    """The pairs (q, k) of `condition` with q in `queries`, by default 0..n, and 0 <= k < n; no tables.

    Raises Uncounted.
    """
    try:
        return _number([(1, condition)], n, queries)
    except (Uncounted, OutOfBudget):
        terms = inclusion.terms(condition)
        if terms is None:
            raise Uncounted from None
    try:
        return _number(terms, n, queries)
    except OutOfBudget:
        raise Uncounted from None


def _number(weighted: Sequence[tuple[int, ir.Set]], n: int, queries: range | None) -> int:
    steps = (budgets.scaled(budgets.COUNT, condition) for _, condition in weighted)
    with budget(min(steps, default=budgets.COUNT)):
        found = [(weight, fixed_tiles.pairs(condition, n, queries)) for weight, condition in weighted]
    return points(found, n, None if queries is None else len(queries))
