"""Exact numbers of points at one n."""

from __future__ import annotations

from functools import lru_cache

from sparsec.analysis import inclusion
from sparsec.analysis.formula import formula
from sparsec.analysis.summation import NotPolynomial, summed
from sparsec.ir import nodes as ir
from sparsec.sets import fixed_tiles
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.loop_nests import TooManyCases, nests
from sparsec.sets.pieces import pieces
from sparsec.sets.points import Points, at, counted

_POINT_OPERATIONS = 20_000
_OPERATIONS = 5_000_000
_MOST_CASES = 3000


class Uncounted(Exception):
    """The set is too intricate to be counted by its pieces."""


def points(weighted: list[tuple[int, Points]], n: int) -> int:
    """The weighted number of points of bounded sets at n.  Raises Uncounted."""
    try:
        with budget(_POINT_OPERATIONS):
            return sum(weight * counted(part, n) for weight, part in weighted)
    except OutOfBudget:  # isl goes through lines of points one by one
        pass
    try:
        with budget(_OPERATIONS):
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
        return points([(1, fixed_tiles.pairs(condition, n, queries))], n)
    except (Uncounted, OutOfBudget):
        terms = inclusion.terms(condition)
        if terms is None:
            raise Uncounted from None
        return points([(weight, fixed_tiles.pairs(term, n, queries)) for weight, term in terms], n)
