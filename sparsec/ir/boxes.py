"""Conditions on whole boxes of pairs, by interval arithmetic: kept by all of a box, by none, or not decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sparsec.ir import nodes as ir

Bounds = tuple[np.ndarray, np.ndarray]  # smallest and largest value in each box, int64
Decided = tuple[np.ndarray, np.ndarray]  # bool, by box: whether no pair of it is kept, whether all are

_FLIPPED = {">": "<", ">=": "<="}


def decided(node: ir.Set, at: Mapping[str, Bounds], listed: Callable[[ir.Leaf], Decided] | None = None) -> Decided:
    """Whether no pair of a box is kept, and whether all are: neither where intervals do not tell.

    `at` has the bounds of q, k and n, which broadcast; `listed` answers for tables.
    """
    match node:
        case ir.Bool(value):
            return np.asarray(not value), np.asarray(value)
        case ir.Compare(left, op, right):
            return _compared(bounds(left, at), op, bounds(right, at))
        case ir.Member(value, members):
            low, high = bounds(value, at)
            first, beyond = np.searchsorted(members, low), np.searchsorted(members, high, "right")
            return first == beyond, (beyond - first) == high - low + 1
        case ir.Not(part):
            never, always = decided(part, at, listed)
            return always, never
        case ir.And(parts):
            nevers, alls = zip(*(decided(part, at, listed) for part in parts), strict=True)
            return _any(nevers), _all(alls)
        case ir.Or(parts):
            nevers, alls = zip(*(decided(part, at, listed) for part in parts), strict=True)
            return _all(nevers), _any(alls)
    assert listed is not None, node  # whoever asks about tables says how they are read
    return listed(node)


def bounds(node: ir.Int, at: Mapping[str, Bounds]) -> Bounds:
    """The smallest and the largest value of an integer in each box, or a wider interval."""
    match node:
        case ir.Const(value):
            return np.asarray(value), np.asarray(value)
        case ir.Var(name):
            return at[name]
        case ir.FloorDiv(left, divisor):
            low, high = bounds(left, at)
            return low // divisor, high // divisor
        case ir.Mod(left, divisor):
            low, high = bounds(left, at)
            turn = low // divisor
            straight = turn == high // divisor
            return np.where(straight, low - turn * divisor, 0), np.where(straight, high - turn * divisor, divisor - 1)
        case ir.Abs(value):
            low, high = bounds(value, at)
            return np.maximum(np.maximum(low, -high), 0), np.maximum(high, -low)
        case ir.Select() | ir.Read():
            raise TypeError(f"not an integer of a pattern: {node!r}")
    (low, high), (least, most) = bounds(node.left, at), bounds(node.right, at)
    match node:
        case ir.Add():
            return low + least, high + most
        case ir.Sub():
            return low - most, high - least
        case ir.Min():
            return np.minimum(low, least), np.minimum(high, most)
        case ir.Max():
            return np.maximum(low, least), np.maximum(high, most)
        case ir.Mul():
            ends = low * least, low * most, high * least, high * most
            return np.minimum.reduce(np.broadcast_arrays(*ends)), np.maximum.reduce(np.broadcast_arrays(*ends))
    raise TypeError(f"not an integer of a pattern: {node!r}")


def _compared(left: Bounds, op: str, right: Bounds) -> Decided:
    if op in _FLIPPED:
        left, op, right = right, _FLIPPED[op], left
    (low, high), (least, most) = left, right
    match op:
        case "<":
            return low >= most, high < least
        case "<=":
            return low > most, high <= least
    apart = (high < least) | (most < low)
    same = (low == high) & (least == most) & (low == least)
    return (apart, same) if op == "==" else (same, apart)


def _any(found: tuple[np.ndarray, ...]) -> np.ndarray:
    result = found[0]
    for each in found[1:]:
        result = result | each
    return result


def _all(found: tuple[np.ndarray, ...]) -> np.ndarray:
    result = found[0]
    for each in found[1:]:
        result = result & each
    return result
