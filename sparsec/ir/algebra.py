"""Conditions and integers, built with the few rules that need no thought.  The writer's order of terms is kept.

A rule that would leave out an operand leaves it where that reads an input: an index outside of it makes a test false.

Each constructor is a table of rules; the algebra stands beside it.  What takes proof is the simplifier's.
"""

from __future__ import annotations

from collections.abc import Callable

from sparsec.ir.inputs import reads
from sparsec.ir.nodes import (
    FALSE,
    TRUE,
    Abs,
    Add,
    And,
    Bool,
    Comparator,
    Compare,
    Const,
    DataTest,
    FloorDiv,
    Int,
    Max,
    Member,
    Min,
    Mod,
    Mul,
    Not,
    Or,
    Set,
    Sub,
)


def add(left: Int, right: Int) -> Int:
    match left, right:
        case Const(a), Const(b):
            return Const(a + b)
        case x, Const(0):
            return x  # x + 0 = x
        case Const(0), x:
            return x  # 0 + x = x
    return Add(left, right)


def sub(left: Int, right: Int) -> Int:
    match left, right:
        case Const(a), Const(b):
            return Const(a - b)
        case x, Const(0):
            return x  # x - 0 = x
    return Const(0) if left == right and not reads(left) else Sub(left, right)  # x - x = 0


def mul(left: Int, right: Int) -> Int:
    """At most one side is not constant; the caller sees to that."""
    match left, right:
        case Const(a), Const(b):
            return Const(a * b)
        case (Const(0), x) | (x, Const(0)) if not reads(x):
            return Const(0)  # 0 x = 0
        case (x, Const(1)) | (Const(1), x):
            return x  # 1 x = x
    return Mul(left, right)


def floordiv(left: Int, divisor: int) -> Int:
    match left:
        case Const(a):
            return Const(a // divisor)
    return left if divisor == 1 else FloorDiv(left, divisor)  # x // 1 = x


def mod(left: Int, divisor: int) -> Int:
    match left:
        case Const(a):
            return Const(a % divisor)
    return Const(0) if divisor == 1 and not reads(left) else Mod(left, divisor)  # x % 1 = 0


def absolute(value: Int) -> Int:
    match value:
        case Const(a):
            return Const(abs(a))
        case Abs():
            return value  # ||x|| = |x|
    return Abs(value)


def minimum(left: Int, right: Int) -> Int:
    match left, right:
        case Const(a), Const(b):
            return Const(min(a, b))
    return left if left == right else Min(left, right)  # min(x, x) = x


def maximum(left: Int, right: Int) -> Int:
    match left, right:
        case Const(a), Const(b):
            return Const(max(a, b))
    return left if left == right else Max(left, right)  # max(x, x) = x


# ---------------------------------------------------------------- sets

HOLDS: dict[Comparator, Callable[[int, int], bool]] = {
    "<": int.__lt__,
    "<=": int.__le__,
    "==": int.__eq__,
    "!=": int.__ne__,
    ">=": int.__ge__,
    ">": int.__gt__,
}
_OPPOSITE: dict[Comparator, Comparator] = {"<": ">=", "<=": ">", "==": "!=", "!=": "==", ">=": "<", ">": "<="}


def compare(left: Int, op: Comparator, right: Int) -> Set:
    match left, right:
        case Const(a), Const(b):
            return Bool(HOLDS[op](a, b))
    test = Compare(left, op, right)
    return DataTest(test) if reads(test) else test


def member(value: Int, members: tuple[int, ...]) -> Set:
    """value in {members}; `members` has at least one."""
    listed = tuple(sorted(set(members)))
    match value, listed:
        case Const(a), _:
            return Bool(a in listed)
        case _, (only,):
            return compare(value, "==", Const(only))  # x in {a} = (x == a)
    return DataTest(Member(value, listed)) if reads(value) else Member(value, listed)


def conjunction(*parts: Set) -> Set:
    flat = [item for part in parts for item in (part.parts if isinstance(part, And) else (part,))]
    constants = [item for item in flat if isinstance(item, Bool)]
    if FALSE in constants:
        return FALSE  # a & none = none
    if constants:
        flat = [item for item in flat if not isinstance(item, Bool)]  # a & all = a
    return And(tuple(flat)) if len(flat) > 1 else flat[0] if flat else TRUE


def disjunction(*parts: Set) -> Set:
    flat = [item for part in parts for item in (part.parts if isinstance(part, Or) else (part,))]
    constants = [item for item in flat if isinstance(item, Bool)]
    if TRUE in constants:
        return TRUE  # a | all = all
    if constants:
        flat = [item for item in flat if not isinstance(item, Bool)]  # a | none = a
    return Or(tuple(flat)) if len(flat) > 1 else flat[0] if flat else FALSE


def complement(part: Set) -> Set:
    match part:
        case Bool(value):
            return Bool(not value)
        case Not(inner):
            return inner  # ~~a = a
        case Compare(left, op, right):
            return Compare(left, _OPPOSITE[op], right)  # ~(x < y) = x >= y
    return Not(part)
