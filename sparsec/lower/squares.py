"""Comparisons of squares, `(q - k) ** 2 <= 25`, and the same without them: `abs(q - k) <= 5`."""

from __future__ import annotations

from math import isqrt

from sparsec.diagnostics import Diagnostic, Fix, NonlinearProduct, NotConstant
from sparsec.syntax import ast

ROOTS = "squares are compared by their roots: `(q - k) ** 2 <= 25` is `abs(q - k) <= 5`"
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def is_square(node: ast.Expr) -> bool:
    """`x ** 2` or `x * x`."""
    return _root(node) is not None


def rooted(node: ast.Chain, errors: list[Diagnostic]) -> list[Diagnostic]:
    """The errors of a comparison; where squares are all that is wrong with it, how to compare without them."""
    cure = without_square(node)
    squares = [error for error in errors if isinstance(error, NotConstant | NonlinearProduct) and error.hint == ROOTS]
    if cure is None or len(squares) < len(errors):
        return errors
    fix = Fix(f"write `{cure}`", node.span, cure, safe=True)
    return [error.changed(hint=f"write `{cure}`", fixes=(fix,)) for error in squares]


def without_square(node: ast.Chain) -> str | None:
    """The comparison of a square of positions with a number, or with another square, without squares.

    None for other comparisons, and where a square can't be what it is compared with.
    """
    if len(node.operands) != 2:
        return None
    (left, right), (op,) = node.operands, node.ops
    if not isinstance(left, ast.Number) and (root := _root(left)) is not None:
        return _compared(root, op, right)
    return _compared(root, _TURNED[op], left) if (root := _root(right)) is not None else None


def _root(node: ast.Expr) -> ast.Expr | None:
    match node:
        case ast.Binary("**", value, ast.Number(2)):
            return value
        case ast.Binary("*", left, right) if left == right:
            return left
    return None


def _compared(root: ast.Expr, op: str, other: ast.Expr) -> str | None:
    if isinstance(other, ast.Number):
        return _with_number(_size(root), op, other.value)
    if (bound := _root(other)) is not None and not isinstance(other, ast.Number):
        return f"{_size(root)} {op} {_size(bound)}"
    return None


def _size(node: ast.Expr) -> str:
    return node.span.text if isinstance(node, ast.Call) and node.name == "abs" else f"abs({node.span.text})"


def _with_number(size: str, op: str, square: int) -> str | None:
    """x * x op square, for the size |x| of an integer."""
    below = isqrt(square)  # the largest root whose square is at most that
    exact = below * below == square
    match op:
        case "<=" | ">":
            return f"{size} {op} {below}"
        case "<" | ">=":
            least = below if exact else below + 1  # the smallest root whose square is at least that
            return f"{size} {op} {least}"
    return f"{size} {op} {below}" if exact else None
