"""Points of a condition in every box of a grid, each sort of box looked at once.

Ranks in the middle of a long sequence are alike: their part of a condition is that of their neighbours, moved.  Boxes
in which intervals decide nothing are told apart by how far the numbers that are compared have moved, and by remainders
of that; one box of each sort is looked at point by point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from sparsec.analysis.numbers import Uncounted
from sparsec.ir import nodes as ir
from sparsec.ir import vector
from sparsec.ir.boxes import decided
from sparsec.ir.invariance import moved

_MOST_POINTS = 1 << 25  # that are looked at
_AT_ONCE = 1 << 20
_BOXES_AT_ONCE = 1 << 21
_NEVER, _ALWAYS, _OPEN = 0, 1, 2


@dataclass(frozen=True)
class Side:
    """A variable along one side of a grid: in box i it has the values firsts[i] .. firsts[i] + length - 1.

    All of `firsts` have the same remainder by the step of the grid.
    """

    firsts: np.ndarray
    length: int


def points(condition: ir.Set, n: int, step: int, rows: Mapping[str, Side], columns: Mapping[str, Side]) -> np.ndarray:
    """int64 [rows, columns]: the points of an affine condition in each box; both have a variable at least.

    Uncounted where too many sorts of boxes would have to be looked at.
    """
    if any(isinstance(part, ir.Select) for part in ir.walk(condition)) or ir.leaves(condition):
        raise Uncounted
    down, across = (len(next(iter(sides.values())).firsts) for sides in (rows, columns))
    at_once = max(1, _BOXES_AT_ONCE // max(1, across))
    parts = [np.zeros((0, across), np.int64)]
    for begin in range(0, down, at_once):
        some = {name: Side(side.firsts[begin : begin + at_once], side.length) for name, side in rows.items()}
        parts.append(_of_rows(condition, n, step, some, columns))
    return np.concatenate(parts)


def _of_rows(condition: ir.Set, n: int, step: int, rows: Mapping[str, Side], columns: Mapping[str, Side]) -> np.ndarray:
    down, across = (len(next(iter(sides.values())).firsts) for sides in (rows, columns))
    sides = {**rows, **columns}
    firsts = {name: side.firsts[:, None] for name, side in rows.items()}
    firsts |= {name: side.firsts[None, :] for name, side in columns.items()}
    never, always = (np.broadcast_to(x, (down, across)) for x in decided(condition, _bounds(firsts, sides, n)))
    area = int(np.prod([side.length for side in sides.values()]))
    found = np.where(always, area, 0)
    row, column = np.nonzero(~(never | always))
    if not len(row):
        return found
    open_ = {name: side.firsts[row] for name, side in rows.items()}
    open_ |= {name: side.firsts[column] for name, side in columns.items()}
    alike = _sorts(condition, open_, sides, n, step)
    first, sort = _first_of_each(alike)
    if len(first) * area > _MOST_POINTS:
        raise Uncounted
    some = {name: x[first] for name, x in open_.items()}
    found[row, column] = _looked(condition, some, sides, n)[sort]
    return found


def _bounds(firsts: Mapping[str, np.ndarray], sides: Mapping[str, Side], n: int) -> dict:
    found = {name: (x, x + sides[name].length - 1) for name, x in firsts.items()}
    return found | {"n": (np.asarray(n), np.asarray(n))}


def _sorts(
    condition: ir.Set, firsts: Mapping[str, np.ndarray], sides: Mapping[str, Side], n: int, step: int
) -> np.ndarray:
    """int64, by box: equal where the condition holds at the same places of a box."""
    found, at = np.zeros_like(next(iter(firsts.values()))), _bounds(firsts, sides, n)
    for leaf in dict.fromkeys(_leaves(condition)):
        never, always = (np.broadcast_to(x, found.shape) for x in decided(leaf, at))
        kind = np.where(never, _NEVER, np.where(always, _ALWAYS, _OPEN))
        found = _paired(found, kind)
        for distance in _distances(leaf, firsts, step):
            found = _paired(found, np.where(kind == _OPEN, distance, 0))
    return found


def _leaves(condition: ir.Set) -> Iterator[ir.Set]:
    match condition:
        case ir.And(parts) | ir.Or(parts):
            for part in parts:
                yield from _leaves(part)
        case ir.Not(part):
            yield from _leaves(part)
        case _:
            yield condition


def _distances(leaf: ir.Set, firsts: Mapping[str, np.ndarray], step: int) -> Iterator[np.ndarray]:
    """How far the numbers that a comparison is about have moved in each box; what it says in a box follows from it."""
    match leaf:
        case ir.Compare(left, _, right):
            yield from _moves((ir.Sub(left, right),), firsts, step)
        case ir.Member(value, _):
            yield from _moves((value,), firsts, step)


def _moves(parts: Iterable[ir.Int], firsts: Mapping[str, np.ndarray], step: int) -> Iterator[np.ndarray]:
    for part in parts:
        if isinstance(part, ir.Const):
            continue
        distance = _moved_by(part, firsts, step)
        if distance is not None:
            yield distance
        elif isinstance(part, ir.Mod) and (inner := _moved_by(part.left, firsts, step)) is not None:
            yield inner % part.divisor
        else:
            yield from _moves(cast(Iterable[ir.Int], ir.children(part)), firsts, step)


def _moved_by(node: ir.Int, firsts: Mapping[str, np.ndarray], step: int) -> np.ndarray | None:
    """By how much an integer is larger than where all variables are in their first step; None: that differs."""
    total = np.zeros((), np.int64)
    for name, first in firsts.items():
        by = moved(node, step, (name,))
        if by is None:
            return None
        total = total + by * (first // step)
    return total


def _paired(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Numbers that tell apart what either tells apart."""
    low, high = int(y.min()), int(y.max())
    if low == high:
        return x
    if int(x.max()) >= (1 << 62) // (high - low + 1):
        x = _first_of_each(x)[1]
    return x * (high - low + 1) + (y - low)


def _first_of_each(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each distinct number stands first, and which of these every number is."""
    order = np.argsort(x, kind="stable")
    begins = np.diff(x[order], prepend=x[order[:1]] - 1) != 0
    number = np.empty(len(x), np.int64)
    number[order] = np.cumsum(begins) - 1
    return order[begins], number


def _looked(condition: ir.Set, firsts: Mapping[str, np.ndarray], sides: Mapping[str, Side], n: int) -> np.ndarray:
    """The points in boxes, one by one: int64 [boxes]."""
    wide = [name for name, side in sides.items() if side.length > 1]
    shape = tuple(sides[name].length for name in wide)
    count = len(next(iter(firsts.values())))
    found, at_once = np.zeros(count, np.int64), max(1, _AT_ONCE // max(1, int(np.prod(shape))))
    for begin in range(0, count, at_once):
        at: dict[str, np.ndarray | int] = {"n": n}
        for name, x in firsts.items():
            own = x[begin : begin + at_once].reshape(-1, *(1,) * len(wide))
            if name in wide:
                place = [1] * len(wide)
                place[wide.index(name)] = sides[name].length
                own = own + np.arange(sides[name].length).reshape(1, *place)
            at[name] = own
        boxes = min(at_once, count - begin)
        kept = np.broadcast_to(vector.holds(condition, at), (boxes, *shape))
        found[begin : begin + boxes] = kept.reshape(boxes, -1).sum(1)
    return found
