"""Pairs of long conditions at many positions: only the parts that a block of pairs does not decide are looked at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.ir.algebra import conjunction, disjunction
from sparsec.ir.boxes import Bounds, Decided, decided

_SHORT = 96  # nodes of a condition that is evaluated as it stands
_ROWS, _COLUMNS = 64, 256  # positions of a block, which fit the cache of a processor


def evaluate(condition: ir.Set, queries: np.ndarray, keys: np.ndarray, n: int) -> np.ndarray:
    """Bool [queries, keys]: the condition at rising positions, int64 each, as the reference has it."""
    if not len(queries) or not len(keys) or not is_long(condition):
        return reference.evaluate(condition, queries, keys, n)
    tops, lefts = np.arange(0, len(queries), _ROWS), np.arange(0, len(keys), _COLUMNS)
    first, last = _bounds(queries, tops)
    at: dict[str, Bounds] = {
        "q": (first[:, None], last[:, None]),
        "k": _bounds(keys, lefts),
        "n": (np.array(n), np.array(n)),
    }
    narrowed = _Narrowed(condition, at, (len(tops), len(lefts)))
    found = np.zeros((len(queries), len(keys)), bool)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            some, others = queries[top : top + _ROWS], keys[left : left + _COLUMNS]
            found[top : top + _ROWS, left : left + _COLUMNS] = reference.evaluate(narrowed.at(i, j), some, others, n)
    return found


def is_long(condition: ir.Set) -> bool:
    """Whether looking at one pair takes many steps."""
    return sum(1 for _ in ir.walk(condition)) > _SHORT


def _bounds(positions: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last position of each block."""
    return positions[starts], positions[np.append(starts[1:], len(positions)) - 1]


class _Narrowed:
    """A condition in each block of a grid, without the parts of unions and intersections that are decided there."""

    def __init__(self, condition: ir.Set, at: Mapping[str, Bounds], shape: tuple[int, int]) -> None:
        self.condition = condition
        self.never, self.always = (
            np.broadcast_to(each, shape) for each in decided(condition, at, lambda _: _undecided())
        )
        parts = condition.parts if isinstance(condition, ir.And | ir.Or) else ()
        self.parts = [_Narrowed(part, at, shape) for part in parts]

    def at(self, i: int, j: int) -> ir.Set:
        if self.never[i, j]:
            return ir.FALSE
        if self.always[i, j]:
            return ir.TRUE
        if not self.parts:
            return self.condition
        join = conjunction if isinstance(self.condition, ir.And) else disjunction
        return join(*(part.at(i, j) for part in self.parts))


def _undecided() -> Decided:
    return np.zeros(1, bool), np.zeros(1, bool)
