"""The operands of the union that a definition is, each also as a body of its own: for pictures that tell them apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sparsec.syntax import ast


def operands(body: ast.Expr) -> list[tuple[ast.Expr, ast.Expr]]:
    """(operand as written, the body with nothing else in it) for each operand of the union, or of each arm's union.

    What is no union is its only operand.
    """
    return list(_operands(body))


def _operands(body: ast.Expr) -> Iterator[tuple[ast.Expr, ast.Expr]]:
    match body:
        case ast.Union(parts):
            yield from ((part, part) for part in parts)
        case ast.Scored(body=scored):
            yield from _operands(scored)
        case ast.Match(arms=arms):
            for place, arm in enumerate(arms):
                for part, alone in _operands(arm.body):
                    bodies = (alone if place == other else _nothing(body) for other in range(len(arms)))
                    yield part, replace(body, arms=tuple(map(_with_body, arms, bodies)))
        case _:
            yield body, body


def _with_body(arm: ast.Arm, body: ast.Expr) -> ast.Arm:
    return replace(arm, body=body)


def _nothing(where: ast.Expr) -> ast.Expr:
    """A set without a pair."""
    zero = ast.Number(0, span=where.span)
    return ast.Chain((zero, zero), ("<",), span=where.span)
