"""A plan: which tiles a pattern visits, seen from the queries and from the keys, which need a mask, and the kernels.

Tile edges are variables (`q_lo`, `q_hi`, `k_lo`, `k_hi`, ends included), so a plan holds for every tile size
from `MIN_TILE` on and for every n.  Positions are absolute: q counts from the start of the keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsec.ir import nodes as ir
from sparsec.ir.chosen_keys import ChosenKeys
from sparsec.ir.scores import Real

Side = Literal["q", "k"]
Precision = Literal["exact", "hull", "all", "list", "groups"]
Kind = Literal["forward", "dq", "dkdv"]
Begin = Literal["init", "continue"]  # continue: the softmax goes on, or sums are added to carried ones
End = Literal["store", "carry", "sums"]  # results in their type; state for the next kernel; sums of gathered keys


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

    side: Side
    segments: tuple[Segment, ...]
    ordered: bool
    # "exact": all segments are.  "hull": some are wider than what is touched, for the reason `why`.  "all": every tile.
    # "list": no segments, and exactly the tiles that hold a pair, since ranges would hold more, for the reason `why`.
    # "groups": no segments, and what the groups of a call hold.
    precision: Precision
    why: str
    tables: tuple[ir.Table, ...] = ()  # in the order of writing
    split_prefix: int = 0  # rows (or columns) that start below it touch far more than others do: global tokens
    longest_first: bool = False  # later tiles visit more than earlier ones do, as those of causal attention do

    @property
    def from_list(self) -> bool:
        """Whether all tiles come from a list made for the length, each with its mask."""
        return self.precision == "list"


@dataclass(frozen=True, slots=True)
class Contiguous:
    """Positions as they are."""


@dataclass(frozen=True, slots=True)
class Residue:
    """Queries and keys of one residue class side by side: q = stride * q' + residue, k = stride * k' + residue.

    One program serves one class; its covers name `residue`, 0 <= residue < stride.
    """

    stride: int


@dataclass(frozen=True, slots=True)
class Gathered:
    """Queries as they are, periodic keys side by side.

    Place x, counted from 0, stands for the key k = x // width * period + first + x % width.
    """

    period: int
    first: int
    width: int


@dataclass(frozen=True, slots=True)
class Listed:
    """Positions as they are, the pairs of small tables one by one.

    A program gathers what the pairs of its tile name: exactly the kept ones, from a list made for the length.
    """


@dataclass(frozen=True, slots=True)
class Grouped:
    """Queries and keys side by side with those of their groups, which the operator makes in each call.

    In each of `lines` orders keys stand in groups of `size`.  `near`: these are chunks, and a query sees its own and
    the one before; otherwise they are clusters.
    """

    name: str  # of the input that holds the labels
    near: bool
    size: int
    lines: int


Layout = Contiguous | Residue | Gathered | Listed | Grouped


@dataclass(frozen=True, slots=True)
class Region:
    """Pairs of one layout: what a loop of the kernels for out and dq goes over, and what a kernel for dk and dv is for.

    `condition` and `mask` are on absolute q, k and n.  Covers and `full` are in the layout's own coordinates:
    q_lo..q_hi are q' (Residue), k_lo..k_hi are k' (Residue) or places (Gathered).  n stays the number of all keys.
    """

    layout: Layout
    condition: ir.Set
    mask: ir.Set  # what a partial tile evaluates: the condition, without what holds for all pairs of the layout
    rows: Cover  # forward and dq: per tile of queries, the keys
    columns: Cover  # dk and dv: per tile of keys, the queries
    full: ir.Set  # on the four edges: the tile needs no mask (Listed: never asked, every tile has its mask listed)
    why: str  # why this layout, one sentence
    block: int = 1  # tiles that lie within aligned blocks of so many positions are full where they are visited at all
    full_named: ir.Set = ir.FALSE  # as `full`, of tiles of which one of the tables that are visited has every pair
    beside_choices: tuple[Cover, Cover] | None = None  # of the pairs that no list of the call names; None: no lists
    beside_keys: Region | None = None  # without lists of single keys, where these only add pairs; None: there are none
    chosen_keys: tuple[ChosenKeys, ...] = ()  # what each of those lists adds

    @property
    def covers(self) -> tuple[Cover, Cover]:
        """Of rows and of columns."""
        return self.rows, self.columns

    @property
    def stride(self) -> int:
        """Of its residue classes; 1 where there are none."""
        return self.layout.stride if isinstance(self.layout, Residue) else 1

    @property
    def gathered(self) -> tuple[int, int, int] | None:
        """(period, first, width) of gathered keys."""
        layout = self.layout
        return (layout.period, layout.first, layout.width) if isinstance(layout, Gathered) else None

    @property
    def listed(self) -> bool:
        """Whether its pairs come one by one from a list."""
        return isinstance(self.layout, Listed)

    @property
    def grouped(self) -> bool:
        """Whether its tokens stand by group."""
        return isinstance(self.layout, Grouped)

    @property
    def keeps(self) -> bool:
        """Whether kernels evaluate the mask: not all pairs of the layout are kept, nor do lists say which ones are."""
        return self.mask != ir.TRUE and not self.listed and not all(cover.from_list for cover in self.covers)

    @property
    def never_full(self) -> bool:
        """Whether no tile is proved full, so that every tile is masked."""
        return self.full == ir.FALSE

    @property
    def asks_full(self) -> bool:
        """Whether kernels ask if a tile is full."""
        return self.keeps and not self.never_full

    @property
    def asks_full_named(self) -> bool:
        """Whether something else than a table decides if a tile is full of which the table has every pair."""
        return self.keeps and self.full_named not in (ir.TRUE, ir.FALSE)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of a variant: what it computes, over which regions, and what it takes up and hands over.

    "forward" and "dq" work on tiles of queries and go over the keys of all regions whose queries stand alike; "dkdv"
    works on tiles of keys and goes over the queries of one region.
    """

    kind: Kind
    name: str  # letters of its regions; "" where the variant has one region
    regions: tuple[Region, ...]
    begin: Begin
    end: End
    split_prefix: int  # rows (or columns) below it touch so much that several programs split a tile; 0: none
    collects: tuple[tuple[str, Region], ...] = ()  # gathered regions, by name, whose sums it adds to its own

    @property
    def covers(self) -> tuple[Cover, ...]:
        """What its tiles visit of each region."""
        return tuple(region.columns if self.kind == "dkdv" else region.rows for region in self.regions)

    @property
    def longest_first(self) -> bool:
        """Whether later tiles have more to do, and start first."""
        return any(cover.longest_first for cover in self.covers) and not self.split_prefix


