"""What is left of a condition in tiles where all tests of data are decided alike, so that no pair reads data."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.ir import algebra
from sparsec.ir import nodes as ir


def tests_of(condition: ir.Set) -> tuple[ir.Set, ...]:
    """The tests of data in a condition, with negations at tests: those of ~(a | b) are ~a and ~b."""
    return tuple(dict.fromkeys(_tests(condition, False)))


def where_alike(condition: ir.Set) -> ir.Set | None:
    """A condition with one of its tests of data in the place of all; None where one value or the other decides it.

    Nothing is lost there: lists say of such tiles that they have no pair, or all.
    """
    test, *_ = tests_of(condition)
    left = [_with(condition, False, value) for value in (ir.TRUE, ir.FALSE)]
    return None if all(isinstance(each, ir.Bool) for each in left) else _with(condition, False, test)


def _tests(node: ir.Set, negated: bool) -> Iterator[ir.Set]:
    match node:
        case ir.DataTest():
            yield ir.Not(node) if negated else node
        case ir.Not(part):
            yield from _tests(part, not negated)
        case ir.And(parts) | ir.Or(parts):
            for part in parts:
                yield from _tests(part, negated)


def _with(node: ir.Set, negated: bool, test: ir.Set) -> ir.Set:
    match node:
        case ir.DataTest():
            return test
        case ir.Not(part):
            return _with(part, not negated, test)
        case ir.And(parts) | ir.Or(parts):
            join = algebra.conjunction if isinstance(node, ir.And) != negated else algebra.disjunction
            return join(*dict.fromkeys(_with(part, negated, test) for part in parts))
    return algebra.complement(node) if negated else node
