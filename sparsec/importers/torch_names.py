"""torch's functions and methods by name, and what each does to the values of a traced mask_mod.

Parameters are named and ordered as in torch, so that Python itself reads calls by position and by keyword; where a
method has another order than the function of its name, `_METHODS` has it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sparsec.importers import arithmetic, values
from sparsec.importers.inputs import Batch, PartOfTable, looked_up
from sparsec.importers.refusal import refusal
from sparsec.importers.values import Condition, Value

CURES = {
    "getitem": "a table is no formula; if it is one of heads, pass `heads=`, otherwise write `blocks(...)` in the text",
    "truediv": "use `//`",
    "true_divide": "use `//`",
    "fmod": "use `%`, which rounds down as `//` does",
}
OTHERWISE = "integers have + - * // % abs min max and comparisons, conditions & | ~ ^ and where"
_WIDE = ("int", "int32", "int64", "long")  # types that hold every position


def _div(input: Value, other: Value, rounding_mode: str | None = None) -> Value:
    if rounding_mode != "floor":
        raise refusal(f"a division that is rounded by {rounding_mode}", 'use `//`, or `rounding_mode="floor"`')
    return arithmetic.floor_divide(input, other)


def _logical(of: Callable[[Condition, Condition], Condition]) -> Callable[[Value, Value], Condition]:
    return lambda input, other: of(values.truth(input), values.truth(other))


def _logical_not(input: Value) -> Condition:
    return values.complement(values.truth(input))


def _same(input: Value, *where: object, **how: object) -> Value:
    """A copy, or the value on another device."""
    return input


def _to(input: Value, *wanted: object, **named: object) -> Value:
    """`.to(dtype)`, `.to(device)`, `.to(other)` and their keywords; devices, layouts and copies change no value."""
    if unknown := set(named) - {"device", "dtype", "other", "non_blocking", "copy", "memory_format"}:
        raise TypeError(f"unknown keywords {unknown}")
    for each in (*wanted, named.get("dtype"), named.get("other")):
        if isinstance(each, Condition):
            input = values.truth(input)
        elif isinstance(each, Value):
            input = values.as_integer(input)
        elif isinstance(each, type) or type(each).__name__ == "dtype":
            input = cast(input, each)
        elif hasattr(each, "dtype"):
            input = cast(input, each.dtype)
    return input


def cast(value: Value, dtype: object) -> Value:
    """The value as numpy's or torch's type, neither of which is imported here; None leaves it."""
    if dtype is None:
        return value
    name = dtype_name(dtype)
    if name == "bool":
        return values.truth(value)
    if name not in _WIDE:
        raise refusal(f"a position as {name}", "positions are integers: `torch.int64`, `torch.int32` or `torch.bool`")
    return values.as_integer(value)


def dtype_name(dtype: object) -> str:
    return dtype.__name__ if isinstance(dtype, type) else str(dtype).rpartition(".")[2]


def _type(input: Value, dtype: object, non_blocking: bool = False) -> Value:
    return cast(input, dtype)


def _type_as(input: Value, other: object) -> Value:
    return _to(input, other)


def _like(entry: int) -> Callable[..., Value]:
    def made(input: Value, *, dtype: object = None, **how: object) -> Value:
        return cast(values.truth(values.number(entry)) if isinstance(input, Condition) else values.number(entry), dtype)

    return made


def _new(entry: int) -> Callable[..., Value]:
    """`.new_ones(())`, with which and_masks and or_masks of torch and of transformers begin."""

    def made(input: Value, size: object, *, dtype: object = None, **how: object) -> Value:
        if not isinstance(size, tuple | list) or len(size):
            raise refusal(f"a tensor of size {size}", "a mask_mod is given single positions: `new_ones(())`")
        return _like(entry)(input, dtype=dtype)

    return made


def _extreme(name: str, of_two: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    """`torch.max` of a single position, which is itself, or of two; a Python number would be a dimension."""

    def extreme(input: Value, other: Value | None = None) -> Value:
        if isinstance(other, int):
            raise refusal(f"`{name}` along a dimension", f"for the {name} of two, write `torch.{name}imum(a, b)`")
        return constant(input) if other is None else of_two(constant(input), constant(other))

    return extreme


def _isin(elements: Value, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Condition:
    if not isinstance(elements, Value) or isinstance(test_elements, Value):
        raise refusal("`isin` of a table in positions", "the first is a position, the second a table of numbers")
    entries = test_elements.reshape(-1).tolist() if hasattr(test_elements, "tolist") else test_elements
    cases = [integer for each in _listed(entries) for _, integer in values.as_integer(constant(each)).cases]
    numbers = [integer for integer in cases if isinstance(integer, int)]
    assert len(numbers) == len(cases)  # entries come from outside
    found = values.member(values.as_integer(elements), numbers)
    return values.complement(found) if invert else found


def _listed(entries: object) -> Iterable[object]:
    return entries if isinstance(entries, list | tuple) else [entries]


def _look_up(table: Any, index: object) -> Any:
    """One entry of a table: an input, or a number where the batch index decides nothing, as in transformers' chunks."""
    indices = index if isinstance(index, tuple) else (index,)
    if isinstance(table, PartOfTable):
        table, indices = table.table, table.indices + indices
    if all(isinstance(each, Batch) for each in indices) and len(indices) == len(getattr(table, "shape", ())):
        entries = set(table.reshape(-1).tolist())
        if len(entries) == 1:
            return constant(entries.pop())
    if (found := looked_up(table, indices)) is not None:
        return found
    if any(isinstance(each, Batch) for each in indices):
        raise refusal("a dependence on the batch index", "a pattern is the same for every sequence of a batch")
    raise refusal("a look-up in a table by position", CURES["getitem"])


