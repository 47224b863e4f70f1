"""A condition as an affine condition and tables that together contain it.

Integer sets know no tables and explode on long explicit sets.  A cover only has to contain what is kept, so
tables are set aside, to be visited on their own, and long sets are replaced by a few ranges around them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from sparsec.ir import algebra
from sparsec.ir import nodes as ir

_MOST_RANGES = 6  # that stand for one explicit set


@dataclass(frozen=True, slots=True)
class Above:
    """Every kept pair is in `affine` or in one of `tables`.  Every pair of `affine` is kept, or `why` says why not."""

    affine: ir.Set
    tables: tuple[ir.Leaf, ...] = ()
    why: str = ""


def above(condition: ir.Set) -> Above:
    """The smallest bound that is found without proof: tables that stand under a negation become `true`."""
    return _above(condition, negated=False, keep_tables=True)


def below(condition: ir.Set) -> ir.Set:
    """An affine condition all of whose pairs are kept: what is not above the complement."""
    return algebra.complement(_above(condition, negated=True, keep_tables=False).affine)


def _above(node: ir.Set, negated: bool, keep_tables: bool) -> Above:
    match node:
        case ir.Not(part):
            return _above(part, not negated, keep_tables)
        case ir.And(parts) | ir.Or(parts):
            bounds = [_above(part, negated, keep_tables) for part in parts]
            return _all(bounds) if isinstance(node, ir.And) != negated else _any(bounds)
        case ir.Member():
            return _ranges(node, negated)
        case ir.Bool() | ir.Compare():
            return Above(algebra.complement(node) if negated else node)
    if negated or not keep_tables:
        return Above(ir.TRUE, why="a table under a complement")
    return Above(ir.FALSE, (node,))


def _any(bounds: list[Above]) -> Above:
    """a | x | b | y  is in  (a | b) | (x | y)."""
    affine = algebra.disjunction(*(bound.affine for bound in bounds))
    return Above(affine, _tables(bounds), _reason(bounds))


def _all(bounds: list[Above]) -> Above:
    """(a | x) & (b | y)  is in  (a & b) | (x | y), and where there is no `a` in x alone."""
    alone = [bound for bound in bounds if bound.affine == ir.FALSE]
    if alone:
        return min(alone, key=lambda bound: len(bound.tables))
    affine = algebra.conjunction(*(bound.affine for bound in bounds))
    return Above(affine, _tables(bounds), _reason(bounds))


def _tables(bounds: Iterable[Above]) -> tuple[ir.Leaf, ...]:
    return tuple(dict.fromkeys(table for bound in bounds for table in bound.tables))


def _reason(bounds: Iterable[Above]) -> str:
    return next((bound.why for bound in bounds if bound.why), "")


def _ranges(node: ir.Member, negated: bool) -> Above:
    """An explicit set by its runs of consecutive numbers; with many, by ranges around (or, negated, inside) it."""
    runs: list[tuple[int, int]] = []
    for member in node.members:
        if runs and runs[-1][1] == member - 1:
            runs[-1] = runs[-1][0], member
        else:
            runs.append((member, member))
    why = ""
    if len(runs) > _MOST_RANGES:
        why = f"an explicit set of {len(node.members)} numbers"
        runs = _longest(runs) if negated else _closed(runs)
    inside = algebra.disjunction(*(_between(node.value, *run) for run in runs))
    return Above(algebra.complement(inside) if negated else inside, why=why)


def _closed(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """`runs` with all but the widest gaps between them closed."""
    widest = sorted(range(1, len(runs)), key=lambda place: runs[place - 1][1] - runs[place][0])[: _MOST_RANGES - 1]
    edges = [0, *sorted(widest), len(runs)]
    return [(runs[start][0], runs[stop - 1][1]) for start, stop in pairwise(edges)]


def _longest(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(runs, key=lambda run: run[0] - run[1])[:_MOST_RANGES]


def _between(value: ir.Int, first: int, last: int) -> ir.Set:
    if first == last:
        return ir.Compare(value, "==", ir.Const(first))
    return ir.And((ir.Compare(ir.Const(first), "<=", value), ir.Compare(value, "<=", ir.Const(last))))
