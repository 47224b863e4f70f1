"""Between which numbers an integer of an imported function lies, whatever the pair: whether it can be an index."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isnan

from sparsec.importers import expressions as ex
from sparsec.syntax import ast

Bounds = tuple[float, float]

_ANY: Bounds = (-inf, inf)


def bounds(value: ex.Int, of_entries: Callable[[str], Bounds]) -> Bounds:
    """The least and the most that an integer can be; `of_entries`: those of the entries of an input."""
    match value:
        case int():
            return value, value
        case ast.Number(number):
            return number, number
        case ast.Name("q" | "k" | "n" | "h" | "H"):
            return 0, inf
        case ast.Name(name) | ast.Index(name):
            return of_entries(name)
        case ast.Unary("-", inner):
            least, most = bounds(inner, of_entries)
            return -most, -least
        case ast.Binary(op, left, right):
            return _of_arithmetic(op, bounds(left, of_entries), bounds(right, of_entries))
        case ast.Call(function, arguments):
            return _of_function(function, [bounds(each.value, of_entries) for each in arguments])
    return _ANY


def _of_arithmetic(op: str, left: Bounds, right: Bounds) -> Bounds:
    match op:
        case "+":
            return left[0] + right[0], left[1] + right[1]
        case "-":
            return left[0] - right[1], left[1] - right[0]
        case "*":
            ends = [a * b for a in left for b in right]
            return min(map(_known, ends)), max(map(_known, ends))
        case "//" if right[0] > 0:
            return min(0, left[0]), max(0, left[1])
        case "%" if right[0] > 0:
            return 0, right[1] - 1
    return _ANY


def _of_function(function: str, values: list[Bounds]) -> Bounds:
    least, most = zip(*values, strict=True)
    match function:
        case "min":
            return min(least), min(most)
        case "max":
            return max(least), max(most)
        case "abs":
            return max(0, least[0], -most[0]), max(-least[0], most[0])
    return _ANY


def _known(product: float) -> float:
    """0 times what may be any number is 0."""
    return 0 if isnan(product) else product
