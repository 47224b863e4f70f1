"""Integer arithmetic of a traced mask_mod, by the rules and with the parameter names of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sparsec.importers import expressions as ex
from sparsec.importers import values
from sparsec.importers.refusal import refusal
from sparsec.importers.values import Condition, Integer, Square, Value


def add(input: Value, other: Value, alpha: Value | None = None) -> Value:
    """As torch adds: two conditions give their union."""
    if isinstance(input, Condition) and isinstance(other, Condition):
        if alpha not in (None, values.number(1)):
            raise refusal("`alpha` of two conditions", "write `a | b`")
        return values.either(input, other)
    return values.each(lambda a, b: ex.arithmetic("+", a, b), input, _scaled(other, alpha))


def subtract(input: Value, other: Value, alpha: Value | None = None) -> Value:
    if isinstance(input, Condition) and isinstance(other, Condition):
        raise refusal("`-` of two conditions", "write `a & ~b`")
    return values.each(lambda a, b: ex.arithmetic("-", a, b), input, _scaled(other, alpha))


def subtract_from(input: Value, other: Value, alpha: Value | None = None) -> Value:
    return subtract(other, input, alpha)


def _scaled(value: Value, alpha: Value | None) -> Value:
    return value if alpha is None else multiply(alpha, value)


def multiply(input: Value, other: Value) -> Value:
    if isinstance(input, Condition) and isinstance(other, Condition):
        return values.both(input, other)
    if isinstance(input, Integer) and input == other and any(ex.varies(value) for _, value in input.cases):
        return Square(input)
    return values.each(_product, input, other)


def square(input: Value) -> Value:
    return multiply(values.as_integer(input), values.as_integer(input))


def power(input: Value, exponent: Value) -> Value:
    if exponent == values.number(0):
        return values.number(1)
    if exponent == values.number(1):
        return values.as_integer(input)
    if exponent == values.number(2):
        return square(input)
    return values.each(_power, input, exponent)


def floor_divide(input: Value, other: Value) -> Value:
    return values.each(_quotient, input, other)


def remainder(input: Value, other: Value) -> Value:
    return values.each(_remainder, input, other)


def left_shift(input: Value, other: Value) -> Value:
    return multiply(input, power(values.number(2), other))


def right_shift(input: Value, other: Value) -> Value:
    return floor_divide(input, power(values.number(2), other))


def negative(input: Value) -> Value:
    return values.by_case([(held, ex.negative(each)) for held, each in values.as_integer(input).cases])


def positive(input: Value) -> Value:
    return values.as_integer(input)


def absolute(input: Value) -> Value:
    return input if isinstance(input, Square) else values.magnitude(values.as_integer(input))


def minimum(input: Value, other: Value) -> Value:
    if isinstance(input, Condition) and isinstance(other, Condition):
        return values.both(input, other)
    return values.each(lambda a, b: ex.folded("min", a, b), input, other)


def maximum(input: Value, other: Value) -> Value:
    if isinstance(input, Condition) and isinstance(other, Condition):
        return values.either(input, other)
    return values.each(lambda a, b: ex.folded("max", a, b), input, other)


def clamp(input: Value, min: Value | None = None, max: Value | None = None) -> Value:
    """As `torch.clamp`: where the bounds cross, `max` wins."""
    input = input if min is None else maximum(input, min)
    return input if max is None else minimum(input, max)


def clamp_min(input: Value, min: Value) -> Value:
    return maximum(input, min)


def clamp_max(input: Value, max: Value) -> Value:
    return minimum(input, max)


# ---------------------------------------------------------------- bits


def _bitwise(
    conditions: Callable[[Condition, Condition], Condition], integers: Callable[[ex.Int, ex.Int], ex.Int]
) -> Callable[[Value, Value], Value]:
    def operation(input: Value, other: Value) -> Value:
        if isinstance(input, Condition) and isinstance(other, Condition):
            return conditions(input, other)
        return values.each(integers, input, other)

    return operation


def _shared_bits(left: ex.Int, right: ex.Int) -> ex.Int:
    """`left & right`, one of them a number: each run of ones is a remainder of a quotient."""
    value, mask = (left, right) if isinstance(right, int) else (right, left)
    if not isinstance(mask, int):
        raise refusal("`&`, `|` or `^` of two integers that are no numbers", "compare first, as in `x != 0`")
    if isinstance(value, int):
        return value & mask
    if mask < 0:
        return ex.arithmetic("-", value, _shared_bits(value, ~mask))
    found: ex.Int = 0
    for low, length in _runs_of_ones(mask):
        bits = ex.arithmetic("%", _scaled_down(value, 2**low), 2**length)
        found = ex.arithmetic("+", found, bits if low == 0 else ex.arithmetic("*", bits, 2**low))
    return found


def _runs_of_ones(mask: int) -> Iterator[tuple[int, int]]:
    """First bit and length of each run."""
    low = 0
    while mask:
        zeros = (mask & -mask).bit_length() - 1
        mask >>= zeros
        length = (~mask & (mask + 1)).bit_length() - 1
        yield low + zeros, length
        mask >>= length
        low += zeros + length


def _scaled_down(value: ex.Int, divisor: int) -> ex.Int:
    return value if divisor == 1 else ex.arithmetic("//", value, divisor)


def _any_bits(left: ex.Int, right: ex.Int) -> ex.Int:
    return ex.arithmetic("-", ex.arithmetic("+", left, right), _shared_bits(left, right))


def _other_bits(left: ex.Int, right: ex.Int) -> ex.Int:
    return ex.arithmetic("-", ex.arithmetic("+", left, right), ex.arithmetic("*", _shared_bits(left, right), 2))


bitwise_and = _bitwise(values.both, _shared_bits)
bitwise_or = _bitwise(values.either, _any_bits)
bitwise_xor = _bitwise(values.differ, _other_bits)


def bitwise_not(input: Value) -> Value:
    if isinstance(input, Condition):
        return values.complement(input)
    return subtract(negative(input), values.number(1))


# ---------------------------------------------------------------- what stays affine


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
