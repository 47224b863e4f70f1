"""What a traced mask_mod computes with: integers by case, squares of them, and conditions.

`torch.where` of integers has no form in the language, so an integer is a list of cases, and a comparison of two of
them the union of what it is in each pair of cases.  Parameters have the names that torch gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from math import isqrt

from sparsec.importers import expressions as ex
from sparsec.importers.refusal import refusal
from sparsec.syntax import ast

_MOST_CASES = 64
_MOST_PARTS = 20_000
_MIRRORED = {"<": ">", "<=": ">=", "==": "==", "!=": "!=", ">=": "<=", ">": "<"}


@dataclass(frozen=True)
class Integer:
    """Its value in each case; exactly one case holds for every pair."""

    cases: tuple[tuple[ex.Set, ex.Int], ...]

    def __post_init__(self) -> None:
        for _, value in self.cases:
            _check(value)


@dataclass(frozen=True)
class Condition:
    value: ex.Set

    def __post_init__(self) -> None:
        _check(self.value)


def _check(value: ex.Int | ex.Set) -> None:
    """What is used twice is written twice, so a few lines of Python can be a text without end."""
    if not isinstance(value, int) and sum(1 for _ in islice(ast.walk(value), _MOST_PARTS)) == _MOST_PARTS:
        raise refusal(f"an expression of {_MOST_PARTS:,} parts or more", "`^` and `where` write their operands twice")


@dataclass(frozen=True)
class Square:
    """The square of an integer that depends on the pair: no formula of the language, but its comparisons are."""

    root: Integer


Value = Integer | Condition | Square


def number(value: ex.Int) -> Integer:
    return Integer(((True, value),))


def as_integer(value: Value) -> Integer:
    """A condition counts as 1 where it holds, and as 0 elsewhere."""
    if isinstance(value, Square):
        raise refusal("a product of two positions", "one factor has to be a number, or compare a square with a number")
    return _chosen(value, number(1), number(0)) if isinstance(value, Condition) else value


def truth(input: Value) -> Condition:
    """Whether it is not 0."""
    return input if isinstance(input, Condition) else compare("!=")(input, number(0))


def where(condition: Value, input: Value, other: Value) -> Value:
    if not isinstance(condition, Condition):
        raise refusal("`where` by an integer", "compare first, as in `x != 0`")
    if isinstance(input, Condition) and isinstance(other, Condition):
        return either(both(condition, input), both(complement(condition), other))
    return _chosen(condition, as_integer(input), as_integer(other))


def _chosen(condition: Condition, input: Integer, other: Integer) -> Integer:
    sides = ((condition.value, input), (ex.complement(condition.value), other))
    return by_case([(ex.both(guard, held), value) for guard, side in sides for held, value in side.cases])


def both(left: Condition, right: Condition) -> Condition:
    return Condition(ex.both(left.value, right.value))


def either(left: Condition, right: Condition) -> Condition:
    return Condition(ex.either(left.value, right.value))


def differ(left: Condition, right: Condition) -> Condition:
    """True where one of the two is."""
    return either(both(left, complement(right)), both(complement(left), right))


def complement(value: Condition) -> Condition:
    return Condition(ex.complement(value.value))


def member(value: Integer, numbers: Iterable[int]) -> Condition:
    """Whether it is one of the numbers."""
    listed = sorted(set(numbers))
    return Condition(ex.some(ex.both(held, ex.member(each, listed)) for held, each in value.cases))


def compare(op: str) -> Callable[[Value, Value], Condition]:
    def compared(input: Value, other: Value) -> Condition:
        if isinstance(input, Condition) and isinstance(other, Condition) and op in ("==", "!="):
            found = differ(input, other)
            return found if op == "!=" else complement(found)
        if isinstance(input, Square) or isinstance(other, Square):
            return _compare_squares(input, op, other)
        cases = pairs(as_integer(input), as_integer(other))
        return Condition(ex.some(ex.both(held, ex.compare(a, op, b)) for held, a, b in cases))

    return compared


def _compare_squares(left: Value, op: str, right: Value) -> Condition:
    """Of two squares their roots' sizes are compared; a number is compared with the root's by its own root."""
    if isinstance(left, Square) and isinstance(right, Square):
        return compare(op)(magnitude(left.root), magnitude(right.root))
    if not isinstance(left, Square):
        return _compare_squares(right, _MIRRORED[op], left)
    other = as_integer(right)
    size, parts = magnitude(left.root), (Condition(False))
    for held, bound in other.cases:
        if not isinstance(bound, int):
            raise refusal("a square beside a position", "compare it with a number")
        parts = either(parts, both(Condition(held), _compare_with_bound(size, op, bound)))
    return parts


def _compare_with_bound(size: Integer, op: str, bound: int) -> Condition:
    """`size**2 op bound`, size being at least 0."""
    root = isqrt(bound) if bound >= 0 else -1
    exact = bound >= 0 and root * root == bound
    if op in ("==", "!="):
        return compare(op)(size, number(root)) if exact else Condition(op == "!=")
    if op in ("<", ">="):  # below the bound is up to the root, but for the root of a square itself
        root -= exact
    return compare("<=" if op in ("<", "<=") else ">")(size, number(root))


def magnitude(value: Integer) -> Integer:
    return by_case([(held, ex.folded("abs", each)) for held, each in value.cases])


# ---------------------------------------------------------------- cases


def each(operation: Callable[[ex.Int, ex.Int], ex.Int], left: Value, right: Value) -> Integer:
    return by_case([(held, operation(a, b)) for held, a, b in pairs(as_integer(left), as_integer(right))])


def pairs(left: Integer, right: Integer) -> list[tuple[ex.Set, ex.Int, ex.Int]]:
    return [(ex.both(p, r), a, b) for p, a in left.cases for r, b in right.cases if ex.both(p, r) is not False]


def by_case(cases: list[tuple[ex.Set, ex.Int]]) -> Integer:
    cases = [(held, value) for held, value in cases if held is not False]
    if len(cases) > _MOST_CASES:
        raise refusal(
            f"a choice between more than {_MOST_CASES} integers", "choose between conditions: `where(a, x, y) < z`"
        )
    return Integer(tuple(cases))
