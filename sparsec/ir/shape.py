"""What a condition says but for its numbers: the parts of a union and the heads of a pattern are often alike in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sparsec.ir import nodes as ir


def apart(condition: ir.Set) -> tuple[ir.Set, tuple[int, ...]]:
    """(the condition with the variables `name(0)`, `name(1)`, ... in the place of its constants, their values).

    Divisors, moduli and tables stay: they change what kind of set it is.
    """
    numbers: list[int] = []
    return _named(condition, numbers), tuple(numbers)


def name(place: int) -> str:
    """Of the variable that stands for a constant."""
    return f"number {place}"


def _named(value: Any, numbers: list[int]) -> Any:
    """A node, or what a field of one holds."""
    match value:
        case ir.Const(number):
            numbers.append(number)
            return ir.Var(name(len(numbers) - 1))
        case tuple():
            return tuple(_named(each, numbers) for each in value)
    if isinstance(value, ir.Node) and not isinstance(value, ir.Leaf):
        return type(value)(*(_named(getattr(value, field), numbers) for field in value.__match_args__))
    return value


def renamed(condition: ir.Set, names: Mapping[str, str]) -> ir.Set:
    """The condition with other names for some of its variables; tables stay."""
    return cast(ir.Set, _renamed(condition, names))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A node, or what a field of one holds."""
    match value:
        case ir.Var(name):
            return ir.Var(names.get(name, name))
        case tuple():
            return tuple(_renamed(each, names) for each in value)
    if isinstance(value, ir.Node) and not isinstance(value, ir.Leaf):
        return type(value)(*(_renamed(getattr(value, field), names) for field in value.__match_args__))
    return value
