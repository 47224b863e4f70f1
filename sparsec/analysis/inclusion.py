"""Counts of unions and complements from counts of intersections.

Where a condition falls into too many disjoint pieces, its indicator is still a short polynomial in the indicators
of its comparisons: [a | b] == [a] + [b] - [a][b] and [~a] == 1 - [a].
"""

from __future__ import annotations

from collections import defaultdict
from functools import reduce

from sparsec.ir import nodes as ir

_MOST_TERMS = 64
_Polynomial = dict[frozenset[ir.Set], int]  # coefficient of the product of indicators; [a][a] == [a]
_ONE: _Polynomial = {frozenset(): 1}


def terms(condition: ir.Set) -> tuple[tuple[int, ir.Set], ...] | None:
    """(weight, conjunction): the pairs of `condition` are the weighted sum of theirs.  None when there are too many."""
    try:
        return tuple((weight, _all(parts)) for parts, weight in _indicator(condition).items())
    except OverflowError:
        return None


def _all(parts: frozenset[ir.Set]) -> ir.Set:
    return ir.And(tuple(parts)) if parts else ir.TRUE


def _indicator(node: ir.Set) -> _Polynomial:
    match node:
        case ir.Bool(value):
            return _ONE if value else {}
        case ir.Not(part):
            return _complement(_indicator(part))
        case ir.And(parts):
            return reduce(_product, map(_indicator, parts), _ONE)
        case ir.Or(parts):  # 1 - (1 - a)(1 - b)...
            return _complement(reduce(_product, (_complement(_indicator(part)) for part in parts), _ONE))
        case ir.Compare(left, "!=", right):
            return _complement({frozenset({ir.Compare(left, "==", right)}): 1})
    return {frozenset({node}): 1}


def _complement(value: _Polynomial) -> _Polynomial:
    return _kept([*_ONE.items(), *((parts, -weight) for parts, weight in value.items())])


def _product(left: _Polynomial, right: _Polynomial) -> _Polynomial:
    return _kept([(a | b, x * y) for a, x in left.items() for b, y in right.items()])


def _kept(items: list[tuple[frozenset[ir.Set], int]]) -> _Polynomial:
    total: _Polynomial = defaultdict(int)
    for parts, weight in items:
        total[parts] += weight
    total = {parts: weight for parts, weight in total.items() if weight}
    if len(total) > _MOST_TERMS:
        raise OverflowError
    return total
