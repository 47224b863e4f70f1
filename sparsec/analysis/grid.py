"""Points of a condition in every box of a grid, each sort of box looked at once.

Ranks in the middle of a long sequence are alike: their part of a condition is that of their neighbours, moved.  Boxes
in which intervals decide nothing are told apart by how far the numbers that are compared have moved, and by remainders
of that; one box of each sort is looked at point by point.  Where distances alone leave few sorts, intervals are asked
of one box of each, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd
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
_FEW = 4  # boxes of a sort in the mean, from which on sorts are few
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
    sides = {**rows, **columns}
    firsts = {name: side.firsts[:, None] for name, side in rows.items()}
    firsts |= {name: side.firsts[None, :] for name, side in columns.items()}
    sorts = _few_sorts(condition, firsts, sides, n, step)
    if sorts is None:
        return _of_boxes(condition, firsts, sides, n, step)
    sort, one = sorts
    row, column = np.divmod(one, sort.shape[1])
    some = {name: side.firsts[row] for name, side in rows.items()}
    some |= {name: side.firsts[column] for name, side in columns.items()}
    return _of_boxes(condition, some, sides, n, step)[sort]


def _of_boxes(
    condition: ir.Set, firsts: Mapping[str, np.ndarray], sides: Mapping[str, Side], n: int, step: int
) -> np.ndarray:
    """The points of each box, for first values that broadcast."""
    shape = np.broadcast_shapes(*(x.shape for x in firsts.values()))
    never, always = (np.broadcast_to(x, shape) for x in decided(condition, _bounds(firsts, sides, n)))
    area = int(np.prod([side.length for side in sides.values()]))
    found, undecided = np.where(always, area, 0), ~(never | always)
    if not undecided.any():
        return found
    open_ = {name: np.broadcast_to(x, shape)[undecided] for name, x in firsts.items()}
    first, sort = _first_of_each(_sorts(condition, open_, sides, n, step))
    if len(first) * area > _MOST_POINTS:
        raise Uncounted
    some = {name: x[first] for name, x in open_.items()}
    found[undecided] = _looked(condition, some, sides, n)[sort]
    return found


def _bounds(firsts: Mapping[str, np.ndarray], sides: Mapping[str, Side], n: int) -> dict:
    found = {name: (x, x + sides[name].length - 1) for name, x in firsts.items()}
    return found | {"n": (np.asarray(n), np.asarray(n))}


def _few_sorts(
    condition: ir.Set, firsts: Mapping[str, np.ndarray], sides: Mapping[str, Side], n: int, step: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """As `_sorts`, by distances alone and from 0 on, and one box of each sort; None where these are not few.

    So intervals are asked of one box of each diagonal, say.
    """
    shape = np.broadcast_shapes(*(x.shape for x in firsts.values()))
    most, at = int(np.prod(shape)) // _FEW, _bounds(firsts, sides, n)
    steps, asked = _steps(firsts, step), set[_Move]()
    found = np.zeros((1, 1), np.int32)  # `most` fits, and there are millions
    for leaf in dict.fromkeys(_leaves(condition)):
        moves = list(_moves_of(leaf, tuple(firsts), step))
        new = [move for move in dict.fromkeys(move.direction(steps) for move in moves) if move.by]
        if len({firsts[name].shape for name in ir.names(leaf) & firsts.keys()}) > 1 and len(new) <= 1:
            keys = [move.distance(steps) for move in new if move not in asked]
            asked.update(new)
        else:  # of one side, or no part of it is about a distance between the sides: then most boxes are decided
            kind = _kind(leaf, at)
            open_ = kind == _OPEN
            keys = [kind, *(np.where(open_, move.distance(steps), 0) for move in moves if open_.any())]
        for key in keys:
            low, high = int(key.min()), int(key.max())
            if (int(found.max()) + 1) * (high - low + 1) > most:
                return None
            if low < high:
                found = found * np.int32(high - low + 1) + (key - low).astype(np.int32)
    found = np.broadcast_to(found, shape)
    one = np.full(int(found.max()) + 1, -1)
    one[found.ravel()] = np.arange(found.size)
    return (np.cumsum(one >= 0) - 1)[found], one[one >= 0]


def _sorts(
    condition: ir.Set, firsts: Mapping[str, np.ndarray], sides: Mapping[str, Side], n: int, step: int
) -> np.ndarray:
    """int64, by box: equal where the condition holds at the same places of a box."""
    found, at = np.zeros_like(next(iter(firsts.values()))), _bounds(firsts, sides, n)
    steps = {name: x // step for name, x in firsts.items()}
    for leaf in dict.fromkeys(_leaves(condition)):
        kind = np.broadcast_to(_kind(leaf, at), found.shape)
        found = _paired(found, kind)
        for move in _moves_of(leaf, tuple(firsts), step):
            found = _paired(found, np.where(kind == _OPEN, move.distance(steps), 0))
    return found


def _kind(leaf: ir.Set, at: dict) -> np.ndarray:
    never, always = decided(leaf, at)
    return np.where(never, _NEVER, np.where(always, _ALWAYS, _OPEN)).astype(np.int8)


def _leaves(condition: ir.Set) -> Iterator[ir.Set]:
    match condition:
        case ir.And(parts) | ir.Or(parts):
            for part in parts:
                yield from _leaves(part)
        case ir.Not(part):
            yield from _leaves(part)
        case _:
            yield condition


@dataclass(frozen=True)
class _Move:
    """By how much an integer grows with each step of each variable; with a divisor its remainder counts alone."""

    by: tuple[tuple[str, int], ...]
    divisor: int | None = None

    def direction(self, steps: Mapping[str, np.ndarray]) -> _Move:
        """What all integers that grow in the same proportions have, of which theirs follows; `steps` as of `_steps`."""
        total: dict[str, int] = {}
        for name, by in self.by:
            alike = next(other for other, x in steps.items() if x is steps[name])
            total[alike] = total.get(alike, 0) + by
        shared = gcd(*total.values()) or 1
        sign = next((1 if by > 0 else -1 for by in total.values() if by), 1)
        return _Move(tuple((name, sign * by // shared) for name, by in total.items() if by))

    def distance(self, steps: Mapping[str, np.ndarray]) -> np.ndarray:
        """How much larger it is than where all variables are in their first step."""
        total = sum((by * steps[name] for name, by in self.by), np.zeros((), np.int64))
        return total if self.divisor is None else total % self.divisor


def _steps(firsts: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """How many steps each variable has gone in each box, one array for all that go alike."""
    found: dict[str, np.ndarray] = {}
    for name, first in firsts.items():
        own = first // step
        found[name] = next((x for x in found.values() if x.shape == own.shape and np.array_equal(x, own)), own)
    return found


def _moves_of(leaf: ir.Set, names: tuple[str, ...], step: int) -> Iterator[_Move]:
    """How the numbers that a comparison is about move; what it says in a box follows from how far they have."""
    match leaf:
        case ir.Compare(left, _, right):
            yield from _moves((ir.Sub(left, right),), names, step)
        case ir.Member(value, _):
            yield from _moves((value,), names, step)


def _moves(parts: Iterable[ir.Int], names: tuple[str, ...], step: int) -> Iterator[_Move]:
    for part in parts:
        if isinstance(part, ir.Const):
            continue
        if isinstance(part, ir.Mod) and isinstance(part.left, ir.Mod) and part.left.divisor % part.divisor == 0:
            part = ir.Mod(part.left.left, part.divisor)  # x % 12 % 4 = x % 4
        by = _moved_by(part, names, step)
        if by is not None:
            yield _Move(by)
        elif isinstance(part, ir.Mod) and (inner := _moved_by(part.left, names, step)) is not None:
            yield _Move(inner, part.divisor)
        else:
            yield from _moves(cast(Iterable[ir.Int], ir.children(part)), names, step)


def _moved_by(node: ir.Int, names: tuple[str, ...], step: int) -> tuple[tuple[str, int], ...] | None:
    """By how much an integer grows with each variable's step; None: that differs."""
    found = [(name, moved(node, step, (name,))) for name in names]
    return None if any(by is None for _, by in found) else tuple((name, by) for name, by in found if by is not None)


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
