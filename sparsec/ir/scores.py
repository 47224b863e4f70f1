"""What a score is: a real function of the scaled product s of a query and a key, of their positions and of the head.

A third sort of node, `Real`, beside the integers and sets of `nodes.py`, which it may hold, with the names `q`, `k` and
`n`, and here `h` and `H`, the query head and their number, which a call knows.  So heads that differ by `h` alone have
one score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from sparsec.ir.base import Base, hashed_once
from sparsec.ir.nodes import Const, DataTest, ElementOf, Int, Node, Read, Set, children

Function = Literal["tanh", "exp", "log", "sqrt", "abs"]
Operator = Literal["+", "-", "*", "/", "**"]


@hashed_once
@dataclass(frozen=True, slots=True)
class Number(Base):
    """A number with a point."""

    value: float


@hashed_once
@dataclass(frozen=True, slots=True)
class Scaled(Base):
    """`s`: the product of query and key times the scale of the call."""


@hashed_once
@dataclass(frozen=True, slots=True)
class Whole(Base):
    """An integer as a real number."""

    value: Int


@hashed_once
@dataclass(frozen=True, slots=True)
class ReadReal(Base):
    """An entry of a float input, data given at the call: 0 where an index is outside of it.

    Its indices are positions of the input's last axes; there is none where a row and head have one number.
    """

    name: str
    indices: tuple[Int, ...] = ()


@hashed_once
@dataclass(frozen=True, slots=True)
class Arithmetic(Base):
    """`left op right`; the base of a power is a positive constant."""

    left: Real
    op: Operator
    right: Real


@hashed_once
@dataclass(frozen=True, slots=True)
class Apply(Base):
    function: Function
    value: Real


@hashed_once
@dataclass(frozen=True, slots=True)
class Extreme(Base):
    """The smaller or the larger of two."""

    kind: Literal["min", "max"]
    left: Real
    right: Real


@hashed_once
@dataclass(frozen=True, slots=True)
class Choose(Base):
    """`then if test else other`; the test is about positions and the head, never about s."""

    then: Real
    test: Set
    other: Real


@hashed_once
@dataclass(frozen=True, slots=True)
class Piece(Base):
    """`then` where left < right (or <=), else `other`.  Never written by a user: derivatives need it."""

    left: Real
    op: Literal["<", "<="]
    right: Real
    then: Real
    other: Real


Real = Number | Scaled | Whole | ReadReal | Arithmetic | Apply | Extreme | Choose | Piece

_CALCULATED = {"+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y, "/": lambda x, y: x / y}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "tanh": math.tanh,
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "abs": abs,
}


def constant(node: Real) -> float | int | None:
    """The value of a number, None where a node is none."""
    match node:
        case Number(value) | Whole(Const(value)):
            return value
    return None


def number(value: float | int) -> Real:
    """A number as a node: integers of 64 bits stay integers, which heads that differ in them share kernels by."""
    whole = isinstance(value, int) and abs(value) < 2**63
    return Whole(Const(int(value))) if whole else Number(float(value))


def arithmetic(left: Real, op: Operator, right: Real) -> Real:
    """`left op right`; of two numbers their value.  ArithmeticError where that is no finite number."""
    a, b = constant(left), constant(right)
    if a is not None and b is not None:
        value = a**b if op == "**" else _CALCULATED[op](a, b)
        return number(_finite(value) if op != "/" or a % b else int(a // b) if isinstance(a, int) else value)
    if op == "/" and b == 0:
        raise ZeroDivisionError
    return Arithmetic(left, op, right)


def apply(function: Function, value: Real) -> Real:
    """A function of a value; of a number its value.  ArithmeticError where that is no finite number."""
    known = constant(value)
    if known is None:
        return Apply(function, value)
    try:
        return number(_finite(_FUNCTIONS[function](known)))
    except ValueError:  # a logarithm, or a root, of what has none
        raise ArithmeticError from None


def extreme(kind: Literal["min", "max"], left: Real, right: Real) -> Real:
    """The smaller or the larger of two."""
    a, b = constant(left), constant(right)
    if a is None or b is None:
        return Extreme(kind, left, right)
    return number(min(a, b) if kind == "min" else max(a, b))


def _finite(value: float | int) -> float | int:
    if not math.isfinite(value):
        raise OverflowError
    return value


def integers(node: Real) -> Iterator[Int]:
    """The largest integers within a score: what it reads of positions and heads, outside of its tests."""
    match node:
        case Whole(value):
            yield value
        case ReadReal(_, indices):
            yield from indices
        case Choose(then, _, other):
            yield from integers(then)
            yield from integers(other)
        case _:
            for name in node.__match_args__:
                if isinstance(part := getattr(node, name), Real):
                    yield from integers(part)


def operations(node: Real) -> int:
    """Real operations of a pair: one for each different sum, product, choice and function, and entry that is read."""
    return sum(1 for part in parts(node) if isinstance(part, ReadReal | Arithmetic | Apply | Extreme | Choose | Piece))


def reads_of(node: Real | None) -> tuple[ReadReal, ...]:
    """The distinct reads of float inputs in a score, in an order that depends on the score alone."""
    found = () if node is None else (part for part in parts(node) if isinstance(part, ReadReal))
    return tuple(sorted(found, key=repr))


def integer_reads_of(node: Real | None) -> tuple[Read | ElementOf, ...]:
    """The distinct reads of inputs of int and bool in a score, its tests and indices among them, in such an order."""
    found = () if node is None else (part for part in parts(node) if isinstance(part, Read | ElementOf))
    return tuple(sorted(found, key=repr))


def inputs_of_score(node: Real | None) -> frozenset[str]:
    """Names of all inputs that a score reads."""
    return frozenset(read.name for read in (*reads_of(node), *integer_reads_of(node)))


def with_reals(node: Real, told: Mapping[ReadReal, Real]) -> Real:
    """A score with something in the place of each entry of a float input that it reads."""
    if isinstance(node, ReadReal):
        return told.get(node, node)
    changed = {
        name: with_reals(part, told)
        for name in node.__match_args__
        if isinstance(part := getattr(node, name), Real) and not isinstance(part, Number | Scaled | Whole)
    }
    return replace(node, **cast(dict[str, Any], changed)) if changed else node


def parts(node: Real) -> Iterator[Base]:
    """The node and every node below it, of any sort, each once: derivatives have many parts in common."""
    seen: set[Base] = set()
    stack: list[Base] = [node]
    while stack:
        part = stack.pop()
        if part not in seen:
            seen.add(part)
            yield part
            stack.extend(below(part))


def below(node: Base) -> Iterator[Base]:
    """The nodes of any sort directly below one, those of a test of data among them."""
    yield from (node.test,) if isinstance(node, DataTest) else children(_as_node(node))


def _as_node(node: Base) -> Node:
    return node  # type: ignore[return-value]  # walks go through nodes of any sort
