"""Objects that stand for the arguments of a mask_mod and record what is done with them.

torch's functions come in through `__torch_function__`, known by name, so that torch is not imported here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import NoReturn

from sparsec.neighbours import expressions, values
from sparsec.neighbours.refusal import refusal
from sparsec.neighbours.values import Condition, Value

_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "add": values.add,
    "sub": values.subtract,
    "subtract": values.subtract,
    "mul": values.multiply,
    "multiply": values.multiply,
    "floordiv": values.floor_divide,
    "floor_divide": values.floor_divide,
    "mod": values.remainder,
    "remainder": values.remainder,
    "pow": values.power,
    "lshift": values.left_shift,
    "bitwise_left_shift": values.left_shift,
    "rshift": values.right_shift,
    "bitwise_right_shift": values.right_shift,
    "neg": values.negative,
    "negative": values.negative,
    "abs": values.absolute,
    "absolute": values.absolute,
    "minimum": values.minimum,
    "maximum": values.maximum,
    "clamp": values.clamp,
    "clip": values.clamp,
    "clamp_min": values.maximum,
    "clamp_max": values.minimum,
    "where": values.where,
    "and": values.conjunction,
    "or": values.disjunction,
    "xor": values.exclusive,
    "invert": values.complement,
    "bitwise_not": values.complement,
    "logical_not": values.complement,
    "long": values.as_integer,
    "int": values.as_integer,
    "bool": lambda value: values.as_condition(value, "`.bool()`"),
}
for _name in ("and", "or", "xor"):
    _FUNCTIONS |= dict.fromkeys((f"logical_{_name}", f"bitwise_{_name}"), _FUNCTIONS[_name])
for _names, _op in (
    (("lt", "less"), "<"),
    (("le", "less_equal"), "<="),
    (("eq",), "=="),
    (("ne", "not_equal"), "!="),
    (("ge", "greater_equal"), ">="),
    (("gt", "greater"), ">"),
):
    _FUNCTIONS |= dict.fromkeys(_names, values.compare(_op))

_CURES = {
    "getitem": "a table is no formula; if it is one of heads, pass `heads=`, otherwise write `blocks(...)` in the text",
    "div": "use `//`",
    "truediv": "use `//`",
    "true_divide": "use `//`",
    "fmod": "use `%`, which rounds down as `//` does",
    "new_ones": "only conditions can be made so: `dtype=torch.bool`",
    "new_zeros": "only conditions can be made so: `dtype=torch.bool`",
}
_OTHERWISE = "integers have + - * // % abs min max and comparisons, conditions & | ~ ^ and where"


class Traced:
    """An integer or a condition under trace; None for what nothing may depend on."""

    __slots__ = ("_value",)
    __array_ufunc__ = None  # numpy leaves operators to us

    def __init__(self, value: Value | None) -> None:
        self._value = value

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: object, args: tuple = (), kwargs: Mapping | None = None
    ) -> Traced:
        return _apply(func.__name__.removeprefix("__").removesuffix("__"), *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("new_ones", "new_zeros"):  # torch's own and_masks and or_masks begin with one
            return partial(_made, name)
        if name == "device":
            return "cpu"
        if name in _FUNCTIONS:
            return partial(_apply, name, self)
        raise refusal(f"`.{name}`", _OTHERWISE)

    def __bool__(self) -> NoReturn:
        raise refusal(
            "a condition on positions in `if`, `and`, `or`, `not`, `in` or a chain of comparisons",
            "write `&`, `|`, `~` and `torch.where`, and `(a <= b) & (b < c)`: only these see every pair",
        )

    def __index__(self) -> NoReturn:
        raise refusal("a position as an index or a Python number", _CURES["getitem"])

    __int__ = __index__
    __float__ = __index__
    __hash__ = __index__

    def __iter__(self) -> NoReturn:
        raise refusal("a position as a sequence", "a mask_mod is given single positions")

    def __getitem__(self, index: object) -> NoReturn:
        raise refusal("a position as a sequence", "a mask_mod is given single positions")


def _unary(name: str) -> Callable[[Traced], Traced]:
    return lambda self: _apply(name, self)


def _forward(name: str) -> Callable[[Traced, object], Traced]:
    return lambda self, other: _apply(name, self, other)


def _reflected(name: str) -> Callable[[Traced, object], Traced]:
    return lambda self, other: _apply(name, other, self)


for _name in ("neg", "abs", "invert"):
    setattr(Traced, f"__{_name}__", _unary(_name))
for _name in (
    "add",
    "sub",
    "mul",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and",
    "or",
    "xor",
    "truediv",
    "matmul",
):
    setattr(Traced, f"__{_name}__", _forward(_name))
    setattr(Traced, f"__r{_name}__", _reflected(_name))
for _name in ("lt", "le", "eq", "ne", "ge", "gt"):
    setattr(Traced, f"__{_name}__", _forward(_name))


def _apply(name: str, *args: object, **kwargs: object) -> Traced:
    if name in ("div", "divide") and kwargs.get("rounding_mode") == "floor":
        name, kwargs = "floor_divide", {}
    function = _FUNCTIONS.get(name)
    if function is None:
        shown = "a look-up in a table by position" if name == "getitem" else f"`{name}`"
        raise refusal(shown, _CURES.get(name, _OTHERWISE))
    lifted = [None if arg is None else lift(arg) for arg in args]
    named = {key: None if arg is None else lift(arg) for key, arg in kwargs.items()}
    try:
        return Traced(function(*lifted, **named))
    except TypeError:  # an argument that only torch's own function has
        raise refusal(f"`{name}` with these arguments", _OTHERWISE) from None


def _made(name: str, *args: object, dtype: object = None, **kwargs: object) -> Traced:
    if not _is_bool(dtype):
        raise refusal(f"`.{name}`", _CURES[name])
    return Traced(Condition(name == "new_ones"))


def lift(value: object) -> Value:
    """What the function computes with: traced values, Python and numpy numbers, torch's of no dimension."""
    if isinstance(value, Traced):
        if value._value is None:
            raise refusal("a dependence on the batch index", "a pattern is the same for every sequence of a batch")
        return value._value
    if isinstance(value, bool) or (_is_bool(getattr(value, "dtype", None)) and not value.shape):
        return Condition(bool(value))
    try:
        return values.number(operator.index(value))
    except TypeError:
        pass
    kind = type(value).__name__
    if getattr(value, "shape", ()):
        raise refusal(f"a {kind} of several entries", "use Python integers, or numbers of no dimension")
    raise refusal(f"a {kind}, {value!r:.40}", "a pattern is made of integers: compare with a Python integer")


def _is_bool(dtype: object) -> bool:
    """numpy's and torch's, neither of which is imported here."""
    return str(dtype).rpartition(".")[2] == "bool"


def position(name: str) -> Traced:
    """The traced argument that the language calls `name`."""
    return Traced(values.number(expressions.name(name)))


def batch() -> Traced:
    """The argument that nothing may depend on."""
    return Traced(None)
