"""Conditions that depend on q - k alone, as windows and strides do: looked at once for each diagonal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir import vector
from sparsec.ir.boxes import Bounds, Decided


@dataclass(frozen=True, eq=False)
class Along:
    """A condition by diagonal: `kept` is bool, from the diagonal q - k == first on.  Stands in the place of a leaf."""

    first: int
    kept: np.ndarray

    @cached_property
    def _before(self) -> np.ndarray:
        """How many diagonals before each are kept."""
        return np.concatenate([[0], np.cumsum(self.kept)])

    def holds(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Bool: are these pairs, of any shape, kept?"""
        return self.kept[q - k - self.first]

    def decided(self, q: Bounds, k: Bounds) -> Decided:
        """Whether no pair of a box is kept, and whether all are."""
        low, beyond = q[0] - k[1] - self.first, q[1] - k[0] - self.first + 1
        number = self._before[beyond] - self._before[low]
        return number == 0, number == beyond - low


def along(leaf: object) -> Along:
    """What `by_diagonal` put in the place of a leaf."""
    assert isinstance(leaf, Along)
    return leaf


def by_diagonal(condition: ir.Set, n: int, queries: range, pay: Callable[[ir.Set], None] = lambda _: None) -> ir.Set:
    """The condition with each part that q - k decides read from its diagonals, `pay` being asked for each before."""
    if isinstance(condition, ir.Bool) or not _mixed(condition):
        return condition
    if _drift(condition) == 0:
        pay(condition)
        first = queries.start - (n - 1)
        q = np.arange(first, queries.stop)
        kept = np.broadcast_to(vector.holds(condition, {"q": q, "k": 0, "n": n}), q.shape)
        return cast(ir.Set, Along(first, kept))  # in the place of a leaf: `along` knows it again
    match condition:
        case ir.And(parts) | ir.Or(parts):
            alike = [_mixed(part) and _drift(part) == 0 for part in parts]
            join = type(condition)
            rest = [by_diagonal(part, n, queries, pay) for part, own in zip(parts, alike, strict=True) if not own]
            shared = tuple(part for part, own in zip(parts, alike, strict=True) if own)
            return join((*([by_diagonal(join(shared), n, queries, pay)] if shared else []), *rest))
        case ir.Not(part):
            return ir.Not(by_diagonal(part, n, queries, pay))
    return condition


def _mixed(node: ir.Node) -> bool:
    return {"q", "k"} <= ir.names(node)


def _drift(node: ir.Node) -> int | None:
    """By how much the value grows from (q, k) to (q + 1, k + 1), 0 for a condition that stays; None: not evenly."""
    if isinstance(node, ir.Leaf):
        return None
    if isinstance(node, ir.Var):
        return 0 if node.name == "n" else 1
    below = []
    for part in ir.children(node):
        if (drift := _drift(part)) is None:
            return None
        below.append(drift)
    match node:
        case ir.Add():
            return sum(below)
        case ir.Sub():
            return below[0] - below[1]
        case ir.Mul(ir.Const(factor), _):
            return factor * below[1]
        case ir.Mul(_, ir.Const(factor)):
            return factor * below[0]
        case ir.Mod(_, divisor):
            return 0 if below[0] % divisor == 0 else None
        case ir.FloorDiv(_, divisor):
            return below[0] // divisor if below[0] % divisor == 0 else None
        case ir.Min() | ir.Max():
            return below[0] if below[0] == below[1] else None
        case ir.Compare():
            return 0 if below[0] == below[1] else None
    return 0 if not any(below) else None  # numbers, absolute values, members, unions, intersections, complements
