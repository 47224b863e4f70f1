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
    long: int = 0  # rows (or columns) that start below it touch far more than the others do, as global tokens do
    rising: bool = False  # later tiles visit more than earlier ones do, as those of causal attention do


@dataclass(frozen=True, slots=True)
class Natural:
    """Positions as they are."""


@dataclass(frozen=True, slots=True)
class Residue:
    """Queries and keys of one residue class side by side: q = stride * q' + residue, k = stride * k' + residue.

    One program serves one class; its covers name `residue`, 0 <= residue < stride.
    """

    stride: int


@dataclass(frozen=True, slots=True)
class Columns:
    """Queries as they are, the keys of a comb side by side.

    Place x, counted from 0, stands for the key k = x // width * period + first + x % width.
    """

    period: int
    first: int
    width: int


@dataclass(frozen=True, slots=True)
class Scattered:
    """Positions as they are, the pairs of small tables one by one.

    A program gathers what the pairs of its tile name: exactly the kept ones, from a list made for the length.
    """


Layout = Natural | Residue | Columns | Scattered


@dataclass(frozen=True, slots=True)
class Part:
    """What a kernel for dk and dv works on, and one loop of forward and of dq (sparsec.plan.walks).

    `condition` and `mask` are on absolute q, k and n.  Covers and `full` are in the layout's own coordinates:
    q_lo..q_hi are q' (Residue), k_lo..k_hi are k' (Residue) or places (Columns).  n stays the number of keys, absolute.
    """

    layout: Layout
    condition: ir.Set
    mask: ir.Set  # what a partial tile evaluates: the condition, without what holds for all pairs of the layout
    rows: Cover  # forward and dq: per tile of queries, the keys
    columns: Cover  # dk and dv: per tile of keys, the queries
    full: ir.Set  # on the four edges: the tile needs no mask (Scattered: never asked, every tile has its mask listed)
    why: str  # why this layout, one sentence
    block: int = 1  # tiles that lie within aligned blocks of so many positions are full where they are visited at all


@dataclass(frozen=True, slots=True)
class Choice:
    """The parts that serve lengths n >= least_n, up to the next choice.  They are disjoint as sets."""

    least_n: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """The plan of one distinct condition and the query heads that have it (() for every head)."""

    heads: tuple[int, ...]
    condition: ir.Set  # simplified; the union of the parts of every choice
    choices: tuple[Choice, ...]  # by rising least_n, from 0 on; at most two

    def at(self, n: int) -> Choice:
        """The choice that serves n keys."""
        return next(choice for choice in reversed(self.choices) if choice.least_n <= n)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that code generation needs."""

    pattern: ir.Pattern
    parts: tuple[HeadPlan, ...]

    @property
    def empty(self) -> bool:
        """Whether it is proved that no call keeps any pair."""
        return all(part.condition == ir.FALSE for heads in self.parts for each in heads.choices for part in each.parts)
