"""Sets of pairs that are chosen by content: lists of blocks of keys for blocks of queries, and groups of tokens."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsec.ir.base import Base, hashed_once

if TYPE_CHECKING:
    from sparsec.ir.nodes import Set


@hashed_once
@dataclass(frozen=True, slots=True)
class Chosen(Base):
    """Whether the key's block of `size` is listed for the block of `rows` queries.  The test of a `DataTest` alone.

    Queries are counted from the first one of a call.
    """

    name: str  # of the input
    rows: int
    size: int


@hashed_once
@dataclass(frozen=True, slots=True)
class Grouped(Base):
    """Whether the query and the key are in one group.  The test of a `DataTest` alone.

    Queries and keys have labels, one in each of some lines.  `near`: in some line the key's label is that of the query
    or one less, as of sorted chunks; otherwise labels are bits, and in some line both have one in common.
    """

    name: str  # of the input
    near: bool


@hashed_once
@dataclass(frozen=True, slots=True)
class Choice(Base):
    """The `count` blocks of `size` keys that each block of `rows` queries scores best, of those with a pair of `among`.

    Blocks with a pair of `keep` come before all others.  A score pools q . k over the pairs of two blocks: their mean;
    the largest; a bound of the largest that needs only the extremes of keys; the log-sum-exp.  `shared`: query heads
    that share a key head add up their scores, and choose alike.  Where scores are `given`, `score` is the name of the
    input that holds them.  `percent`: no more than it takes of the best for their share of the softmax of all scores.
    """

    count: int
    size: int
    rows: int
    score: str
    among: Set
    keep: Set
    shared: bool
    given: bool = False
    percent: int = 100

    @property
    def name(self) -> str:
        """Of the input that lists what is chosen; no text can declare such a name."""
        single = self.rows == self.size == 1 and self.score == "max"
        return _named(f"top_{'keys' if single else 'blocks'}", self)


@hashed_once
@dataclass(frozen=True, slots=True)
class Hashing(Base):
    """Keys sorted by hash in each of some rounds, and cut into chunks; a query is in the chunk where it would stand.

    Reformer's (Kitaev et al., 2020, arXiv:2001.04451): the hash is which of `buckets` directions is nearest, half of
    them random, drawn from the seed for each key head and round, and half their opposites.
    """

    buckets: int
    rounds: int
    chunk: int
    seed: int

    @property
    def name(self) -> str:
        """Of the input that holds the labels: numbers of chunks."""
        return _named("lsh", self)


@hashed_once
@dataclass(frozen=True, slots=True)
class Routing(Base):
    """Clusters of the `count` queries and the `count` keys with the largest products with a centroid.

    That of the Routing Transformer (Roy et al., 2020, arXiv:2003.05997).
    """

    count: int
    centroids: str  # an input

    @property
    def name(self) -> str:
        """Of the input that holds the labels: a bit for each cluster."""
        return _named("routed", self)


Chooser = Choice | Hashing | Routing  # what an operator does itself, in each call


def _named(word: str, chooser: Base) -> str:
    return f"{word}.{zlib.crc32(repr(chooser).encode()):08x}"
