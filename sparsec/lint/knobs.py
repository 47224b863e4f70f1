"""The numbers of a pattern that set how far or how coarsely it looks: those that a user could turn.

No knobs are factors of positions, moduli of hashes, exponents, members, and all that chooses heads and layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sparsec.lower.scope import Entry
from sparsec.lower.signatures import bind, signature_of
from sparsec.syntax import ast

_POSITIONS = ("q", "k", "n")


def knobs(entry: Entry) -> Iterator[ast.Number]:
    """The numbers that could be turned, of defaults and of the body, in the order of writing."""
    found = list(_fixed(entry, {}))
    names = {node.name for node in found if isinstance(node, ast.Name)}
    for parameter in reversed(entry.definition.parameters):  # a default may name earlier ones
        if parameter.name in names and parameter.default is not None:
            found += _leaves(parameter.default)
            names |= {node.name for node in _leaves(parameter.default) if isinstance(node, ast.Name)}
    fixed = set(map(id, found))
    yield from (node for node in ast.walk(entry.definition) if isinstance(node, ast.Number) and id(node) not in fixed)


def _fixed(entry: Entry, known: dict[Entry, frozenset[str]]) -> Iterator[ast.Number | ast.Name]:
    """The numbers and parameters of a body that are no knobs; `known` are such parameters of the sets that it calls."""
    for node in ast.walk(entry.definition.body):
        parts: Iterable[ast.Expr]
        match node:
            case ast.Binary("*", left, right) if _at_positions(left) or _at_positions(right):
                parts = (left, right)
            case ast.Binary("//" | "%", left, right) if _at_positions(left) and not _plain(left):
                parts = (right,)
            case ast.Binary("**", left, right):
                parts = (left, right)
            case ast.Members(items):
                parts = items
            case ast.Chain(operands) if not any(map(_at_positions, operands)):
                parts = operands
            case ast.Membership(value, _, container) if not _at_positions(value):
                parts = (value, container)
            case ast.Scored(_, scores):
                numbers = (part for score in scores for part in ast.walk(score))
                parts = tuple(part for part in numbers if isinstance(part, ast.Number | ast.Name))
            case ast.Match(value, arms):
                parts = (value, *(head for arm in arms for head in arm.heads))
            case ast.Call():
                parts = _arguments(node, entry, known)
            case _:
                parts = ()
        for part in parts:
            yield from _leaves(part)


def _arguments(node: ast.Call, entry: Entry, known: dict[Entry, frozenset[str]]) -> Iterator[ast.Expr]:
    """The arguments that go to parameters that are no knobs."""
    target = entry.scope.find(node.name)
    if target is None:
        return
    if target not in known:
        known[target] = frozenset(each.name for each in _fixed(target, known) if isinstance(each, ast.Name))
    bound = bind(signature_of(target.definition), node.arguments, node.span)
    assert isinstance(bound, dict)  # the definition is checked
    yield from (value for name, value in bound.items() if name in known[target])


def _leaves(node: ast.Syntax) -> Iterator[ast.Number | ast.Name]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Number | ast.Name))


def _at_positions(node: ast.Syntax) -> bool:
    return any(isinstance(each, ast.Name) and each.name in _POSITIONS for each in ast.walk(node))


def _plain(node: ast.Expr) -> bool:
    """A position, a distance of two, or what division leaves of one: what blocks and strides are made of."""
    match node:
        case ast.Name(name):
            return name in _POSITIONS
        case ast.Binary("-", ast.Name(left), ast.Name(right)):
            return {left, right} <= set(_POSITIONS)
        case ast.Binary("//" | "%", left, _):
            return _plain(left)
    return False
