"""Expressions of the language that were not read from a text; numbers, and conditions that are known, are plain values.

An integer is `int | ast.Expr`, a condition `bool | ast.Expr`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import groupby

from sparsec.importers.refusal import refusal
from sparsec.lower.signatures import MAX_NUMBER
from sparsec.source import Source
from sparsec.syntax import ast

Int = int | ast.Expr
Set = bool | ast.Expr

_NONE: Set = False
NOWHERE = Source("<imported>", "").span(0, 0)
_HOLDS: dict[str, Callable[[int, int], bool]] = {
    "<": int.__lt__,
    "<=": int.__le__,
    "==": int.__eq__,
    "!=": int.__ne__,
    ">=": int.__ge__,
    ">": int.__gt__,
}
_OPPOSITE = {"<": ">=", "<=": ">", "==": "!=", "!=": "==", ">=": "<", ">": "<="}
_FOLDED: dict[str, Callable[[int, int], int]] = {
    "+": int.__add__,
    "-": int.__sub__,
    "*": int.__mul__,
    "//": int.__floordiv__,
    "%": int.__mod__,
    "**": int.__pow__,
}

_FUNCTIONS: dict[str, Callable[..., int]] = {"abs": abs, "min": min, "max": max}


def name(name: str) -> ast.Name:
    return ast.Name(name, span=NOWHERE)


def call(name: str, *arguments: Int) -> ast.Call:
    return ast.Call(name, tuple(ast.Argument(None, node(each), span=NOWHERE) for each in arguments), span=NOWHERE)


def node(value: Int) -> ast.Expr:
    """An integer as a node; a negative number is a minus before a positive one."""
    if not isinstance(value, int):
        return value
    if abs(value) > MAX_NUMBER:
        raise refusal(f"the number {value}", f"numbers of the language are at most {MAX_NUMBER}")
    number = ast.Number(abs(value), span=NOWHERE)
    return number if value >= 0 else ast.Unary("-", number, span=NOWHERE)


def condition(value: Set) -> ast.Expr:
    """A condition as a node."""
    if not isinstance(value, bool):
        return value
    return ast.Chain((name("k"), node(0)), (">=" if value else "<",), span=NOWHERE)


def varies(value: Int) -> bool:
    """Does the integer depend on the pair or on data, so that it is no constant once the head is known?"""
    return not isinstance(value, int) and any(
        isinstance(part, ast.Index) or (isinstance(part, ast.Name) and part.name not in ("n", "h", "H"))
        for part in ast.walk(value)
    )


def arithmetic(op: str, left: Int, right: Int) -> Int:
    """`+ - * // % **`; the caller sees to constant divisors, factors and exponents."""
    if isinstance(left, int) and isinstance(right, int):
        return _FOLDED[op](left, right)
    if right == 0 and op in "+-":
        return left
    if left == 0 and op == "+":
        return right
    return ast.Binary(op, node(left), node(right), span=NOWHERE)


def negative(value: Int) -> Int:
    return -value if isinstance(value, int) else ast.Unary("-", value, span=NOWHERE)


def folded(function: str, *values: Int) -> Int:
    """`abs`, `min` or `max`."""
    numbers = [value for value in values if isinstance(value, int)]
    if len(numbers) == len(values):
        return _FUNCTIONS[function](*numbers)
    return call(function, *values)


def compare(left: Int, op: str, right: Int) -> Set:
    if isinstance(left, int) and isinstance(right, int):
        return _HOLDS[op](left, right)
    return ast.Chain((node(left), node(right)), (op,), span=NOWHERE)


def member(value: Int, numbers: Sequence[int]) -> Set:
    """Whether it is one of these numbers, which are sorted; runs of three and more are written as ranges."""
    if isinstance(value, int):
        return value in numbers
    runs = [[each for _, each in run] for _, run in groupby(enumerate(numbers), key=lambda at: at[1] - at[0])]
    single = tuple(node(each) for run in runs if len(run) < 3 for each in run)
    containers: list[ast.Expr] = [ast.Members(single, span=NOWHERE)] if single else []
    containers += [ast.Range(node(run[0]), node(run[-1] + 1), span=NOWHERE) for run in runs if len(run) > 2]
    return some(ast.Membership(value, False, each, span=NOWHERE) for each in containers)


def some(conditions: Iterable[Set]) -> Set:
    """Whether one of them holds."""
    return reduce(either, conditions, _NONE)


def both(left: Set, right: Set) -> Set:
    if isinstance(left, bool) or isinstance(right, bool):
        known, other = (left, right) if isinstance(left, bool) else (right, left)
        return other if known else False
    return ast.Binary("&", left, right, span=NOWHERE)


def either(left: Set, right: Set) -> Set:
    if isinstance(left, bool) or isinstance(right, bool):
        known, other = (left, right) if isinstance(left, bool) else (right, left)
        return True if known else other
    parts = [part for side in (left, right) for part in (side.parts if isinstance(side, ast.Union) else (side,))]
    return ast.Union(tuple(parts), span=NOWHERE)


def complement(value: Set) -> Set:
    match value:
        case bool():
            return not value
        case ast.Unary("~", inner):
            return inner
        case ast.Chain((left, right), (op,)):
            return ast.Chain((left, right), (_OPPOSITE[op],), span=NOWHERE)
    return ast.Unary("~", value, span=NOWHERE)
