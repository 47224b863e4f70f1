"""Nodes on numpy arrays of positions, for what counts and plans.  The reference has its own reading of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir import scores
from sparsec.ir.inputs import reads
from sparsec.ir.scores import Real

# By variable: int64 arrays that broadcast.  By input of int or bool, where data are read: its entries, int64 [entries].
Values = Mapping[str, np.ndarray | int]

_ARITHMETIC = {ir.Add: np.add, ir.Sub: np.subtract, ir.Mul: np.multiply, ir.Min: np.minimum, ir.Max: np.maximum}
_REAL = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power}
_COMPARE = {
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
    ">=": np.greater_equal,
    ">": np.greater,
}


def integer(node: ir.Int, at: Values) -> np.ndarray:
    """The value, int64, broadcast as far as its variables ask for."""
    match node:
        case ir.Const(value):
            return np.asarray(value, np.int64)
        case ir.Var(name):
            return np.asarray(at[name])
        case ir.FloorDiv(left, divisor):
            return floor_divided(integer(left, at), divisor)
        case ir.Mod(left, divisor):
            return remainder(integer(left, at), divisor)
        case ir.Abs(value):
            return np.abs(integer(value, at))
        case ir.Select(condition, then, other):
            return np.where(holds(condition, at), integer(then, at), integer(other, at))
        case ir.Read(name, index):
            entries = np.append(at[name], 0)
            place = np.zeros((), np.int64) if index is None else integer(index, at)
            return entries[np.where((place >= 0) & (place < len(entries)), place, -1)]
    return _ARITHMETIC[type(node)](integer(node.left, at), integer(node.right, at))


def floor_divided(values: np.ndarray, divisor: int) -> np.ndarray:
    """values // divisor, for a divisor above 0; by a shift, which takes a third of the time, for a power of two."""
    return values // divisor if divisor & (divisor - 1) else values >> (divisor.bit_length() - 1)


def remainder(values: np.ndarray, divisor: int) -> np.ndarray:
    """values % divisor, as `floor_divided`."""
    return values % divisor if divisor & (divisor - 1) else values & (divisor - 1)


def holds(node: ir.Set, at: Values, listed: Callable[[ir.Leaf], np.ndarray] | None = None) -> np.ndarray:
    """Whether the condition holds, bool, broadcast as far as its variables ask for.

    `listed` answers for tables and tests of data; without it, tests of data are about the entries that are known.
    """
    match node:
        case ir.Bool(value):
            return np.asarray(value)
        case ir.Compare(left, op, right):
            return _COMPARE[op](integer(left, at), integer(right, at))
        case ir.Member(value, members):
            return np.isin(integer(value, at), members)
        case ir.Not(part):
            return ~holds(part, at, listed)
        case ir.And(parts):
            return reduce(np.logical_and, (holds(part, at, listed) for part in parts))
        case ir.Or(parts):
            return reduce(np.logical_or, (holds(part, at, listed) for part in parts))
        case ir.DataTest(test) if listed is None:
            indices = (read.index for read in reads(node) if isinstance(read, ir.Read) and read.index is not None)
            inside = (_is_place(integer(index, at), at["n"]) for index in indices)
            return reduce(np.logical_and, inside, _tested(test, at))
    assert listed is not None, node  # whoever asks about tables says how they are read
    return listed(node)


def _is_place(index: np.ndarray, length: np.ndarray | int) -> np.ndarray:
    return np.asarray((index >= 0) & (index < length))


def _tested(test: ir.Test, at: Values) -> np.ndarray:
    """A test of data whose indices are inside."""
    if isinstance(test, ir.ElementOf):
        return np.isin(integer(test.value, at), at[test.name])
    assert isinstance(test, ir.Compare | ir.Member), test  # nobody knows what is chosen
    return holds(test, at)


def distinct(numbers: np.ndarray) -> np.ndarray:
    """The distinct numbers, rising.  np.unique imports masked arrays, which takes longer than most commands compute."""
    rising = np.sort(numbers, axis=None)
    return rising[np.diff(rising, prepend=rising[:1] - 1) != 0]


def summed(places: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct places, rising, and the sum of the numbers of each: int64."""
    order = np.argsort(places, kind="stable")
    rising = places[order]
    first = np.flatnonzero(np.diff(rising, prepend=rising[:1] - 1))
    return rising[first], np.add.reduceat(numbers[order].astype(np.int64), first) if len(first) else first


def real(node: Real, s: np.ndarray, at: Values) -> np.ndarray:
    """The value of a score, float64, from scaled products; infinite and not a number where the formula is."""
    match node:
        case scores.Number(value):
            return np.asarray(value)
        case scores.Scaled():
            return s
        case scores.Whole(whole):
            return integer(whole, at).astype(np.float64)
        case scores.Arithmetic(left, op, right):
            return _REAL[op](real(left, s, at), real(right, s, at))
        case scores.Apply(function, inner):
            return getattr(np, function)(real(inner, s, at))
        case scores.Extreme(kind, left, right):
            return (np.minimum if kind == "min" else np.maximum)(real(left, s, at), real(right, s, at))
        case scores.Choose(then, test, other):
            return np.where(holds(test, at), real(then, s, at), real(other, s, at))
    raise TypeError(f"not a score that a user can write: {node!r}")
