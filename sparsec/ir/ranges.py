"""Intervals of integer expressions: what may leave 32 or 64 bits, and when C division rounds down."""

from __future__ import annotations

from sparsec.ir import nodes as ir

# Positions and lengths stay below this (checked at the call), so a sum of two of them fits 32 bits.
MOST_POSITIONS = 1 << 30

Interval = tuple[int, int]  # smallest and largest value, both included

_POSITION = (0, MOST_POSITIONS)
_HEADS = (0, 1 << 16)
_ENTRY = (-(2**31) + 1, 2**31 - 1)  # of an input: larger ones are compared as they are, and not counted with


class Intervals:
    """Intervals of the nodes asked about so far; parts that nodes share are looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ir.Int, Interval]] = {}  # by id, with the node so that the id stays its own

    def of(self, node: ir.Int) -> Interval:
        """Smallest and largest value that `node` can take, or a wider interval; every variable is a position."""
        if (known := self._known.get(id(node))) is None:
            known = self._known[id(node)] = (node, self._interval(node))
        return known[1]

    def _interval(self, node: ir.Int) -> Interval:
        match node:
            case ir.Const(value):
                return value, value
            case ir.Var("h" | "H"):  # in scores
                return _HEADS
            case ir.Var():
                return _POSITION
            case ir.Read():
                return _ENTRY
            case ir.Add(left, right):
                (a, b), (c, d) = self.of(left), self.of(right)
                return a + c, b + d
            case ir.Sub(left, right):
                (a, b), (c, d) = self.of(left), self.of(right)
                return a - d, b - c
            case ir.Mul(left, right):
                corners = [x * y for x in self.of(left) for y in self.of(right)]
                return min(corners), max(corners)
            case ir.FloorDiv(left, divisor):
                a, b = self.of(left)
                return a // divisor, b // divisor
            case ir.Mod(left, divisor):
                a, b = self.of(left)
                return (a, b) if a >= 0 and b < divisor else (0, divisor - 1)
            case ir.Abs(value):
                a, b = self.of(value)
                return (0 if a <= 0 <= b else min(abs(a), abs(b))), max(abs(a), abs(b))
            case ir.Min(left, right):
                (a, b), (c, d) = self.of(left), self.of(right)
                return min(a, c), min(b, d)
            case ir.Max(left, right):
                (a, b), (c, d) = self.of(left), self.of(right)
                return max(a, c), max(b, d)
            case ir.Select(_, then, other):
                (a, b), (c, d) = self.of(then), self.of(other)
                return min(a, c), max(b, d)
        raise TypeError(f"not an integer node: {node!r}")


def interval(node: ir.Int) -> Interval:
    """Smallest and largest value that `node` can take, or a wider interval; every variable is a position."""
    return Intervals().of(node)


def fits(bounds: Interval, bits: int) -> bool:
    """Whether signed integers of so many bits hold the interval."""
    return -(1 << bits - 1) <= bounds[0] and bounds[1] < 1 << bits - 1


def needs_more(node: ir.Node, bits: int) -> bool:
    """Whether some intermediate value of `node` may not fit signed integers of so many bits."""
    intervals = Intervals()
    return any(not fits(intervals.of(part), bits) for part in ir.walk(node) if isinstance(part, ir.Int))


def rows_named(part: ir.Set) -> tuple[int, int] | None:
    """first <= q < stop, as the part says by comparing q with numbers; None where it says no end."""
    first, stop = 0, None
    for operand in part.parts if isinstance(part, ir.And) else (part,):
        match operand:
            case ir.Compare(ir.Const(value), op, ir.Var("q")):
                op = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op)  # type: ignore[assignment]
            case ir.Compare(ir.Var("q"), op, ir.Const(value)):
                pass
            case _:
                continue
        if op in (">=", ">", "=="):
            first = max(first, value + (op == ">"))
        if op in ("<", "<=", "=="):
            stop = min(value + (op != "<"), value + 1 if stop is None else stop)
    return None if stop is None or stop <= first else (first, stop)
