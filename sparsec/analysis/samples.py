"""Conditions at single points, without numpy and without proof: what a few points refute needs no integer sets."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.ir import algebra
from sparsec.ir import nodes as ir

_MOST_NUMBERS = 10
_LARGE = 100_003  # a length far beyond all windows, prime

Point = dict[str, int]  # q, k, n


def seen(condition: ir.Set) -> Point | None:
    """A point at which an affine condition is seen to hold; None says nothing."""
    return next((point for point in points(condition) if holds(condition, point)), None)


def sees_itself(condition: ir.Set) -> bool:
    """Whether the text alone tells that every query can see its own key, given tables that list it."""
    return _diagonal(condition) == ir.TRUE


def leans_ahead(condition: ir.Set) -> bool:
    """Whether points suggest that every query sees all later keys, and some earlier ones but not all."""
    n = _LARGE
    later = [(0, 1), (0, n - 1), (n // 2, n // 2 + 1), (n // 2, n - 1), (n - 2, n - 1)]
    earlier = [(n - 1, 0), (n - 1, n // 2), (n // 2, 0), (n - 1, n - 2)]
    ahead, *back = ([holds(condition, {"q": q, "k": k, "n": n}) for q, k in pairs] for pairs in (later, earlier))
    return all(ahead) and any(back[0]) and not all(back[0])


def earlier_key(condition: ir.Set) -> bool:
    """Whether points show that some query sees a key before its own, given tables that list it; False says nothing."""
    points = ({"q": q, "k": q - back, "n": _LARGE} for q in (_LARGE - 1, 8, 1) for back in (1, 2, 8) if back <= q)
    return any(holds(condition, point, tables=True) for point in points)


def points(condition: ir.Set) -> Iterator[Point]:
    """Points of self-attention near the edges that the numbers of a condition suggest."""
    numbers = {0, 1}
    for node in ir.walk(condition):
        match node:
            case ir.Const(value) | ir.FloorDiv(_, value) | ir.Mod(_, value):
                numbers.add(abs(value))
            case ir.Member(_, members):
                numbers.update(map(abs, members[:2] + members[-2:]))
    near = sorted(numbers)[:_MOST_NUMBERS]
    steps = sorted({number + change for number in near for change in (-1, 0, 1) if number + change >= 0})
    for n in (_LARGE, 2 * max(near) + 1):
        for q in {*steps, n // 3, n - 1}:
            for step in steps:
                for k in {step, q - step, q + step, n - 1 - step}:
                    if 0 <= q < n and 0 <= k < n:
                        yield {"q": q, "k": k, "n": n}


def _value(node: ir.Int, at: Point) -> int:
    match node:
        case ir.Const(value):
            return value
        case ir.Var(name):
            return at[name]
        case ir.Add(left, right):
            return _value(left, at) + _value(right, at)
        case ir.Sub(left, right):
            return _value(left, at) - _value(right, at)
        case ir.Mul(left, right):
            return _value(left, at) * _value(right, at)
        case ir.FloorDiv(left, divisor):
            return _value(left, at) // divisor
        case ir.Mod(left, divisor):
            return _value(left, at) % divisor
        case ir.Abs(value):
            return abs(_value(value, at))
        case ir.Min(left, right):
            return min(_value(left, at), _value(right, at))
        case ir.Max(left, right):
            return max(_value(left, at), _value(right, at))
    raise TypeError(f"not an integer of a pattern: {node!r}")


def holds(node: ir.Set, at: Point, tables: bool = False) -> bool:
    """Whether the condition holds at a point, every table being full or empty."""
    match node:
        case ir.Bool(value):
            return value
        case ir.Compare(left, op, right):
            return algebra.HOLDS[op](_value(left, at), _value(right, at))
        case ir.Member(value, members):
            return _value(value, at) in members
        case ir.And(parts):
            return all(holds(part, at, tables) for part in parts)
        case ir.Or(parts):
            return any(holds(part, at, tables) for part in parts)
        case ir.Not(part):
            return not holds(part, at, tables)
    return tables


_INTEGERS = {
    ir.Add: algebra.add,
    ir.Sub: algebra.sub,
    ir.Mul: algebra.mul,
    ir.Min: algebra.minimum,
    ir.Max: algebra.maximum,
}
_REFLEXIVE = {"<=": True, ">=": True, "==": True, "<": False, ">": False, "!=": False}


def _at_diagonal(node: ir.Int) -> ir.Int:
    match node:
        case ir.Var("k"):
            return ir.Var("q")
        case (
            ir.Add(left, right) | ir.Sub(left, right) | ir.Mul(left, right) | ir.Min(left, right) | ir.Max(left, right)
        ):
            return _INTEGERS[type(node)](_at_diagonal(left), _at_diagonal(right))
        case ir.FloorDiv(left, divisor):
            return algebra.floordiv(_at_diagonal(left), divisor)
        case ir.Mod(left, divisor):
            return algebra.mod(_at_diagonal(left), divisor)
        case ir.Abs(value):
            return algebra.absolute(_at_diagonal(value))
    return node


def _diagonal(node: ir.Set) -> ir.Set:
    """The condition with q for k, folded."""
    match node:
        case ir.Compare(left, op, right):
            left, right = _at_diagonal(left), _at_diagonal(right)
            return ir.Bool(_REFLEXIVE[op]) if left == right else algebra.compare(left, op, right)
        case ir.Member(value, members):
            return algebra.member(_at_diagonal(value), members)
        case ir.And(parts):
            return algebra.conjunction(*map(_diagonal, parts))
        case ir.Or(parts):
            return algebra.disjunction(*map(_diagonal, parts))
        case ir.Not(part) if not ir.leaves(part):
            return algebra.complement(_diagonal(part))
    return node if isinstance(node, ir.Bool) else ir.TRUE


def asked_of_queries(node: ir.Set) -> ir.Set:
    """What a condition asks of q alone, at least: everything else is taken to hold."""
    match node:
        case ir.And(parts):
            return algebra.conjunction(*map(asked_of_queries, parts))
        case ir.Or(parts):
            return algebra.disjunction(*map(asked_of_queries, parts))
    return node if not ir.leaves(node) and ir.names(node) == {"q"} else ir.TRUE
