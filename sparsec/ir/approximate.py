"""Affine over- and under-approximations of a condition: what contains it, and what lies inside.

Integer sets know no tables and explode on long explicit sets.  Covers only have to contain what is kept: for them,
`over` sets tables aside, to be visited on their own, and replaces long sets by a few ranges around them.  Where tables
cannot be visited, `affine_over` takes short ones exactly and others by their extent.

    past(40) | random_blocks(32, 2, 1)    over: past(40), beside the table    affine_over: true    under: past(40)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from sparsec.ir import algebra
from sparsec.ir import nodes as ir

_MOST_RANGES = 6  # that stand for one explicit set
_MOST_ENTRIES = 64  # of a table that is written out

Approximation = Literal["over", "under"]  # a set that must not be too small, or not too large

_Q, _K = ir.Var("q"), ir.Var("k")


@dataclass(frozen=True, slots=True)
class Over:
    """Every kept pair is in `affine` or in one of `tables`.  Every pair of `affine` is kept, or `why` says why not."""

    affine: ir.Set
    tables: tuple[ir.Table, ...] = ()
    why: str = ""


def over(condition: ir.Set) -> Over:
    """The smallest bound that is found without proof: tables that stand under a negation become `true`."""
    return _over(condition, negated=False, keep_tables=True)


def under(condition: ir.Set) -> ir.Set:
    """An affine condition all of whose pairs are kept: what is not over the complement."""
    return algebra.complement(_over(condition, negated=True, keep_tables=False).affine)


def named_whole(node: ir.Set, table: ir.Table) -> ir.Set:
    """A condition where a table names every pair: the table, wherever it is an operand, is true."""
    match node:
        case ir.Not(part):
            return algebra.complement(named_whole(part, table))
        case ir.And(parts):
            return algebra.conjunction(*(named_whole(part, table) for part in parts))
        case ir.Or(parts):
            return algebra.disjunction(*(named_whole(part, table) for part in parts))
    return ir.TRUE if node == table else node


def _over(node: ir.Set, negated: bool, keep_tables: bool) -> Over:
    match node:
        case ir.Not(part):
            return _over(part, not negated, keep_tables)
        case ir.And(parts) | ir.Or(parts):
            bounds = [_over(part, negated, keep_tables) for part in parts]
            return _all(bounds) if isinstance(node, ir.And) != negated else _any(bounds)
        case ir.Member():
            return _ranges(node, negated)
        case ir.Bool() | ir.Compare():
            return Over(algebra.complement(node) if negated else node)
        case ir.DataTest():
            return Over(ir.TRUE, why="data of the call decides")
    if negated or not keep_tables:
        return Over(ir.TRUE, why="a table under a complement")
    return Over(ir.FALSE, (node,))


def _any(bounds: list[Over]) -> Over:
    """a | x | b | y  is in  (a | b) | (x | y)."""
    affine = algebra.disjunction(*(bound.affine for bound in bounds))
    return Over(affine, _tables(bounds), _reason(bounds))


def _all(bounds: list[Over]) -> Over:
    """(a | x) & (b | y)  is in  (a & b) | (x | y), and where there is no `a` in x alone."""
    alone = [bound for bound in bounds if bound.affine == ir.FALSE]
    if alone:
        return min(alone, key=lambda bound: len(bound.tables))
    affine = algebra.conjunction(*(bound.affine for bound in bounds))
    return Over(affine, _tables(bounds), _reason(bounds))


def _tables(bounds: Iterable[Over]) -> tuple[ir.Table, ...]:
    return tuple(dict.fromkeys(table for bound in bounds for table in bound.tables))


def _reason(bounds: Iterable[Over]) -> str:
    return next((bound.why for bound in bounds if bound.why), "")


def _ranges(node: ir.Member, negated: bool) -> Over:
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
    return Over(algebra.complement(inside) if negated else inside, why=why)


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


# ---------------------------------------------------------------- tables and data


def without_data(condition: ir.Set, bound: Approximation) -> ir.Set:
    """A condition that asks no data of the call: it holds wherever `condition` can (over), or must (under)."""
    match condition:
        case ir.DataTest():
            return ir.Bool(bound == "over")
        case ir.And(parts):
            return algebra.conjunction(*(without_data(part, bound) for part in parts))
        case ir.Or(parts):
            return algebra.disjunction(*(without_data(part, bound) for part in parts))
        case ir.Not(part):
            return algebra.complement(without_data(part, "under" if bound == "over" else "over"))
    return condition


def beside_choices(condition: ir.Set) -> ir.Set | None:
    """Which pairs a condition keeps that no list of `selected` names; None where it asks no list.

    What else it keeps, it keeps in blocks that lists name.
    """
    return _beside_choices(condition) if lists_in(condition) else None


def lists_in(condition: ir.Set) -> tuple[ir.DataTest, ...]:
    """The tests of a condition that ask lists of the call."""
    tests = (leaf for leaf in ir.leaves(condition) if isinstance(leaf, ir.DataTest))
    return tuple(leaf for leaf in tests if isinstance(leaf.test, ir.Chosen))


def _beside_choices(condition: ir.Set) -> ir.Set:
    match condition:
        case ir.And(parts):
            return algebra.conjunction(*map(_beside_choices, parts))
        case ir.Or(parts):
            return algebra.disjunction(*map(_beside_choices, parts))
        case ir.Not(part):
            return algebra.complement(_beside_choices(part))
        case ir.DataTest(ir.Chosen()):
            return ir.FALSE
    return condition


def bounded(pattern: ir.Pattern) -> ir.Pattern:
    """The pattern without inputs, and scores, that keeps every pair that `pattern` keeps for some data; itself where it
    has no inputs.
    """
    if not pattern.inputs:
        return pattern
    conditions = [without_data(condition, "over") for condition in pattern.conditions]
    distinct = tuple(dict.fromkeys(conditions))
    heads = tuple(distinct.index(conditions[number]) for number in pattern.head_conditions)
    return replace(pattern, conditions=distinct, head_conditions=heads, inputs=(), scores=())


def exact(table: ir.Leaf) -> ir.Set | None:
    """The pairs of a table as an affine condition, None for long tables, random ones and tests of data."""
    if not isinstance(table, ir.Blocks) or len(table.rows) + sum(map(len, table.rows)) > _MOST_ENTRIES:
        return None
    row, column = ir.FloorDiv(_Q, table.size), ir.FloorDiv(_K, table.size)
    return ir.Or(
        tuple(
            ir.And((ir.Compare(row, "==", ir.Const(index)), ir.Member(column, blocks)))
            for index, blocks in enumerate(table.rows)
            if blocks
        )
        or (ir.FALSE,)
    )


def affine_over(condition: ir.Set) -> ir.Set:
    """An affine condition that holds wherever `condition` can."""
    return _affine(condition, over=True)


def affine_under(condition: ir.Set) -> ir.Set:
    """An affine condition that holds only where `condition` does in any case."""
    return _affine(condition, over=False)


def _affine(condition: ir.Set, over: bool) -> ir.Set:
    match condition:
        case ir.And(parts):
            return algebra.conjunction(*(_affine(part, over) for part in parts))
        case ir.Or(parts):
            return algebra.disjunction(*(_affine(part, over) for part in parts))
        case ir.Not(part):
            return algebra.complement(_affine(part, not over))
    if not isinstance(condition, ir.Leaf):
        return condition
    return exact(condition) or (extent(condition) if over else ir.FALSE)


def extent(table: ir.Leaf) -> ir.Set:
    """An affine condition that holds wherever the table can list a pair, or a test of data may hold."""
    match table:
        case ir.Blocks(size, rows):
            blocks = 1 + max((block for row in rows for block in row), default=-1)
            return ir.And(
                (ir.Compare(_Q, "<", ir.Const(size * len(rows))), ir.Compare(_K, "<", ir.Const(size * blocks)))
            )
        case ir.RandomBlocks(size, _, _, True):
            return ir.Compare(ir.FloorDiv(_K, size), "<=", ir.FloorDiv(_Q, size))
    return ir.TRUE
