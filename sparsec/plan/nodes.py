"""A plan: which tiles a pattern visits, seen from the queries and from the keys, and which need a mask.

Tile edges are variables (`q_lo`, `q_hi`, `k_lo`, `k_hi`, ends included), so a plan holds for every tile size
from `MIN_TILE` on and for every n.  Positions are absolute: q counts from the start of the keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsec.ir import nodes as ir

Rung = Literal["exact", "hull", "all"]


@dataclass(frozen=True, slots=True)
class Segment:
    """Positions first..last to visit, ends included; None is open (the end of the sequence).

    Nothing is visited unless `when` holds.  `exact`: every position of it is touched by some pair.
    """

    first: ir.Int | None
    last: ir.Int | None
    when: ir.Set
    exact: bool


@dataclass(frozen=True, slots=True)
class Cover:
    """What one tile row (side "q", segments of keys) or tile column (side "k", segments of queries) visits.

    A tile that meets several segments is visited once: each segment starts after the last tile of those before,
    which asks for segments that rise by their first position.  `ordered` says that they do for every tile.

    Segments alone need not be enough: a tile that holds a pair of one of `tables` is visited too, after the segments
    and unless one of them met it.  Every kept pair lies in a segment or in a table; a table may list pairs that are
    not kept, and its tiles always take the mask of the condition unless `full` says otherwise.
    """

    side: Literal["q", "k"]
    segments: tuple[Segment, ...]
    ordered: bool
    rung: Rung  # "exact": all segments are; "hull": some are wider than what is touched, for the reason `why`
    why: str
    tables: tuple[ir.Leaf, ...] = ()  # in the order of writing


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """The plan of one distinct condition and the query heads that have it (() for every head)."""

    heads: tuple[int, ...]
    condition: ir.Set  # simplified; what a partial tile's mask evaluates
    rows: Cover  # forward and dq: per tile of queries, the keys
    columns: Cover  # dk and dv: per tile of keys, the queries
    full: ir.Set  # on the four edges: the tile needs no mask


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that code generation needs."""

    pattern: ir.Pattern
    parts: tuple[HeadPlan, ...]
