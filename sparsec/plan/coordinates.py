"""Positions written in the coordinates of a layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, overload

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.plan.nodes import Contiguous, Gathered, Grouped, Layout, Listed, Residue

_Q, _K, _RESIDUE = ir.Var("q"), ir.Var("k"), ir.Var("residue")


def pairs_of(layout: Layout) -> ir.Set:
    """The pairs that a layout can hold."""
    match layout:
        case Residue(stride):
            return ir.Compare(ir.Mod(ir.Sub(_Q, _K), stride), "==", ir.Const(0))
        case Gathered(period, first, width):
            return ir.Compare(ir.Mod(algebra.sub(_K, ir.Const(first)), period), "<", ir.Const(width))
        case Contiguous() | Listed() | Grouped():
            return ir.TRUE


@overload
def in_class(node: ir.Int, stride: int) -> ir.Int: ...
@overload
def in_class(node: ir.Set, stride: int) -> ir.Set: ...
def in_class(node: ir.Node, stride: int) -> ir.Node:
    """`node` with q and k counted within their class: position * stride + residue for a position."""
    if isinstance(node, ir.Var):
        return ir.Add(ir.Mul(node, ir.Const(stride)), _RESIDUE) if node in (_Q, _K) else node
    match _rebuilt(node, lambda child: in_class(child, stride)):
        case ir.FloorDiv(ir.Add(ir.Mul(x, ir.Const(s)), r), d) if r == _RESIDUE and d % s == 0:
            return algebra.floordiv(x, d // s)  # (s x + r) // (s d) = x // d
        case ir.Mod(ir.Add(ir.Mul(x, ir.Const(s)), r), d) if r == _RESIDUE and d % s == 0:
            rest = algebra.mul(algebra.mod(x, d // s), ir.Const(s))  # (s x + r) % (s d) = s (x % d) + r
            return r if rest == ir.Const(0) else ir.Add(rest, r)
        case ir.Compare(left, op, right):
            return algebra.compare(left, op, right)
        case changed:
            return changed


def key(place: ir.Int, layout: Gathered) -> ir.Int:
    """The key that stands at a place."""
    start = algebra.mul(algebra.floordiv(place, layout.width), ir.Const(layout.period))
    return algebra.add(algebra.add(start, ir.Const(layout.first)), algebra.mod(place, layout.width))


def places(position: ir.Int, layout: Gathered) -> ir.Int:
    """The number of the gathered keys below a position; zero or less where there is none."""
    after = moved(position, -layout.first)
    if layout.width == 1:  # those of begun periods
        return algebra.floordiv(moved(after, layout.period - 1), layout.period)
    begun = algebra.minimum(algebra.mod(after, layout.period), ir.Const(layout.width))
    return algebra.add(algebra.mul(algebra.floordiv(after, layout.period), ir.Const(layout.width)), begun)


def moved(position: ir.Int, by: int) -> ir.Int:
    """position + by, with the constants at its end added up."""
    match position:
        case ir.Const(value):
            return ir.Const(value + by)
        case ir.Add(left, ir.Const(value)):
            return moved(left, value + by)
        case ir.Sub(left, ir.Const(value)):
            return moved(left, by - value)
    return algebra.add(position, ir.Const(by)) if by >= 0 else algebra.sub(position, ir.Const(-by))


@overload
def at_keys(node: ir.Int, layout: Gathered) -> ir.Int: ...
@overload
def at_keys(node: ir.Set, layout: Gathered) -> ir.Set: ...
def at_keys(node: ir.Node, layout: Gathered) -> ir.Node:
    """`node`, which names the edges k_lo and k_hi as keys, for edges that are places."""
    if isinstance(node, ir.Var):
        return key(node, layout) if node.name in ("k_lo", "k_hi") else node
    return _rebuilt(node, lambda child: at_keys(child, layout))


def _rebuilt(node: ir.Node, change: Callable[[ir.Node], ir.Node]) -> ir.Node:
    """`node` with its children changed; leaves are taken as one."""
    if isinstance(node, ir.Leaf):
        return node
    made: dict[str, Any] = {}  # what a field holds
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, ir.Node):
            made[field.name] = change(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], ir.Node):
            made[field.name] = tuple(map(change, value))
    return replace(node, **made) if made else node
