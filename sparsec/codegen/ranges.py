"""Intervals of integer expressions, to know when C division rounds down and when 32 bits are enough."""

from __future__ import annotations

from sparsec.ir import nodes as ir

# Positions and lengths stay below this (checked at the call), so a sum of two of them fits 32 bits.
MOST_POSITIONS = 1 << 30

_POSITION = (0, MOST_POSITIONS)


def interval(node: ir.Int) -> tuple[int, int]:
    """Smallest and largest value that `node` can take, or a wider interval; every variable is a position."""
    match node:
        case ir.Const(value):
            return value, value
        case ir.Var():
            return _POSITION
        case ir.Add(left, right):
            (a, b), (c, d) = interval(left), interval(right)
            return a + c, b + d
        case ir.Sub(left, right):
            (a, b), (c, d) = interval(left), interval(right)
            return a - d, b - c
        case ir.Mul(left, right):
            corners = [x * y for x in interval(left) for y in interval(right)]
            return min(corners), max(corners)
        case ir.FloorDiv(left, divisor):
            a, b = interval(left)
            return a // divisor, b // divisor
        case ir.Mod(left, divisor):
            a, b = interval(left)
            return (a, b) if a >= 0 and b < divisor else (0, divisor - 1)
        case ir.Abs(value):
            a, b = interval(value)
            return (0 if a <= 0 <= b else min(abs(a), abs(b))), max(abs(a), abs(b))
        case ir.Min(left, right):
            (a, b), (c, d) = interval(left), interval(right)
            return min(a, c), min(b, d)
        case ir.Max(left, right):
            (a, b), (c, d) = interval(left), interval(right)
            return max(a, c), max(b, d)
        case ir.Select(_, then, other):
            (a, b), (c, d) = interval(then), interval(other)
            return min(a, c), max(b, d)
    raise TypeError(f"not an integer node: {node!r}")


def needs_64_bits(node: ir.Node) -> bool:
    """Whether some intermediate value of `node` may leave the 32-bit range."""
    limit = 1 << 31
    for part in ir.walk(node):
        if isinstance(part, ir.Int):
            low, high = interval(part)
            if low < -limit or high >= limit:
                return True
    return False
