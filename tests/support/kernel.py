"""What kernels do with a plan, in plain Python: tiles of a row or a column, and which of them go without a mask."""

from __future__ import annotations

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.plan.build import build
from sparsec.plan.nodes import Cover, Group, Region, Segment

_COMPARE = {
    "<": int.__lt__,
    "<=": int.__le__,
    "==": int.__eq__,
    "!=": int.__ne__,
    ">=": int.__ge__,
    ">": int.__gt__,
}


def planned(condition: ir.Set) -> Region:
    """The plan of a pattern with one condition, in the contiguous layout and with ranges."""
    return only_region(build(ir.Pattern("p", "", "", (), (condition,)), layouts=False, lists=False).groups[0])


def only_region(plan: Group) -> Region:
    """The one region of a plan without layouts."""
    (variant,) = plan.variants
    (region,) = variant.regions
    return region


def integer(node: ir.Int, at: dict[str, int]) -> int:
    """The value of an integer where variables have the values `at`."""
    match node:
        case ir.Const(value):
            return value
        case ir.Var(name):
            return at[name]
        case ir.Add(a, b):
            return integer(a, at) + integer(b, at)
        case ir.Sub(a, b):
            return integer(a, at) - integer(b, at)
        case ir.Mul(a, b):
            return integer(a, at) * integer(b, at)
        case ir.FloorDiv(a, d):
            return integer(a, at) // d
        case ir.Mod(a, d):
            return integer(a, at) % d
        case ir.Abs(a):
            return abs(integer(a, at))
        case ir.Min(a, b):
            return min(integer(a, at), integer(b, at))
        case ir.Max(a, b):
            return max(integer(a, at), integer(b, at))
        case ir.Select(test, a, b):
            return integer(a if holds(test, at) else b, at)
    raise TypeError(node)


def holds(node: ir.Set, at: dict[str, int]) -> bool:
    """Whether a condition without tables holds there."""
    match node:
        case ir.Bool(value):
            return value
        case ir.Compare(a, op, b):
            return _COMPARE[op](integer(a, at), integer(b, at))
        case ir.Member(a, members):
            return integer(a, at) in members
        case ir.And(parts):
            return all(holds(part, at) for part in parts)
        case ir.Or(parts):
            return any(holds(part, at) for part in parts)
        case ir.Not(part):
            return not holds(part, at)
    raise TypeError(node)


def positions(
    segment: Segment, side: str, low: int, high: int, n: int, length: int, shift: int, residue: int = 0
) -> tuple[int, int]:
    """The rows first..stop of a segment within its sequence; there are none where first >= stop."""
    at = {"n": n, "residue": residue, f"{side}_lo": low, f"{side}_hi": high}
    if not holds(segment.when, at):
        return 0, 0
    first = 0 if segment.first is None else integer(segment.first, at) - shift
    stop = length if segment.last is None else integer(segment.last, at) + 1 - shift
    return max(first, 0), max(min(stop, length), 0)


def visited(
    cover: Cover, low: int, high: int, n: int, length: int, block: int, shift: int = 0, residue: int = 0
) -> list[int]:
    """Tiles of `block` positions that the row or column low..high visits, in order.

    `length`, `shift`: of the sequence that is visited, and the position of its first row.
    """
    ranges = []
    for segment in cover.segments:
        first, stop = positions(segment, cover.side, low, high, n, length, shift, residue)
        ranges.append((first // block, -(-stop // block)) if first < stop else (0, 0))
    if not cover.ordered:
        ranges.sort(key=lambda pair: pair[0])
    tiles, done = [], 0
    for begin, end in ranges:
        begin = max(begin, done)
        done = max(begin, end)
        tiles += range(begin, done)
    return tiles


def is_full(region: Region, box: tuple[int, int, int, int], n: int, residue: int = 0) -> bool:
    """Whether the box (q_lo, q_hi, k_lo, k_hi) goes without a mask."""
    edges = dict(zip(("q_lo", "q_hi", "k_lo", "k_hi"), box, strict=True))
    return holds(region.full, edges | {"n": n, "residue": residue})


def touches(condition: ir.Set, box: tuple[int, int, int, int], n: int) -> np.ndarray:
    """Bool [queries, keys] of the box, not clipped."""
    q_lo, q_hi, k_lo, k_hi = box
    return reference.evaluate(condition, np.arange(q_lo, q_hi + 1), np.arange(k_lo, k_hi + 1), n)
