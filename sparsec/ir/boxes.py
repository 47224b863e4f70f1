"""Conditions on whole boxes of pairs, by interval arithmetic: kept by all of a box, by none, or not decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.ir.ranges import rows_named
from sparsec.ir.shape import apart, name
from sparsec.ir.vector import floor_divided

Bounds = tuple[np.ndarray, np.ndarray]  # smallest and largest value in each box, int64
Decided = tuple[np.ndarray, np.ndarray]  # bool, by box: whether no pair of it is kept, whether all are

_FLIPPED = {">": "<", ">=": "<="}
_MANY = 8  # parts of one shape that are asked together, where the boxes are few
_FEW_BOXES = 4096
_LONG = 1 << 62
_ALL_ROWS: Bounds = np.asarray(-_LONG), np.asarray(_LONG)


@dataclass(frozen=True, slots=True)
class _Boxes:
    """Boxes that a condition is asked about, and what is known of them already."""

    at: Mapping[str, Bounds]
    listed: Callable[[ir.Leaf], Decided] | None
    known: dict[ir.Int, Bounds] = field(default_factory=dict)
    widths: dict[ir.Int, int] = field(default_factory=dict)  # of the narrowest interval

    @property
    def few(self) -> bool:
        """Whether they lie along one axis, and are so few that a node costs what numpy's calls cost."""
        return all(low.ndim <= 1 and low.size <= _FEW_BOXES for low, _ in self.at.values())

    def narrowest(self, node: ir.Int) -> int:
        """How far apart the bounds of an integer are at least."""
        if node not in self.widths:
            low, high = _bounds(node, self)
            self.widths[node] = int((high - low).min(initial=_LONG))
        return self.widths[node]


def decided(node: ir.Set, at: Mapping[str, Bounds], listed: Callable[[ir.Leaf], Decided] | None = None) -> Decided:
    """Whether no pair of a box is kept, and whether all are: neither where intervals do not tell.

    `at` has the bounds of q, k and n, or of other variables that the node is about, which broadcast; `listed` answers
    for tables.
    """
    return _decided(node, _Boxes(at, listed))


@lru_cache(maxsize=64)  # at each length again
def without_phases(node: ir.Set, width: int) -> ir.Set:
    """A condition of which `decided` tells the same about boxes that are all at least `width` positions wide and high.

    x % m == r is not decided in a box with all remainders, whatever r, nor is x % m < r: conditions that differ in such
    numbers only are alike.
    """
    return _without_phases(node, width)


def _without_phases(node: ir.Set, width: int) -> ir.Set:
    match node:
        case ir.And(parts):
            return algebra.conjunction(*dict.fromkeys(_without_phases(part, width) for part in parts))
        case ir.Or(parts):
            return algebra.disjunction(*dict.fromkeys(_without_phases(part, width) for part in parts))
        case ir.Not(part):
            return algebra.complement(_without_phases(part, width))
        case ir.Compare(ir.Mod(value, divisor) as remainder, _, ir.Const()) | ir.Compare(
            ir.Const(), _, ir.Mod(value, divisor) as remainder
        ) if divisor <= _narrowest(value, width):
            every = np.asarray(0), np.asarray(divisor - 1)
            sides = (
                every if side is remainder else _bounds(side, _Boxes({}, None)) for side in (node.left, node.right)
            )
            never, always = _compared(next(sides), node.op, next(sides))
            return ir.Bool(bool(always)) if never or always else ir.Compare(remainder, "==", ir.Const(0))
    return node


def _narrowest(value: ir.Int, width: int) -> int:
    """How many values in a row an integer takes at least in boxes at least so wide and high; 1 where it is not seen."""
    match value:
        case ir.Var("q" | "k"):
            return width
        case ir.Mod(inner, divisor):
            return min(divisor, _narrowest(inner, width))
        case ir.FloorDiv(inner, divisor):
            return (_narrowest(inner, width) - 1) // divisor + 1
    return 1


def _decided(node: ir.Set, boxes: _Boxes) -> Decided:
    match node:
        case ir.Bool(value):
            return np.asarray(not value), np.asarray(value)
        case ir.Compare(left, op, right):
            return _compared(_bounds(left, boxes), op, _bounds(right, boxes))
        case ir.Member(value, members):
            low, high = _bounds(value, boxes)
            first, beyond = np.searchsorted(members, low), np.searchsorted(members, high, "right")
            return first == beyond, (beyond - first) == high - low + 1
        case ir.Not(part):
            never, always = _decided(part, boxes)
            return always, never
        case ir.And(parts):
            nevers, alls = zip(*(_decided(part, boxes) for part in parts), strict=True)
            return _any(nevers), _all(alls)
        case ir.Or(parts):
            families, rest = _by_shape(parts) if len(parts) >= _MANY and boxes.few else ((), parts)
            found = [_decided(part, boxes) for part in rest]
            found += [_decided_by_any(family, boxes.at) for family in families]
            nevers, alls = zip(*found, strict=True)
            return _all(nevers), _any(alls)
    assert boxes.listed is not None, node  # whoever asks about tables says how they are read
    return boxes.listed(node)


