"""Sets of pairs that are chosen by content: for each block of queries, a list of blocks of keys."""

from __future__ import annotations

from dataclasses import dataclass

from sparsec.ir.base import Base, hashed_once


@hashed_once
@dataclass(frozen=True, slots=True)
class Chosen(Base):
    """Whether the key's block of `size` is listed for the block of `rows` queries.  The test of a `DataTest` alone.

    Queries are counted from the first one of a call.
    """

    name: str  # of the input
    rows: int
    size: int
