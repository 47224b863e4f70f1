"""What the text says, before names and sorts are known.  Every node knows its place; places don't count in `==`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from sparsec.source import Source, Span


@dataclass(frozen=True, kw_only=True)
class Syntax:
    __match_args__: ClassVar[tuple[str, ...]]  # the fields but for those that are keywords only

    span: Span = field(compare=False, repr=False)


# ---------------------------------------------------------------- expressions, of any sort


@dataclass(frozen=True)
class Number(Syntax):
    value: int


@dataclass(frozen=True)
class Real(Syntax):
    """A number with a point, in scores."""

    value: float


@dataclass(frozen=True)
class Name(Syntax):
    name: str


@dataclass(frozen=True)
class Text(Syntax):
    """A string as an argument: the name of a table's file."""

    value: str


@dataclass(frozen=True)
class Table(Syntax):
    """`[...]` as an argument; rows are tables in turn."""

    items: tuple[Expr, ...]


@dataclass(frozen=True)
class Argument(Syntax):
    name: str | None
    value: Expr


@dataclass(frozen=True)
class Call(Syntax):
    name: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Index(Syntax):
    """`doc[q]`: an entry of an input."""

    name: str
    indices: tuple[Expr, ...]


@dataclass(frozen=True)
class Unary(Syntax):
    op: str  # - of an integer, ~ of a set
    value: Expr


@dataclass(frozen=True)
class Binary(Syntax):
    """`+ - * // % **` of integers, `+ - * / **` of real numbers, `&` and `\\` of sets."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Union(Syntax):
    """`a | b | ...`, at least two parts."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True)
class Chain(Syntax):
    """`0 <= q - k < w`: one operator between each operand and the next."""

    operands: tuple[Expr, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True)
class Range(Syntax):
    """`first..last`, without `last` itself."""

    first: Expr
    last: Expr


@dataclass(frozen=True)
class Members(Syntax):
    """`{0, 17, 33}`"""

    items: tuple[Expr, ...]


@dataclass(frozen=True)
class Membership(Syntax):
    """`value in container`; lowering refuses containers that are no range, set of numbers or input."""

    value: Expr
    negated: bool
    container: Expr


@dataclass(frozen=True)
class Arm(Syntax):
    """`heads -> body`; `else` has no heads."""

    heads: tuple[Expr, ...]
    body: Expr


@dataclass(frozen=True)
class Match(Syntax):
    value: Expr
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class Choice(Syntax):
    """`then if test else other`, of real numbers."""

    then: Expr
    test: Expr
    other: Expr


@dataclass(frozen=True)
class Scored(Syntax):
    """`body with softcap(50), alibi`: a set with the scores of its pairs, in the order in which they are applied."""

    body: Expr
    scores: tuple[Expr, ...]  # names and calls


Expr = (
    Number | Real | Name | Text | Table | Call | Index | Unary | Binary | Union | Chain | Range | Members | Membership
    | Match | Choice | Scored
)  # fmt: skip

_WORDS = (Number, Real, Name, Text)  # which have nothing below them

# ---------------------------------------------------------------- declarations


@dataclass(frozen=True)
class Parameter(Syntax):
    name: str
    default: Expr | None


@dataclass(frozen=True)
class Definition(Syntax):
    """`pattern name(parameters) = body`, `set ...` or `score ...`; `name_span` is the name's place."""

    kind: str  # pattern, set or score
    name: str
    parameters: tuple[Parameter, ...]
    body: Expr
    doc: str | None
    name_span: Span = field(compare=False, repr=False, kw_only=True)

    @cached_property
    def named(self) -> tuple[Name | Call | Index, ...]:
        """What its body has that is a name or begins with one, in the order of writing."""
        return tuple(node for node in walk(self.body) if isinstance(node, Name | Call | Index))


@dataclass(frozen=True)
class Use(Syntax):
    path: str
    doc: str | None = None


@dataclass(frozen=True)
class Input(Syntax):
    """`name: kind[axes]`; `name_span` and `kind_span` are the places of its words."""

    name: str
    kind: str
    axes: tuple[Expr, ...]
    doc: str | None = None
    name_span: Span = field(compare=False, repr=False, kw_only=True)
    kind_span: Span = field(compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class File:
    declarations: tuple[Definition | Use | Input, ...]
    source: Source = field(compare=False, repr=False)

    @property
    def definitions(self) -> tuple[Definition, ...]:
        return tuple(d for d in self.declarations if isinstance(d, Definition))

    @property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(d for d in self.declarations if isinstance(d, Input))


def bounds(container: Range | Members) -> tuple[Expr, ...]:
    """The ends of a range, or the numbers in braces."""
    return (container.first, container.last) if isinstance(container, Range) else container.items


def children(node: Syntax) -> tuple[Syntax, ...]:
    """The nodes directly below `node`, in the order of writing."""
    if isinstance(node, _WORDS):
        return ()
    values = [getattr(node, name) for name in node.__match_args__]  # what has no place in them is a span
    inner = (child for value in values for child in (value if isinstance(value, tuple) else (value,)))
    return tuple([child for child in inner if isinstance(child, Syntax)])


def walk(node: Syntax) -> Iterator[Syntax]:
    """`node` and every node below it, parents first; safe however deep the nesting."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))
