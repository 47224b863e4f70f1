"""Sets of pairs that are chosen by content: for each block of queries, a list of blocks of keys."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sparsec.ir.base import Base, hashed_once

if TYPE_CHECKING:
    from sparsec.ir.nodes import Set

Score = Literal["mean", "max", "bound", "lse"]
SCORES: tuple[Score, ...] = ("mean", "max", "bound", "lse")


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
class Choice(Base):
    """The `count` blocks of `size` keys that each block of `rows` queries scores best, of those with a pair of `among`.

    Blocks with a pair of `keep` come before all others.  A score pools q . k over the pairs of two blocks: their mean;
    the largest; a bound of the largest that needs only the extremes of keys; the log-sum-exp.  `shared`: query heads
    that share a key head add up their scores, and choose alike.
    """

    count: int
    size: int
    rows: int
    score: Score
    among: Set
    keep: Set
    shared: bool

    @property
    def name(self) -> str:
        """Of the input that lists what is chosen; no text can declare such a name."""
        single = self.rows == self.size == 1 and self.score == "max"
        return f"top_{'keys' if single else 'blocks'}.{zlib.crc32(repr(self).encode()):08x}"
