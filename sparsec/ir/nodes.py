"""What a pattern is: a condition on a query position and a key position.

Two sorts of node (`scores.py` has the third): an `Int` may depend on the pair (q, k) and on n; a `Set` is the set of
pairs for which a condition holds.  What depends on parameters, heads and layers is a `Const`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from sparsec.ir.base import Base, BaseLeaf, hashed_once
from sparsec.ir.chosen import Chosen, Grouped

if TYPE_CHECKING:
    from sparsec.ir.inputs import Input
    from sparsec.ir.scores import Real

# ---------------------------------------------------------------- integers


@hashed_once
@dataclass(frozen=True, slots=True)
class Const(Base):
    value: int


@hashed_once
@dataclass(frozen=True, slots=True)
class Var(Base):
    """`q`, `k`: absolute positions of query and key; `n`: number of keys.  Plans add names of tile edges."""

    name: str


@hashed_once
@dataclass(frozen=True, slots=True)
class Add(Base):
    left: Int
    right: Int


@hashed_once
@dataclass(frozen=True, slots=True)
class Sub(Base):
    left: Int
    right: Int


@hashed_once
@dataclass(frozen=True, slots=True)
class Mul(Base):
    """A product with at most one side that is not constant (lowering refuses the rest)."""

    left: Int
    right: Int


@hashed_once
@dataclass(frozen=True, slots=True)
class FloorDiv(Base):
    """left // divisor, rounded down; divisor >= 1."""

    left: Int
    divisor: int


@hashed_once
@dataclass(frozen=True, slots=True)
class Mod(Base):
    """left % divisor, always in [0, divisor); divisor >= 1."""

    left: Int
    divisor: int


@hashed_once
@dataclass(frozen=True, slots=True)
class Abs(Base):
    value: Int


@hashed_once
@dataclass(frozen=True, slots=True)
class Min(Base):
    left: Int
    right: Int


@hashed_once
@dataclass(frozen=True, slots=True)
class Max(Base):
    left: Int
    right: Int


@hashed_once
@dataclass(frozen=True, slots=True)
class Select(Base):
    """`then` where the condition holds, else `other`.  Never written by a user: bounds of tiles need it."""

    condition: Set
    then: Int
    other: Int


@hashed_once
@dataclass(frozen=True, slots=True)
class Read(Base):
    """An entry of an input, data given at the call, in a `DataTest` or a score: 0 or 1 for a bool, 0 outside of it.

    `index` is a position of the input's last axis; None where an input has one number for each row and head.
    """

    name: str
    index: Int | None


Int = Const | Var | Add | Sub | Mul | FloorDiv | Mod | Abs | Min | Max | Select | Read

# ---------------------------------------------------------------- sets of pairs

Comparator = Literal["<", "<=", "==", "!=", ">=", ">"]


@hashed_once
@dataclass(frozen=True, slots=True)
class Bool(Base):
    value: bool


@hashed_once
@dataclass(frozen=True, slots=True)
class Compare(Base):
    left: Int
    op: Comparator
    right: Int


@hashed_once
@dataclass(frozen=True, slots=True)
class Member(Base):
    """value in {members}; members sorted, without repeats, at least one."""

    value: Int
    members: tuple[int, ...]


@hashed_once
@dataclass(frozen=True, slots=True)
class And(Base):
    parts: tuple[Set, ...]


@hashed_once
@dataclass(frozen=True, slots=True)
class Or(Base):
    parts: tuple[Set, ...]


@hashed_once
@dataclass(frozen=True, slots=True)
class Not(Base):
    part: Set


@hashed_once
@dataclass(frozen=True, slots=True)
class ElementOf(Base):
    """Whether a value is among the entries of an input.  It occurs as the test of a `DataTest` alone."""

    value: Int
    name: str


@hashed_once
@dataclass(frozen=True, slots=True)
class DataTest(BaseLeaf):
    """A test of data given at the call, taken as one: false where an index of its reads is outside the input.

    So the complement is true there, and is never the test with the opposite comparison.  `data` has what is known of
    the inputs of one row and head, by name: a number, entries, or rows of them.
    """

    test: Test
    data: tuple[tuple[str, Known], ...] = ()


