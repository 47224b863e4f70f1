"""Texts that say something else than they mean, and comparisons of squares, `(q - k) ** 2 <= 25`, with the same without
them: `abs(q - k) <= 5`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isqrt

from sparsec.diagnostics import CausalOnOneSide, Diagnostic, Fix, NonlinearProduct, NotConstant, UnionThenWithout
from sparsec.ir.nodes import FALSE, And, Bool, Compare, Const, Or, RandomBlocks, Set, Sub, Var
from sparsec.syntax import ast


def lint_union(node: ast.Union, values: Sequence[Set], value: Callable[[ast.Expr], Set | None]) -> list[Diagnostic]:
    """Warnings for a union whose parts have the given values."""
    found: list[Diagnostic] = []
    for number, part in enumerate(node.parts):
        if not isinstance(part, ast.Binary) or _in_brackets(part) or values[number] == FALSE:
            continue  # an empty part belongs to other heads
        others = [other for i, other in enumerate(values) if i != number]
        if part.op == "\\" and number > 0:
            fix = Fix("write brackets around this part", part.span, f"({part.span.text})", safe=True)
            found.append(UnionThenWithout(taken=part.right.span.text, span=part.span, fixes=(fix,)))
        elif part.op == "&" and not all(map(past_only, others)):
            guards = [term for term in _terms(part) if value(term) in _CAUSAL]
            fix = Fix("write brackets around this part", part.span, f"({part.span.text})", safe=True)
            found += [
                CausalOnOneSide(guard=guard.span.text, span=guard.span, fixes=(*_for_all(node, guard), fix))
                for guard in guards[:1]
            ]
    return found


def _for_all(node: ast.Union, guard: ast.Expr) -> tuple[Fix, ...]:
    """`a & b | c` -> `a & (b | c)`, where the union begins with the guard `a`, without brackets around it."""
    text, start = node.span.source.text, node.span.start
    behind = re.match(r"\s*&\s*", text[guard.span.end : node.span.end])
    if guard.span.start != start or behind is None:
        return ()
    rest = text[guard.span.end + behind.end() : node.span.end]
    return (Fix("restrict all of the union", node.span, f"{guard.span.text} & ({rest})"),)


_CAUSAL = (Compare(Var("k"), "<=", Var("q")), Compare(Var("q"), ">=", Var("k")))


def _terms(node: ast.Expr) -> list[ast.Expr]:
    """The operands of `a & b & c`."""
    if isinstance(node, ast.Binary) and node.op == "&":
        return [*_terms(node.left), node.right]
    return [node]


def _in_brackets(node: ast.Expr) -> bool:
    """Did the writer say `(a & b) | c`?"""
    text = node.span.source.text
    return _CLOSES.match(text, node.span.end) is not None and _code_before(text, node.span.start).endswith("(")


_CLOSES = re.compile(r"(?:\s|#[^\n]*)*\)")


def _code_before(text: str, end: int) -> str:
    """The line that ends at `end`, or the last one before it that holds more than blanks and comments."""
    while True:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end].partition("#")[0].rstrip()
        if line or start == 0:
            return line
        end = start - 1


def past_only(condition: Set) -> bool:
    """Does the condition say outright that no key lies after its query?"""
    match condition:
        case Bool(value):
            return not value
        case And(parts):
            return any(map(past_only, parts))
        case Or(parts):
            return all(map(past_only, parts))
        case Compare(Var("k"), "<=" | "<" | "==", Var("q")) | Compare(Var("q"), ">=" | ">" | "==", Var("k")):
            return True
        case Compare(Const(least), "<=" | "<", Sub(Var("q"), Var("k"))):
            return least >= 0
        case Compare(Sub(Var("q"), Var("k")), ">=" | ">", Const(least)):
            return least >= 0
        case RandomBlocks(size=1, past=True):
            return True
    return False


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
