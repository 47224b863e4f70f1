"""The terms that a condition is the union of, each with a name: `past(128)` and `sinks(4)` of past(w) | sinks(4).

    causal & (window(w) | global(g))    window(256): causal & window(256), global(2): causal & global(2)

A name is made of checked identifiers and of integers, so that it may stand in a comment of generated code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sparsec.diagnostics import SparsecError
from sparsec.ir import algebra
from sparsec.ir.nodes import FALSE, Const, Set
from sparsec.lower.conditions import Evaluation, Frame
from sparsec.lower.scope import Entry
from sparsec.syntax import ast

_MOST_TERMS = 16
_LONGEST = 60  # letters of a name


class Term(NamedTuple):
    """A part of a union, under the name that the text gives it; "" where it has none."""

    name: str
    condition: Set


def terms(evaluation: Evaluation, entry: Entry, parameters: Mapping[str, int]) -> tuple[Term, ...]:
    """The terms of a definition that has been lowered before, without errors; none where they are too many to tell."""
    frame = Frame(entry, {name: Const(value) for name, value in parameters.items()})
    try:
        found = [term for term in _terms(evaluation, entry.definition.body, frame) if term.condition != FALSE]
    except SparsecError:  # written out once more, the sets pass the limits
        return ()
    return tuple(found) if len(found) <= _MOST_TERMS else ()


def _terms(evaluation: Evaluation, node: ast.Expr, frame: Frame) -> list[Term]:
    match node:
        case ast.Scored(body):
            return _terms(evaluation, body, frame)
        case ast.Union(parts):
            return [term for part in parts for term in _terms(evaluation, part, frame)]
        case ast.Match() if (arm := evaluation.arm(node, frame)) is not None:
            return _terms(evaluation, arm.body, frame)
        case ast.Binary("&", left, right):
            return _meets(_terms(evaluation, left, frame), _terms(evaluation, right, frame))
        case ast.Binary("\\", left, right):
            without = evaluation.set(right, frame)
            assert without is not None
            outside = algebra.complement(without)
            return [Term(name, algebra.conjunction(some, outside)) for name, some in _terms(evaluation, left, frame)]
        case ast.Name(name) if frame.entry.scope.find(name):  # an input has no definition
            return _called(evaluation, ast.Call(name, (), span=node.span), frame)
        case ast.Call():
            return _called(evaluation, node, frame)
    condition = evaluation.set(node, frame)
    assert condition is not None
    return [Term("", condition)]


def _meets(left: list[Term], right: list[Term]) -> list[Term]:
    """(a | b) & c as a & c, b & c; the names are those of the side that is a union."""
    if len(left) > 1 and len(right) > 1:
        joined = (algebra.disjunction(*(condition for _, condition in side)) for side in (left, right))
        return [Term("", algebra.conjunction(*joined))]
    many, (one,) = (left, right) if len(right) == 1 else (right, left)
    if len(many) > 1:
        return [Term(name, algebra.conjunction(some, one.condition)) for name, some in many]
    names = left[0].name, right[0].name
    name = " & ".join(name or "..." for name in names) if any(names) else ""
    return [Term(name, algebra.conjunction(left[0].condition, right[0].condition))]


def _called(evaluation: Evaluation, node: ast.Call, frame: Frame) -> list[Term]:
    """A set by its own name, or the terms of its body where these have names."""
    entry = frame.entry.scope.find(node.name)
    if entry is None:  # a table, which has no definition
        condition = evaluation.set(node, frame)
        assert condition is not None
        return [Term(node.name, condition)]
    inner = evaluation.enter(entry, node, frame)
    found = _terms(evaluation, entry.definition.body, inner)
    if len(found) > 1 and any(name for name, _ in found):
        return found
    values = [value.value if isinstance(value, Const) else None for value in inner.values.values()]
    arguments = f"({', '.join('...' if value is None else str(value) for value in values)})" if values else ""
    name = f"{node.name}{arguments}"
    return [Term(name if len(name) <= _LONGEST else node.name[:_LONGEST], condition) for _, condition in found]