@hashed_once
@dataclass(frozen=True, slots=True)
class Blocks(BaseLeaf):
    """Queries i*size .. (i+1)*size - 1 see the key blocks rows[i], which rise; rows and blocks beyond see nothing."""

    size: int
    rows: tuple[tuple[int, ...], ...]


@hashed_once
@dataclass(frozen=True, slots=True)
class RandomBlocks(BaseLeaf):
    """Each block of `size` queries sees `count` distinct key blocks of the ceil(n / size) there are, all when fewer.

    With `past`, the blocks are drawn from those not after the query's own.
    """

    size: int
    count: int
    seed: int
    past: bool = False


@hashed_once
@dataclass(frozen=True, slots=True)
class RandomKeys(BaseLeaf):
    """Each query sees `count` distinct keys of the n there are, all when fewer."""

    count: int
    seed: int
    size: ClassVar[int] = 1


Test = Compare | Member | ElementOf | Chosen | Grouped
Known = int | tuple[int, ...] | tuple[tuple[int, ...], ...]
Table = Blocks | RandomBlocks | RandomKeys
Leaf = Table | DataTest
Set = Bool | Compare | Member | And | Or | Not | Leaf
Node = Int | Set

TRUE, FALSE = Bool(True), Bool(False)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern with everything bound; `conditions[c]` with `scores[c]` is a distinct condition with its score."""

    name: str
    doc: str
    text: str  # as written, with the inputs, sets and scores that it needs: for people, and to compile again
    parameters: tuple[tuple[str, int], ...]
    conditions: tuple[Set, ...]
    head_conditions: tuple[int, ...] = ()  # of each query head the number of its own; () where one serves any number
    inputs: tuple[Input, ...] = ()  # that conditions read, in the order of declaration; then those that are made
    scores: tuple[Real | None, ...] = ()  # of each condition; None is s itself, and () where all are
    score_inputs: tuple[Input, ...] = ()  # that scores alone read: those of float, with gradients, are the last
    choice_inputs: tuple[Input, ...] = ()  # by which inputs are made: scores of blocks, and centroids

    @property
    def heads(self) -> int | None:
        """Number of query heads that the pattern is bound to, None when it serves any."""
        return len(self.head_conditions) or None

    def score(self, index: int) -> Real | None:
        """The score of a condition, by its number."""
        return self.scores[index] if self.scores else None


_BELOW: dict[type, Callable[[Any], tuple[Node, ...]]] = {  # of the kinds that conditions mostly consist of
    **dict.fromkeys((Const, Var, Bool), lambda _: ()),
    **dict.fromkeys((Add, Sub, Mul, Min, Max, Compare), attrgetter("left", "right")),
    **dict.fromkeys((And, Or), attrgetter("parts")),
}


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below `node`, in the order of writing."""
    if (below := _BELOW.get(type(node))) is not None:
        return below(node)
    # Rows of tables are many, and no nodes; a test of data is taken as one.
    values = () if isinstance(node, BaseLeaf) else (getattr(node, name) for name in node.__match_args__)
    inner = (child for value in values for child in (value if isinstance(value, tuple) else (value,)))
    return tuple(cast(Node, child) for child in inner if isinstance(child, Base))  # a union of types takes long


def walk(node: Node) -> Iterator[Node]:
    """`node` and every node below it, parents first."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


@lru_cache(maxsize=8192)  # asked of the same parts again and again, by all that looks at conditions
def names(node: Node) -> frozenset[str]:
    """Names of the variables that occur in `node`."""
    return frozenset((node.name,)) if isinstance(node, Var) else frozenset().union(*map(names, children(node)))


@lru_cache(maxsize=1024)
def leaves(node: Node) -> tuple[Leaf, ...]:
    """The distinct leaves of `node`, tables and tests of data, in the order of writing."""
    return tuple(dict.fromkeys(cast(Leaf, part) for part in walk(node) if isinstance(part, BaseLeaf)))


def tables(node: Node) -> tuple[Table, ...]:
    """The distinct tables of `node`, in the order of writing."""
    return tuple(leaf for leaf in leaves(node) if not isinstance(leaf, DataTest))
