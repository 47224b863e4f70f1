"""Objects that stand for the arguments of a mask_mod or a score_mod and record what is done with them.

torch's functions come in through `__torch_function__`, known by name, so that torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodDescriptorType
from typing import NoReturn

from sparsec.diagnostics import SparsecError
from sparsec.importers import expressions, reals, torch_names, values
from sparsec.importers.inputs import Batch, PartOfTable
from sparsec.importers.reals import RealValue
from sparsec.importers.refusal import refusal
from sparsec.importers.values import Value


class Traced:
    """An integer, a condition, a real number or the batch index under trace."""

    __slots__ = ("_value",)
    __array_ufunc__ = None  # numpy leaves operators to us

    def __init__(self, value: Value | Batch | RealValue) -> None:
        self._value = value

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: object, args: tuple = (), kwargs: Mapping | None = None
    ) -> Traced:
        name = func.__name__.removeprefix("__").removesuffix("__")
        return _apply(name, isinstance(func, MethodDescriptorType), *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "device":
            return "cpu"
        if name == "dtype" and isinstance(self._value, RealValue):
            return float
        if name in torch_names.known() or name in reals.known():
            return lambda *args, **kwargs: _apply(name, True, self, *args, **kwargs)
        raise refusal(f"`.{name}`", torch_names.OTHERWISE)

    def __bool__(self) -> NoReturn:
        raise refusal(
            "a condition on positions in `if`, `and`, `or`, `not`, `in` or a chain of comparisons",
            "write `&`, `|`, `~` and `torch.where`, and `(a <= b) & (b < c)`: only these see every pair",
        )

    def __index__(self) -> NoReturn:
        raise refusal("a position as an index or a Python number", torch_names.CURES["getitem"])

    __int__ = __index__
    __float__ = __index__
    __hash__ = __index__

    def __iter__(self) -> NoReturn:
        raise refusal("a position as a sequence", "a mask_mod is given single positions")

    def __getitem__(self, index: object) -> Traced:
        if isinstance(self._value, PartOfTable):
            return _apply("getitem", False, self, index)
        raise refusal("a position as a sequence", "a mask_mod is given single positions")

    def __divmod__(self, other: object) -> tuple[Traced, Traced]:
        return _apply("floordiv", False, self, other), _apply("mod", False, self, other)

    def __rdivmod__(self, other: object) -> tuple[Traced, Traced]:
        return _apply("floordiv", False, other, self), _apply("mod", False, other, self)


def _unary(name: str) -> Callable[[Traced], Traced]:
    return lambda self: _apply(name, False, self)


def _forward(name: str) -> Callable[[Traced, object], Traced]:
    return lambda self, other: _apply(name, False, self, other)


def _reflected(name: str) -> Callable[[Traced, object], Traced]:
    return lambda self, other: _apply(name, False, other, self)


for _name in ("neg", "pos", "abs", "invert"):
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


def _apply(name: str, is_method: bool, *args: object, **kwargs: object) -> Traced:
    named, given = {key: bare(each) for key, each in kwargs.items()}, [*map(bare, args)]
    if reals.is_real(name, [*given, *named.values()]):
        return Traced(reals.apply(name, given, named))
    try:
        return Traced(torch_names.apply(name, is_method, given, named))
    except SparsecError:
        if not reals.product_of_integers(name):
            raise
    return Traced(reals.apply(name, given, named))  # a real number, where there is no integer


def bare(value: object) -> object:
    """What is under trace; a tuple is the index of a table of several dimensions."""
    if isinstance(value, tuple):
        return tuple(map(bare, value))
    return value._value if isinstance(value, Traced) else value


def lift(value: object) -> Value:
    """What the function returned."""
    return torch_names.constant(bare(value))


def position(name: str) -> Traced:
    """The traced argument that the language calls `name`."""
    return Traced(values.number(expressions.name(name)))


def batch() -> Traced:
    """The argument that nothing may depend on."""
    return Traced(Batch())
