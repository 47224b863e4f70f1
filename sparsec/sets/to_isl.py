"""A condition as an integer set.

`relation` reads a condition as the set [n] -> { [q, k] : condition } over all of Z x Z: no clip to 0 <= k < n.
Leaves that are not affine (tables) are replaced by a bound: everything when the set must not be too small,
nothing when it must not be too large.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any, TypeVar

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.ir.approximate import Approximation
from sparsec.sets.context import number, once, read_once, set_space, spend

_STEPS = 32  # that isl takes to read a node of arithmetic
_ARITHMETIC = ir.Const | ir.Var | ir.Add | ir.Sub | ir.Mul | ir.FloorDiv | ir.Mod

_MOST_KNOWN = 4096  # nodes that are remembered for one space

_Made = TypeVar("_Made", isl.Set, isl.PwAff)
_Node = TypeVar("_Node", bound=ir.Node)

_FLIPPED: dict[ir.Comparator, ir.Comparator] = {"<": ">=", "<=": ">", "==": "!=", "!=": "==", ">=": "<", ">": "<="}


def relation(condition: ir.Set, bound: Approximation = "over", parameters: tuple[str, ...] = ("n",)) -> isl.Set:
    """The pairs (q, k) of Z x Z that satisfy `condition`, for every n (and what else it has for parameters).

    Exact for affine conditions.  Otherwise a superset (`bound="over"`) or a subset (`bound="under"`).
    """

    def read() -> isl.Set:
        return _Reader(set_space("q", "k", parameters=parameters), bound).set(condition, negated=False).coalesce()

    bound = bound if ir.leaves(condition) else "over"  # both are the same then
    return once((condition, bound, parameters), read)


def clipped(condition: ir.Set, bound: Approximation = "over") -> isl.Set:
    """The pairs of self-attention: `relation` with 0 <= q < n and 0 <= k < n."""
    return _within(condition, bound, "0 <= q < n and 0 <= k < n")


def reachable(condition: ir.Set, bound: Approximation = "over") -> isl.Set:
    """The pairs that some call can have: `relation` with 0 <= q and 0 <= k < n.  A caller's q_offset may pass n."""
    return _within(condition, bound, "0 <= q and 0 <= k < n")


def _within(condition: ir.Set, bound: Approximation, clip: str) -> isl.Set:
    def read() -> isl.Set:
        return relation(condition, bound).intersect(read_once(f"[n] -> {{ [q, k] : {clip} }}")).coalesce()

    return once((condition, bound, clip), read)


def points(condition: ir.Set, space: isl.Space) -> isl.Set:
    """The points of `space` that satisfy a condition on its dimensions and parameters."""
    return _Reader(space, "over").set(condition, negated=False)


def function(value: ir.Int, space: isl.Space) -> isl.PwAff:
    """The value of `value` at every point of `space`."""
    return _Reader(space, "over").integer(value)


@lru_cache(maxsize=4096)
def _steps(node: ir.Node) -> int:
    """The steps that reading arithmetic, or a comparison of such, takes; 0 for what chooses, where they may be many."""
    nodes = list(ir.walk(node))
    plain = all(isinstance(part, _ARITHMETIC) for part in nodes[isinstance(node, ir.Compare) :])
    return _STEPS * len(nodes) if plain else 0


class _Known(threading.local):
    """What a thread has read arithmetic and comparisons as: sets of two contexts must not meet."""

    def __init__(self) -> None:
        self._spaces: dict[tuple[object, ...], dict[ir.Node, Any]] = {}

    def over(self, space: tuple[object, ...]) -> dict[ir.Node, Any]:
        """As what over a space."""
        known = self._spaces.setdefault(space, {})
        if len(known) >= _MOST_KNOWN:
            known.clear()
        return known


_known = _Known()


