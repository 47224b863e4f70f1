"""Some pairs at which conditions are looked at before integer sets are asked: one pair refutes what holds for none."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir.ranges import MOST_POSITIONS, needs_more
from sparsec.ir.vector import distinct, holds

_FEW = 8  # positions from 0 on that are always among them
_MOST_NUMBERS = 12  # of a condition, near whose multiples positions lie
_LARGEST = MOST_POSITIONS >> 4
_MOST_KNOWN = 512
_MOST_NODES = 200  # of conditions that are looked at


class Pairs:
    """Pairs (q, k) of calls of n keys, 0 <= q and 0 <= k < n, near multiples of the numbers of conditions."""

    def __init__(self, numbers: tuple[int, ...]):
        edges = [number * times for number in numbers for times in (1, 2, 3)]
        near = np.asarray([edge + change for edge in edges for change in (-1, 0, 1, 2, 3)], np.int64)
        positions = distinct(np.concatenate([np.arange(_FEW), near[near >= 0]]))
        q, other = (x.ravel() for x in np.meshgrid(positions, positions, indexing="ij"))
        q = np.concatenate([q, q, other + q])
        k = np.concatenate([other, np.abs(q[: len(other)] - other), other])
        further = np.asarray([1, 2, int(positions[-1]) + 1])
        self._at = {"q": q, "k": k, "n": k + further[np.arange(len(k)) % len(further)]}
        self._known: dict[ir.Set, np.ndarray] = {}

    def some(self, condition: ir.Set) -> bool:
        """Whether one of them is kept; False says nothing.  Conditions with tables are not looked at."""
        try:
            return bool(self._read(condition).any())
        except _NotLookedAt:
            return False

    def _read(self, node: ir.Set) -> np.ndarray:
        match node:
            case ir.And(parts):
                return np.logical_and.reduce(list(map(self._holds, parts)))
            case ir.Or(parts):
                return np.logical_or.reduce(list(map(self._holds, parts)))
            case ir.Not(part):
                return ~self._holds(part)
        if isinstance(node, ir.Leaf) or needs_more(node, 64):
            raise _NotLookedAt
        return np.broadcast_to(holds(node, self._at), self._at["q"].shape)

    def _holds(self, node: ir.Set) -> np.ndarray:
        """As `_read`, of parts, which are read again and again."""
        if node not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[node] = self._read(node)
        return self._known[node]


class _NotLookedAt(Exception):
    """A table, or a number that may not fit."""


class _NoPairs(Pairs):
    """For long texts: looking at them would take as long as the budget of a proof."""

    def __init__(self) -> None:
        pass

    def some(self, condition: ir.Set) -> bool:
        return False


def pairs_for(*conditions: ir.Set) -> Pairs:
    """Pairs at which these conditions, and those that their parts make up, are worth looking at."""
    nodes = [node for condition in conditions for node in islice(ir.walk(condition), _MOST_NODES + 1)]
    if len(nodes) > _MOST_NODES:
        return _NoPairs()
    numbers = {abs(number) for node in nodes for number in _numbers(node)}
    told = sorted(number for number in numbers if _FEW < number <= _LARGEST)
    return _pairs(tuple(told[: _MOST_NUMBERS // 2] + told[_MOST_NUMBERS // 2 :][-_MOST_NUMBERS // 2 :]))


@lru_cache(maxsize=16)  # heads differ in small numbers
def _pairs(numbers: tuple[int, ...]) -> Pairs:
    return Pairs(numbers)


def _numbers(node: ir.Node) -> tuple[int, ...]:
    match node:
        case ir.Const(value) | ir.FloorDiv(_, value) | ir.Mod(_, value):
            return (value,)
        case ir.Member(_, members):
            return members[:2] + members[-2:]
    return ()
