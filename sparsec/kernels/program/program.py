"""The program of a pattern: groups of heads, regions of their pairs, and the kernels that serve them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.program.input_entries import Entries
from sparsec.kernels.program.inputs import Input

WHOLE_ROWS = 128  # numbers of rows come in whole tiles of any BLOCK_M, so that loads of them need no mask
_TOGETHER = 8  # residue classes, at most: their rows are neighbours, 2 KB of 16-bit rows of 128
WORD = 64  # most rows of a tile of listed pairs: one bit for each

Gathered = tuple[int, int, int]  # period, first, width: the keys with (k - first) % period < width, side by side


class Groups(NamedTuple):
    """Groups of tokens whose pairs a region is about, as an operator makes them."""

    input: int  # of their labels, by number
    near: bool  # chunks of keys, of which a query sees its own and the one before; otherwise clusters
    size: int  # keys of a chunk, or the most tokens of a cluster


class Answers(NamedTuple):
    """What kernels ask about a region: functions on the device, None where nothing is to be asked."""

    keep: Any = None  # (q, k, n, at, tables, inputs, forms, numbers) -> whether a pair is kept
    full: Any = None  # (q_lo, q_hi, k_lo, k_hi, n, residue, numbers) -> whether a tile is kept whole
    full_named: Any = None  # the same of tiles of which a table has every pair; asked where lists are made
    keys: Any = None  # (q_lo, q_hi, n, length, BLOCK, residue, numbers) -> ranges of tiles that queries visit
    queries: Any = None  # (k_lo, k_hi, n, length, shift, BLOCK, residue, numbers) -> those that keys visit
    judge: Any = None  # (q, k, n, at, inputs, forms, numbers) -> what a tile has, as `tiles.spans.judged`
    named: Any = None  # the same -> whether lists name a block of a tile, and whether all; None: there are no lists
    keep_static: Any = None  # (q, k, n, tables, numbers) -> `keep`, where no test of data holds; None: no pair
    score: Any = None  # (s, q, k, n, h, H, numbers) -> scores, from scaled products
    score_gradient: Any = None  # the same -> their derivatives by s; None: these are 1
    exponent: Any = None  # (s, scale, q, k, ..) -> scores less `tilt * (k - q)`, times log2(e); None: of s itself
    tilt: Any = None  # (n, h, H, numbers) -> by how much scores rise from each key to the next; None: that differs
    most: float | None = None  # what no score is above, nor below its negative; None: nobody knows a bound
    weight: Any = None  # as exponent -> 2 to the power of that; None: it may overflow
    exponent_and_slope: Any = None  # as exponent -> the same, and score_gradient; None: they may be infinite


class ChosenKeys(NamedTuple):
    """What lists of single keys, one for each query, add to a region."""

    input: int  # that holds the lists, by number
    keep: Any = None  # as Answers.keep: which of their pairs are kept with them; None: all
    inputs: tuple[int, ...] = ()  # that `keep` reads


class Read(NamedTuple):
    """How a score reads an entry of a float input, and its derivative by that entry."""

    input: int  # its number
    by: str  # what tells entries apart: "row" (the query), "column", "distance", "pair", or "whole": it is bias[q, k]
    slope: Any  # on the device, as Answers.score
    slope_cpu: Callable[..., Any]  # as Region.score
    indices: Callable[..., list]  # (q, k, n, h, H, *inputs) -> the entry, on tensors; [] of a number
    inputs: tuple[int, ...] = ()  # of integers, that `indices` reads, by number


class Reads(NamedTuple):
    """What a score reads of float inputs, and what their gradients need besides."""

    kept: Any  # as Answers.keep, for all regions together
    tables: tuple[tuple[int, Any], ...]  # that `kept` reads
    all: tuple[Read, ...]


class Region(NamedTuple):
    """A disjoint part of the pattern, with its answers."""

    name: str  # ends the names of what belongs to it: "", "_a", "_0_b"
    answers: Answers
    visit: Callable[..., list[tuple[int, int]]]  # (q_lo, q_hi, n) -> half-open ranges of keys
    keys: Callable[..., list]  # `visit` for many tiles of queries: tensors, or an integer for all tiles
    full: Callable[..., Any]  # (q_lo, q_hi, k_lo, k_hi, n) -> every pair of a tile is kept; tensors, or a bool for all
    keep: Callable[..., Any]  # (q, k, n) -> mask, on tensors
    stride: int = 1  # queries and keys of one residue class side by side
    gathered: Gathered | None = None
    groups: Groups | None = None  # queries and keys side by side with those of their groups
    block: int = 1  # tiles within aligned blocks of so many positions are full where they are visited
    listed: bool = False  # pairs one by one, from a list
    tables_fill: bool = False  # a tile of which a table has every pair is kept whole, where `full_named` says so
    full_named: Callable[..., Any] | None = None  # as `full`, of such tiles; None: always
    tables: tuple[tuple[int, Any], ...] = ()  # tables that `keep` reads, with their numbers
    rows_tables: tuple = ()  # tables whose tiles are visited besides the ranges
    columns_tables: tuple = ()
    tile_lists: tuple[str, ...] = ()  # "rows", "columns": their tiles come from lists, with masks, and not from ranges
    queries: Callable[..., list] | None = None  # half-open ranges of queries that many tiles of keys visit
    beside_choices: tuple[Callable[..., list], Callable[..., list]] | None = None  # as `keys` and
    # `queries`, of pairs that no list of the call names; None: it asks none
    beside_keys: Any = None  # the region without lists of single keys that only add pairs; None: there are none
    chosen_keys: tuple[ChosenKeys, ...] = ()  # what each of these lists adds
    inputs: tuple[int, ...] = ()  # that `keep` reads, by number, after tables
    score: Callable[..., Any] | None = None  # (s, q, k, n, h, H) -> scores, on tensors; None: scaled products are they
    score_gradient: Callable[..., Any] | None = None  # the same -> their derivatives by s; None: these are 1
    score_inputs: tuple[int, ...] = ()  # that `score` reads, by number
    reads: Reads | None = None
    numbers: tuple[int, ...] = ()  # that kernels and answers take, where heads that differ in them share these

    def read(self, entries: Sequence[Entries]) -> list[Entries]:
        """Of the inputs of a row and head those that `keep` takes."""
        return [entries[number] for number in self.inputs]

    def read_in_scores(self, entries: Sequence[Entries]) -> list[Entries]:
        """Of the inputs of a row and head those that `score` takes."""
        return [entries[number] for number in self.score_inputs]

    @property
    def more(self) -> tuple:
        """What its answers on a CPU take besides."""
        return (self.numbers,) if self.numbers else ()


def numbered(regions: tuple[Region, ...], numbers: tuple[int, ...]) -> tuple[Region, ...]:
    """Regions of heads that share their kernels, with the numbers in which these heads differ from others."""
    return tuple(region._replace(numbers=numbers) for region in regions)


class Kernel(NamedTuple):
    """A kernel of the plan: "forward" and "dq" go over regions whose queries stand alike, "dkdv" over one."""

    kind: str
    name: str  # in profiles, and among tuned settings
    regions: tuple[Any, ...]  # places in the variant; Variant.of has the regions themselves
    begin: str = "init"  # "continue": it goes on with what the kernel before left
    end: str = "store"  # "carry": the next kernel of the kind goes on with it; "sums": another one collects it
    split_prefix: int = 0  # rows (or keys) below it visit far more than others: several programs split a tile
    longest_first: bool = False  # later tiles have more to do, and start first
    collects: tuple[Any, ...] = ()  # places of gathered regions whose sums it adds to its own
    before_lists: bool = False  # kernels over lists of single keys go on with it

    @property
    def stride(self) -> int:
        return self.regions[0].stride

    @property
    def carries(self) -> bool:
        return self.end == "carry"

    @property
    def together(self) -> int:
        """How many residue classes take turns, of which the programs run at the same time: a divisor of the stride."""
        return max(count for count in range(1, _TOGETHER + 1) if self.stride % count == 0)

    @property
    def block(self) -> int:
        return max(region.block for region in self.regions)

    @property
    def listed(self) -> bool:
        return self.regions[0].listed

    @property
    def grouped(self) -> bool:
        return self.regions[0].groups is not None

    @property
    def numbers(self) -> tuple[int, ...]:
        return self.regions[0].numbers


class Variant(NamedTuple):
    """What serves n keys and more, up to the next variant: regions, and kernels in the order of their launch."""

    from_n: int
    regions: tuple[Region, ...]
    kernels: tuple[Kernel, ...]

    def of(self, kind: str) -> tuple[Kernel, ...]:
        """The kernels of a kind, with their regions."""
        return tuple(
            kernel._replace(
                regions=tuple(self.regions[place] for place in kernel.regions),
                collects=tuple(self.regions[place] for place in kernel.collects),
            )
            for kernel in self.kernels
            if kernel.kind == kind
        )


class Group(NamedTuple):
    """The query heads that share a condition."""

    heads: tuple[int, ...] | None  # None: all
    variants: tuple[Variant, ...]  # by rising from_n

    def at(self, n: int) -> Variant:
        """The variant that serves n keys."""
        return next(variant for variant in reversed(self.variants) if n >= variant.from_n)


@dataclass(eq=False)
class Program:
    """A compiled pattern."""

    groups: tuple[Group, ...]
    min_tile: int  # the plan holds for tiles at least this long
    most_positions: int  # positions and lengths stay below it
    inputs: tuple[Input, ...] = ()  # data that a call gives, or the operator makes
    choice_inputs: tuple[Input, ...] = ()  # by which it makes some of them
    tuned: dict = field(default_factory=dict)  # (GPU, tier, dtype, head size, kernel) -> setting, before the table's
    compiled: dict = field(default_factory=dict)  # kernels that Triton compiled, by what decides their code
    passes: dict = field(default_factory=dict)  # prepared passes, by what decides their launches
    weighed: dict = field(default_factory=dict)  # whether calls gather single keys, by what decides their costs

    @property
    def by_head(self) -> bool:
        """Whether kernels serve lists of heads."""
        return self.groups[0].heads is not None

    @property
    def grouped(self) -> bool:
        """Whether kernels over groups of tokens may serve it, which know one head size."""
        variants = (variant for group in self.groups for variant in group.variants)
        return any(region.groups for variant in variants for region in variant.regions)

    @property
    def score_inputs(self) -> int:
        """How many inputs, the last ones, are float inputs of scores, which have gradients."""
        return sum(own.kind == "float" for own in self.inputs)

    @property
    def heads(self) -> int | None:
        """The number of query heads that the groups are about; None for any."""
        return sum(len(group.heads) for group in self.groups if group.heads is not None) or None


@lru_cache(maxsize=8)
def count_gathered(n: int, gathered: Gathered) -> int:
    """How many keys below n have (k - first) % period < width."""
    period, first, width = gathered
    beyond = max(n - first, 0)
    return beyond // period * width + min(beyond % period, width)


def gathered_keys(n: int, gathered: Gathered, device: torch.device) -> Tensor:
    """Positions of the keys below n with (k - first) % period < width."""
    period, first, width = gathered
    places = torch.arange(-(-n // period) * width, device=device)
    keys = places // width * period + first + places % width
    return keys[keys < n]


def cdiv(x: int, y: int) -> int:
    """x / y rounded up; triton.cdiv takes microseconds on the host."""
    return -(-x // y)