class _Reader:
    """Reads nodes over one space.  Negations are pushed to the comparisons: isl's complement costs more.

    The same few numbers and comparisons stand in all that is asked: they are read once, and charged each time.
    """

    def __init__(self, space: isl.Space, bound: Approximation):
        self.space, self.bound = space, bound
        self.domain = isl.LocalSpace.from_space(space)
        self.parameters = space.get_var_names(isl.dim_type.param)
        names = space.get_var_names(isl.dim_type.set)
        self.known = _known.over((space.is_params(), *names, "of", *self.parameters))

    def set(self, node: ir.Set, negated: bool) -> isl.Set:
        match node:
            case ir.Bool(value):
                return self._constant(value != negated)
            case ir.Compare(left, op, right):
                comparison = ir.Compare(left, _FLIPPED[op], right) if negated else node
                return self._once(comparison, self._compare)
            case ir.Member(value, members):
                return self._member(self.integer(value), members, negated)
            case ir.Not(part):
                return self.set(part, not negated)
            case ir.And(parts) | ir.Or(parts):
                join = isl.Set.intersect if isinstance(node, ir.And) != negated else isl.Set.union
                return reduce(join, (self.set(part, negated) for part in parts)).coalesce()
            case _:  # a table: its sign does not matter to a bound
                return self._constant(self.bound == "over")

    def integer(self, node: ir.Int) -> isl.PwAff:
        return self._once(node, self._integer)

    def _once(self, node: _Node, make: Callable[[_Node], _Made]) -> _Made:
        """What `make` makes of a node, remembered where it is arithmetic."""
        if node in self.known:
            spend(_steps(node))
            return self.known[node]
        made = make(node)
        if _steps(node):
            self.known[node] = made
        return made

    def _integer(self, node: ir.Int) -> isl.PwAff:
        match node:
            case ir.Const(value):
                return self._value(value)
            case ir.Var(name):
                return self._variable(name)
            case ir.Add(left, right):
                return self.integer(left).add(self.integer(right))
            case ir.Sub(left, right):
                return self.integer(left).sub(self.integer(right))
            case ir.Mul(left, right):
                return self.integer(left).mul(self.integer(right))
            case ir.FloorDiv(left, divisor):
                return self.integer(left).scale_down_val(number(divisor)).floor()
            case ir.Mod(left, divisor):
                return self.integer(left).mod_val(number(divisor))
            case ir.Abs(value):
                inner = self.integer(value)
                return inner.max(inner.neg())
            case ir.Min(left, right):
                return self.integer(left).min(self.integer(right))
            case ir.Max(left, right):
                return self.integer(left).max(self.integer(right))
            case ir.Select(condition, then, other):
                return (
                    self.set(condition, negated=False)
                    .indicator_function()
                    .cond(self.integer(then), self.integer(other))
                )
        raise TypeError(f"not an integer node: {node!r}")

    def _constant(self, value: bool) -> isl.Set:
        return isl.Set.universe(self.space) if value else isl.Set.empty(self.space)

    def _member(self, value: isl.PwAff, members: tuple[int, ...], negated: bool) -> isl.Set:
        inside = reduce(isl.Set.union, (value.eq_set(self._value(member)) for member in members)).coalesce()
        return inside.complement() if negated else inside

    def _compare(self, node: ir.Compare) -> isl.Set:
        left, right = self.integer(node.left), self.integer(node.right)
        match node.op:
            case "<":
                return left.lt_set(right)
            case "<=":
                return left.le_set(right)
            case "==":
                return left.eq_set(right)
            case "!=":
                return left.ne_set(right)
            case ">=":
                return left.ge_set(right)
            case ">":
                return left.gt_set(right)
        raise ValueError(f"not a comparison: {node.op!r}")

    def _value(self, value: int) -> isl.PwAff:
        return isl.PwAff.from_aff(isl.Aff.val_on_domain(self.domain, number(value)))

    def _variable(self, name: str) -> isl.PwAff:
        kind = isl.dim_type.param if name in self.parameters else isl.dim_type.set
        position = self.space.find_dim_by_name(kind, name)
        if position < 0:
            raise KeyError(f"no such variable in this space: {name}")
        return isl.PwAff.from_aff(isl.Aff.var_on_domain(self.domain, kind, position))