@dataclass(frozen=True, slots=True)
class Variant:
    """What serves lengths n >= from_n, up to the next variant: regions, disjoint as sets, and kernels as launched."""

    from_n: int
    regions: tuple[Region, ...]
    kernels: tuple[Kernel, ...]
    score: Real | None = None  # of all its pairs; None: s itself

    def of(self, kind: Kind) -> tuple[Kernel, ...]:
        """The kernels of one kind."""
        return tuple(kernel for kernel in self.kernels if kernel.kind == kind)


@dataclass(frozen=True, slots=True)
class Group:
    """The plan of one distinct condition and the query heads that have it (() for every head)."""

    heads: tuple[int, ...]
    condition: ir.Set  # simplified; the union of the regions of every variant
    variants: tuple[Variant, ...]  # by rising from_n, from 0 on; at most two
    rejected: tuple[Variant, ...] = ()  # what was weighed and serves no length

    def at(self, n: int) -> Variant:
        """The variant that serves n keys."""
        return next(variant for variant in reversed(self.variants) if variant.from_n <= n)

    def instead(self, variant: Variant) -> Variant | None:
        """What else was weighed."""
        return next((each for each in (*self.variants, *self.rejected) if each is not variant), None)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that code generation needs."""

    pattern: ir.Pattern
    groups: tuple[Group, ...]

    @property
    def by_head(self) -> bool:
        """Whether kernels serve lists of heads."""
        return len(self.groups) > 1

    @property
    def empty(self) -> bool:
        """Whether it is proved that no call keeps any pair."""
        regions = (region for group in self.groups for variant in group.variants for region in variant.regions)
        return all(region.condition == ir.FALSE for region in regions)