def _bounds(node: ir.Int, boxes: _Boxes) -> Bounds:
    """The smallest and the largest value of an integer in each box, or a wider interval."""
    match node:
        case ir.Const(value):
            return np.asarray(value), np.asarray(value)
        case ir.Var(name):
            return boxes.at[name]
    if node not in boxes.known:
        boxes.known[node] = _found(node, boxes)
    return boxes.known[node]


def _found(node: ir.Int, boxes: _Boxes) -> Bounds:
    match node:
        case ir.FloorDiv(left, divisor):
            low, high = _bounds(left, boxes)
            return floor_divided(low, divisor), floor_divided(high, divisor)
        case ir.Mod(left, divisor):
            low, high = _bounds(left, boxes)
            if boxes.narrowest(left) >= divisor - 1:  # every box has every remainder
                return np.asarray(0), np.asarray(divisor - 1)
            turn = floor_divided(low, divisor)
            straight = turn == floor_divided(high, divisor)
            return np.where(straight, low - turn * divisor, 0), np.where(straight, high - turn * divisor, divisor - 1)
        case ir.Abs(value):
            low, high = _bounds(value, boxes)
            return np.maximum(np.maximum(low, -high), 0), np.maximum(high, -low)
        case (
            ir.Add(left, right) | ir.Sub(left, right) | ir.Mul(left, right) | ir.Min(left, right) | ir.Max(left, right)
        ):
            return _joined(node, _bounds(left, boxes), _bounds(right, boxes))
    raise TypeError(f"not an integer of a pattern: {node!r}")


def _joined(node: ir.Int, left: Bounds, right: Bounds) -> Bounds:
    (low, high), (least, most) = left, right
    match node:
        case ir.Add():
            return low + least, high + most
        case ir.Sub():
            return low - most, high - least
        case ir.Min():
            return np.minimum(low, least), np.minimum(high, most)
        case ir.Max():
            return np.maximum(low, least), np.maximum(high, most)
    ends = low * least, low * most, high * least, high * most
    return np.minimum.reduce(np.broadcast_arrays(*ends)), np.maximum.reduce(np.broadcast_arrays(*ends))


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


@dataclass(frozen=True, slots=True)
class _Family:
    """Parts that are alike but for their numbers: `shape` with number i of all parts, int64 [parts], for `name(i)`."""

    shape: ir.Set
    numbers: tuple[np.ndarray, ...]
    first: np.ndarray  # the first row that each part can hold for,
    stop: np.ndarray  # and the one after its last


@lru_cache(maxsize=16)
def _by_shape(parts: tuple[ir.Set, ...]) -> tuple[list[_Family], list[ir.Set]]:
    """Parts that are alike but for their numbers as families, and the other parts."""
    alike: dict[ir.Set, list[tuple[tuple[int, ...], ir.Set]]] = {}
    for part in parts:
        shape, numbers = apart(part)
        alike.setdefault(shape, []).append((numbers, part))
    families, rest = [], []
    for shape, some in alike.items():
        if len(some) < _MANY or not some[0][0] or ir.leaves(shape):
            rest += [part for _, part in some]
            continue
        columns = np.asarray([numbers for numbers, _ in some], np.int64).T
        first, stop = np.asarray([rows_named(part) or (0, _LONG) for _, part in some], np.int64).T
        # A query of a call may stand before position 0, of which `rows_named` says nothing.
        families.append(_Family(shape, tuple(columns), np.where(first > 0, first, -_LONG), stop))
    return families, rest


def _decided_by_any(family: _Family, at: Mapping[str, Bounds]) -> Decided:
    """As `_decided` of the parts' union, for boxes along one axis: a part is asked of the boxes in its rows alone.

    Boxes that have no q, since the parts are about other variables, are in the rows of all.
    """
    sides = {side: (np.atleast_1d(low), np.atleast_1d(high)) for side, (low, high) in at.items()}
    count = max(len(low) for low, _ in sides.values())
    first, last = (np.broadcast_to(end, count) for end in sides.get("q", _ALL_ROWS))
    part, box = np.nonzero((family.first[:, None] <= last) & (first < family.stop[:, None]))
    own = {side: (low[box], high[box]) if len(low) > 1 else (low, high) for side, (low, high) in sides.items()}
    own |= {name(place): (numbers[part], numbers[part]) for place, numbers in enumerate(family.numbers)}
    never, always = (np.broadcast_to(told, part.shape) for told in _decided(family.shape, _Boxes(own, None)))
    return np.bincount(box[~never], minlength=count) == 0, np.bincount(box[always], minlength=count) > 0


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
