"""What a traced mask_mod computes with: integers by case, and conditions.

`torch.where` of integers has no form in the language, so an integer is a list of cases, and a comparison of two of
them the union of what it is in each pair of cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import islice

from sparsec.neighbours import expressions as ex
from sparsec.neighbours.refusal import refusal
from sparsec.syntax import ast

_MOST_CASES = 64
_MOST_PARTS = 20_000


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


Value = Integer | Condition


def number(value: ex.Int) -> Integer:
    return Integer(((True, value),))


def as_integer(value: Value) -> Integer:
    """A condition counts as 1 where it holds, and as 0 elsewhere."""
    return where(value, number(1), number(0)) if isinstance(value, Condition) else value


def as_condition(value: Value, what: str) -> Condition:
    if isinstance(value, Condition):
        return value
    raise refusal(f"{what} of an integer", "compare first, as in `x != 0`; for `x & (2**m - 1)` write `x % 2**m`")


def where(test: Value, then: Value, other: Value) -> Value:
    test = as_condition(test, "`where`")
    if isinstance(then, Condition) and isinstance(other, Condition):
        return disjunction(conjunction(test, then), conjunction(complement(test), other))
    sides = ((test.value, as_integer(then)), (ex.complement(test.value), as_integer(other)))
    return _integer([(ex.both(guard, held), value) for guard, side in sides for held, value in side.cases])


def conjunction(left: Value, right: Value) -> Condition:
    return Condition(ex.both(as_condition(left, "`&`").value, as_condition(right, "`&`").value))


def disjunction(left: Value, right: Value) -> Condition:
    return Condition(ex.either(as_condition(left, "`|`").value, as_condition(right, "`|`").value))


def complement(value: Value) -> Condition:
    return Condition(ex.complement(as_condition(value, "`~`").value))


def exclusive(left: Value, right: Value) -> Condition:
    """True where one of the two is."""
    return disjunction(conjunction(left, complement(right)), conjunction(complement(left), right))


def compare(op: str) -> Callable[[Value, Value], Condition]:
    def compared(left: Value, right: Value) -> Condition:
        if isinstance(left, Condition) and isinstance(right, Condition) and op in ("==", "!="):
            differ = exclusive(left, right)
            return differ if op == "!=" else complement(differ)
        pairs = _pairs(as_integer(left), as_integer(right))
        return Condition(reduce(ex.either, (ex.both(held, ex.compare(a, op, b)) for held, a, b in pairs), False))

    return compared


def add(left: Value, right: Value) -> Value:
    """As torch adds: two conditions give their union."""
    if isinstance(left, Condition) and isinstance(right, Condition):
        return disjunction(left, right)
    return _each(lambda a, b: ex.arithmetic("+", a, b), left, right)


def subtract(left: Value, right: Value) -> Value:
    if isinstance(left, Condition) and isinstance(right, Condition):
        raise refusal("`-` of two conditions", "write `a & ~b`")
    return _each(lambda a, b: ex.arithmetic("-", a, b), left, right)


def multiply(left: Value, right: Value) -> Value:
    if isinstance(left, Condition) and isinstance(right, Condition):
        return conjunction(left, right)
    return _each(_product, left, right)


def floor_divide(left: Value, right: Value) -> Value:
    return _each(_quotient, left, right)


def remainder(left: Value, right: Value) -> Value:
    return _each(_remainder, left, right)


def power(left: Value, right: Value) -> Value:
    return _each(_power, left, right)


def left_shift(left: Value, right: Value) -> Value:
    return multiply(left, power(number(2), right))


def right_shift(left: Value, right: Value) -> Value:
    return floor_divide(left, power(number(2), right))


def negative(value: Value) -> Value:
    return _integer([(held, ex.negative(each)) for held, each in as_integer(value).cases])


def absolute(value: Value) -> Value:
    return _integer([(held, ex.folded("abs", each)) for held, each in as_integer(value).cases])


def minimum(left: Value, right: Value) -> Value:
    return _each(lambda a, b: ex.folded("min", a, b), left, right)


def maximum(left: Value, right: Value) -> Value:
    return _each(lambda a, b: ex.folded("max", a, b), left, right)


def clamp(value: Value, min: Value | None = None, max: Value | None = None) -> Value:
    """As `torch.clamp`: where the bounds cross, `max` wins."""
    value = value if min is None else maximum(value, min)
    return value if max is None else minimum(value, max)


# ---------------------------------------------------------------- cases


def _each(operation: Callable[[ex.Int, ex.Int], ex.Int], left: Value, right: Value) -> Integer:
    return _integer([(held, operation(a, b)) for held, a, b in _pairs(as_integer(left), as_integer(right))])


def _pairs(left: Integer, right: Integer) -> list[tuple[ex.Set, ex.Int, ex.Int]]:
    return [(ex.both(p, r), a, b) for p, a in left.cases for r, b in right.cases if ex.both(p, r) is not False]


def _integer(cases: list[tuple[ex.Set, ex.Int]]) -> Integer:
    cases = [(held, value) for held, value in cases if held is not False]
    if len(cases) > _MOST_CASES:
        raise refusal(
            f"a choice between more than {_MOST_CASES} integers", "choose between conditions: `where(a, x, y) < z`"
        )
    return Integer(tuple(cases))


def _product(left: ex.Int, right: ex.Int) -> ex.Int:
    if ex.varies(left) and ex.varies(right):
        raise refusal("a product of two positions", "one factor has to be a number; products are not affine")
    return ex.arithmetic("*", left, right)


def _quotient(left: ex.Int, right: ex.Int) -> ex.Int:
    if isinstance(right, int) and right < 0:
        return _quotient(ex.negative(left), -right)  # x // -d = -x // d
    _divisor(right)
    return ex.arithmetic("//", left, right)


def _remainder(left: ex.Int, right: ex.Int) -> ex.Int:
    if isinstance(right, int) and right < 0:
        return ex.negative(_remainder(ex.negative(left), -right))  # x % -d = -(-x % d)
    _divisor(right)
    return ex.arithmetic("%", left, right)


def _divisor(value: ex.Int) -> None:
    if value == 0:
        raise refusal("a division by 0", "divide by a number of at least 1")
    if ex.varies(value):
        raise refusal("a division by a position", "divide by a number; such quotients are not affine")


def _power(left: ex.Int, right: ex.Int) -> ex.Int:
    if ex.varies(left) or ex.varies(right):
        raise refusal("a power of a position", "powers are of numbers only")
    if isinstance(right, int) and not 0 <= right < 63:
        raise refusal(f"an exponent or shift of {right}", "exponents are 0 or more, and numbers of 64 bits")
    return ex.arithmetic("**", left, right)