def constant(value: Any) -> Value:
    """A number from outside: Python's, numpy's, or a tensor of no dimension; values are what they are."""
    if isinstance(value, Value):
        return value
    if isinstance(value, Batch):
        raise refusal("a dependence on the batch index", "a pattern is the same for every sequence of a batch")
    if isinstance(value, PartOfTable):
        raise refusal("a look-up of several entries of a table", "give an index for each of its axes")
    dtype = getattr(value, "dtype", None)
    if isinstance(value, bool) or (dtype is not None and dtype_name(dtype) == "bool" and not value.shape):
        return Condition(bool(value))
    if getattr(value, "shape", ()):
        raise refusal(f"a {type(value).__name__} of several entries", "use Python integers, or numbers of no dimension")
    try:
        return values.number(operator.index(value))
    except TypeError:
        pass
    if hasattr(value, "is_integer") and value.is_integer():
        return values.number(int(value))
    raise refusal(
        f"a {type(value).__name__}, {value!r:.40}", "a pattern is made of integers: compare with a Python integer"
    )


# Called with values; numbers from outside are made such.
_OF_VALUES: dict[str, Callable[..., Value]] = {
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "subtract": arithmetic.subtract,
    "rsub": arithmetic.subtract_from,
    "mul": arithmetic.multiply,
    "multiply": arithmetic.multiply,
    "floordiv": arithmetic.floor_divide,
    "floor_divide": arithmetic.floor_divide,
    "mod": arithmetic.remainder,
    "remainder": arithmetic.remainder,
    "pow": arithmetic.power,
    "square": arithmetic.square,
    "lshift": arithmetic.left_shift,
    "bitwise_left_shift": arithmetic.left_shift,
    "rshift": arithmetic.right_shift,
    "bitwise_right_shift": arithmetic.right_shift,
    "neg": arithmetic.negative,
    "negative": arithmetic.negative,
    "pos": arithmetic.positive,
    "positive": arithmetic.positive,
    "abs": arithmetic.absolute,
    "absolute": arithmetic.absolute,
    "minimum": arithmetic.minimum,
    "maximum": arithmetic.maximum,
    "clamp": arithmetic.clamp,
    "clip": arithmetic.clamp,
    "clamp_min": arithmetic.clamp_min,
    "clamp_max": arithmetic.clamp_max,
    "where": values.where,
    "div": _div,
    "divide": _div,
    "and": arithmetic.bitwise_and,
    "or": arithmetic.bitwise_or,
    "xor": arithmetic.bitwise_xor,
    "invert": arithmetic.bitwise_not,
    "bitwise_and": arithmetic.bitwise_and,
    "bitwise_or": arithmetic.bitwise_or,
    "bitwise_xor": arithmetic.bitwise_xor,
    "bitwise_not": arithmetic.bitwise_not,
    "logical_and": _logical(values.both),
    "logical_or": _logical(values.either),
    "logical_xor": _logical(values.differ),
    "logical_not": _logical_not,
    "long": values.as_integer,
    "int": values.as_integer,
    "bool": values.truth,
}
for _names, _op in (
    (("lt", "less"), "<"),
    (("le", "less_equal"), "<="),
    (("eq",), "=="),
    (("ne", "not_equal"), "!="),
    (("ge", "greater_equal"), ">="),
    (("gt", "greater"), ">"),
):
    _OF_VALUES |= dict.fromkeys(_names, values.compare(_op))

# Called with what was written, but for positions.
_AS_WRITTEN: dict[str, Callable[..., Value]] = {
    "to": _to,
    "type": _type,
    "type_as": _type_as,
    "ones_like": _like(1),
    "zeros_like": _like(0),
    "max": _extreme("max", arithmetic.maximum),
    "min": _extreme("min", arithmetic.minimum),
    "isin": _isin,
    "getitem": _look_up,
    "new_ones": _new(1),
    "new_zeros": _new(0),
    **dict.fromkeys(("clone", "detach", "contiguous", "cpu", "cuda"), _same),
}

_METHODS: dict[str, Callable[..., Value]] = {
    "where": lambda input, condition, other: values.where(condition, input, other),
}


def known() -> Iterable[str]:
    return (*_OF_VALUES, *_AS_WRITTEN)


def apply(name: str, is_method: bool, args: Iterable[object], kwargs: Mapping[str, object]) -> Value:
    """What torch's function or method of this name makes of values and of numbers from outside."""
    try:
        if name in _AS_WRITTEN:
            return _AS_WRITTEN[name](*args, **kwargs)
        function = _METHODS.get(name) if is_method else None
        function = function or _OF_VALUES.get(name)
        if function is None:
            raise refusal(f"`{name}`", CURES.get(name, OTHERWISE))
        named = {key: _argument(each) for key, each in kwargs.items()}
        return function(*map(_argument, args), **named)
    except TypeError:  # an argument that only torch's own function has
        raise refusal(f"`{name}` with these arguments", OTHERWISE) from None


def _argument(value: object) -> Value | str | None:
    """Words, such as a way of rounding, and None stay what they are."""
    return value if value is None or isinstance(value, str) else constant(value)
