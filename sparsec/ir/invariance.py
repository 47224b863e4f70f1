"""Conditions that repeat along the diagonal: pair (q, k) is kept exactly where (q + period, k + period) is."""

from __future__ import annotations

from math import lcm

from sparsec.ir import nodes as ir

_LONGEST = 1 << 20


def diagonal_period(condition: ir.Set) -> int | None:
    """A distance by which q and k may move together; None where the condition names n, tables, or q or k alone.

    window(512): 1        q // 16 == k // 16 & k % 3 == 0: 48        global(4): None
    """
    parts = list(ir.walk(condition))
    period = lcm(*(part.divisor for part in parts if isinstance(part, ir.FloorDiv | ir.Mod)))
    return period if period <= _LONGEST and _repeats(condition, period) else None


def is_of_distances(condition: ir.Set) -> bool:
    """Whether a condition stays the same when q and k move together by any distance."""
    return _repeats(condition, 1)


def is_of_distance(node: ir.Int) -> bool:
    """Whether an integer stays the same when q and k move together."""
    return moved(node, 1) == 0


def _repeats(node: ir.Set, period: int, names: tuple[str, ...] = ("q", "k")) -> bool:
    match node:
        case ir.Compare(left, _, right):
            by = moved(left, period, names)
            return by is not None and by == moved(right, period, names)
        case ir.Member(value, _):
            return moved(value, period, names) == 0
        case ir.And(parts) | ir.Or(parts):
            return all(_repeats(part, period, names) for part in parts)
        case ir.Not(part):
            return _repeats(part, period, names)
    return isinstance(node, ir.Bool)


def moved(node: ir.Int, period: int, names: tuple[str, ...] = ("q", "k")) -> int | None:
    """By how much the value grows when some variables grow by the period; None where that is not one number."""
    match node:
        case ir.Const():
            return 0
        case ir.Var(name):
            return period if name in names else 0
        case ir.Read(_, index):
            return 0 if index is None or moved(index, period, names) == 0 else None
        case ir.FloorDiv(left, divisor):
            by = moved(left, period, names)
            return by // divisor if by is not None and by % divisor == 0 else None
        case ir.Mod(left, divisor):
            by = moved(left, period, names)
            return 0 if by is not None and by % divisor == 0 else None
        case ir.Abs(value):
            return 0 if moved(value, period, names) == 0 else None
        case ir.Select(condition, then, other):
            by = moved(then, period, names)
            return by if _repeats(condition, period, names) and by == moved(other, period, names) else None
    first, second = moved(node.left, period, names), moved(node.right, period, names)
    if first is None or second is None:
        return None
    match node:
        case ir.Add():
            return first + second
        case ir.Sub():
            return first - second
        case ir.Mul(ir.Const(factor), _):
            return factor * second
        case ir.Mul(_, ir.Const(factor)):
            return factor * first
        case ir.Mul():
            return 0 if first == second == 0 else None
    return first if first == second else None  # the smaller or the larger of two
