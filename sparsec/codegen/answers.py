"""The answers of a region as text: whether a pair is kept, whether a tile is full, which keys and queries it touches.

Templates print them once for each region, and kernels call them; templates/README.md describes every name.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from sparsec.codegen.arguments import DataArguments
from sparsec.codegen.chosen_keys import ChosenKeysText, chosen_keys_text
from sparsec.codegen.dialects import Scalar, Torch, Triton
from sparsec.codegen.origins import Names, Origins, comment, unknown
from sparsec.codegen.spans import Spans
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import lists_in, without_data
from sparsec.ir.inputs import inputs_read
from sparsec.plan.nodes import Contiguous, Cover, Region, Segment, Variant


@dataclass(frozen=True, slots=True)
class Bounds:
    """A segment as half-open bounds, in three dialects: of kernels, of plain Python, and of tensors over tiles."""

    origin: str  # the terms that it comes from, "" where that is not known
    first: str
    stop: str
    bounded: bool  # `stop` is a position; otherwise it is the length of the sequence
    scalar_first: str
    scalar_stop: str
    tiles_first: str
    tiles_stop: str


@dataclass(frozen=True, slots=True)
class Ranges:
    """The segments of a cover."""

    why: str
    segments: tuple[Bounds, ...]
    exchanges: tuple[tuple[int, int], ...]  # pairs to compare and swap until the ranges are in order

    @property
    def scalar(self) -> list[tuple[str, str]]:
        """The ranges as plain integers."""
        return [(each.scalar_first, each.scalar_stop) for each in self.segments]

    @property
    def tiles(self) -> list[tuple[str, str]]:
        """The ranges of many tiles, as tensors."""
        return [(each.tiles_first, each.tiles_stop) for each in self.segments]

    @property
    def same_for_tiles(self) -> bool:
        """Whether one text serves integers and tensors."""
        return self.scalar == self.tiles


@dataclass(frozen=True, slots=True)
class Answers:
    """What kernels and the torch path ask about a region."""

    region: Region
    suffix: str
    keep: list[str]
    keep_torch: list[str]
    row_classes: tuple[tuple[str, str], ...]  # tables of `keep_torch`: name, and the rows in lines
    full: list[str]
    full_torch: list[str]
    full_named: list[str]  # both again, of tiles of which a table has every pair
    full_named_torch: list[str]
    keys: Ranges
    queries: Ranges
    beside_choices: tuple[Ranges, Ranges] | None  # keys and queries of pairs that no list of the call names
    tables: tuple[tuple[int, int], ...]  # of the mask: their numbers in kernels, and in the module
    inputs: tuple[int, ...]  # that the mask reads, by number
    judge: list[str]  # decides tiles where data of the call does; empty: what is known before is all there is
    named: list[str]  # decides likewise whether lists name blocks of a tile; empty: there are none
    beside_keys: Answers | None  # of the region without lists of single keys; None: there are none that only add pairs
    chosen_keys: tuple[ChosenKeysText, ...]
    keep_static: list[str]  # `keep` where no test of data holds, without data; empty: no pair is kept there, or all are
    data: DataArguments
    numbers: str  # ", NUMBERS" where heads that differ in numbers share the kernels, else ""

    @property
    def asks_full(self) -> bool:
        """Whether kernels ask if a tile is full: where data is looked at tile by tile, lists say it."""
        return self.region.asks_full and not self.judge

    @property
    def asks_full_named(self) -> bool:
        """As `asks_full`, of tiles of which a table has every pair."""
        return self.region.asks_full_named and not self.judge

    @property
    def device(self) -> list[tuple[str, str]]:
        """What kernels ask: "keep", "full", "keys", .., and the name of the function that answers."""
        asked = {"keep": self.region.keeps, "full": self.asks_full, "full_named": self.asks_full_named}
        asked |= {"judge": bool(self.judge), "named": bool(self.named), "keep_static": bool(self.keep_static)}
        asked |= {"keys": bool(self.keys.segments), "queries": bool(self.queries.segments)}
        return [(answer, f"_{answer}{self.suffix}") for answer, wanted in asked.items() if wanted]

    @property
    def table_arguments(self) -> str:
        """The tables as arguments of kernels."""
        return "".join(f", STARTS_{index}, TABLE_{index}" for index, _ in self.tables)

    @property
    def place(self) -> str:
        """Which row of the batch and head a pair belongs to, as an argument of kernels whose masks read data."""
        return ", at" if self.data.all else ""

    @property
    def data_typed(self) -> str:
        """Data of the call as parameters of device functions."""
        return f"{self.data.text}: tl.constexpr" if self.data.all else ""

    @property
    def table_names(self) -> str:
        """The tables and inputs as arguments on a CPU."""
        names = [*(f"TABLE_{index}" for index, _ in self.tables), *(f"INPUT_{index}" for index in self.inputs)]
        return "".join(f", {name}" for name in names)

    @property
    def more(self) -> str:
        """What answers take besides positions and lengths."""
        return f"{', residue' if self.region.stride > 1 else ''}{self.numbers}"

    @property
    def numbers_typed(self) -> str:
        """`numbers` as a parameter of device functions."""
        return f"{self.numbers}: tl.constexpr" if self.numbers else ""

    @property
    def more_typed(self) -> str:
        """`more` as parameters of device functions."""
        return f"{', residue' if self.region.stride > 1 else ''}{self.numbers_typed}"

    @property
    def visits(self) -> list[tuple[str, Ranges, str, str]]:
        """(name, ranges, parameters, what positions are counted from) of what kernels ask about tiles to visit."""
        asked = [
            ("keys", self.keys, f"q_lo, q_hi, n, length, BLOCK: tl.constexpr{self.more_typed}", ""),
            ("queries", self.queries, f"k_lo, k_hi, n, length, shift, BLOCK: tl.constexpr{self.more_typed}", "shift"),
        ]
        return [each for each in asked if each[1].segments]


def answers(
    region: Region,
    suffix: str,
    own: tuple[ir.Table, ...],
    everyone: tuple[ir.Table, ...],
    data: DataArguments,
    numbered: bool,
    origins: Origins | None = None,
) -> Answers:
    """The text of a region; `own`: the tables of its variant, `everyone`: those of the module."""
    origins = origins or unknown(region)
    triton, torch = Triton(own, data), Torch(own, suffix, data.inputs)
    reads = inputs_read(region.mask)
    judged = reads and isinstance(region.layout, Contiguous)
    static = without_data(region.mask, "under") if judged or (data.all and not reads) else ir.FALSE
    keep_torch = torch.lines(as_tensor(region.mask), "return ")
    return Answers(
        region=region,
        suffix=suffix,
        keep=triton.lines(region.mask, "return "),
        keep_torch=keep_torch,
        row_classes=tuple((name, _wrapped(classes.rows)) for classes, name in torch.tables.items()),
        full=triton.lines(region.full, "return "),
        full_torch=torch.lines(region.full, "return "),
        full_named=triton.lines(region.full_named, "return "),
        full_named_torch=torch.lines(region.full_named, "return "),
        keys=_ranges(region.rows, "n", origins[0]),
        queries=_ranges(region.columns, "n_q", origins[1]),
        beside_choices=_beside_choices(region) if judged else None,
        tables=tuple((own.index(leaf), everyone.index(leaf)) for leaf in ir.tables(region.mask)),
        inputs=tuple(number for number, each in enumerate(data.inputs) if each.name in reads),
        judge=Spans(data).lines(region.mask) if judged else [],
        named=Spans(data).lines(ir.Or(lists)) if judged and (lists := lists_in(region.mask)) else [],
        beside_keys=answers(region.beside_keys, f"{suffix}_beside_keys", own, everyone, data, numbered)
        if region.beside_keys
        else None,
        chosen_keys=chosen_keys_text(region.chosen_keys, triton, data, suffix),
        keep_static=[] if isinstance(static, ir.Bool) else triton.lines(static, "return "),
        data=data,
        numbers=", NUMBERS" if numbered else "",
    )


@dataclass(frozen=True, slots=True)
class Whole:
    """The condition of a variant, whatever its layouts, on the device."""

    keep: list[str]
    tables: tuple[tuple[int, int], ...]  # as of Answers
    typed: str  # parameters after q, k and n

    @property
    def made(self) -> str:
        """The tables as Region takes them."""
        return "".join(f"({index}, _TABLE_{table}), " for index, table in self.tables)


def whole_text(
    variant: Variant, own: tuple[ir.Table, ...], everyone: tuple[ir.Table, ...], data: DataArguments, numbered: bool
) -> Whole:
    """The text of the union of the regions of a variant; tables as of `answers`."""
    conditions = [region.condition for region in variant.regions]
    condition = conditions[0] if len(conditions) == 1 else ir.Or(tuple(conditions))
    leaves = ir.tables(condition)
    named = "".join(f", STARTS_{own.index(leaf)}, TABLE_{own.index(leaf)}" for leaf in leaves)
    typed = f", at{named}{data.text}: tl.constexpr{', NUMBERS: tl.constexpr' if numbered else ''}"
    tables = tuple((own.index(leaf), everyone.index(leaf)) for leaf in leaves)
    return Whole(Triton(own, data).lines(condition, "return "), tables, typed)


def _wrapped(rows: tuple[tuple[int, ...], ...]) -> str:
    return "\n".join(textwrap.wrap(", ".join(map(str, rows)) + ",", 110))


def as_tensor(condition: ir.Set) -> ir.Set:
    """A condition that names neither q nor k is a plain bool in Python; a mask has to be a tensor."""
    if ir.names(condition) & {"q", "k"} or ir.leaves(condition):
        return condition
    return ir.And((ir.Compare(ir.Var("k"), ">=", ir.Const(0)), condition))


def _ranges(cover: Cover, length: str, origins: tuple[Names, ...]) -> Ranges:
    count = len(cover.segments)
    exchanges = () if cover.ordered else tuple((j, j + 1) for i in range(count) for j in range(count - 1 - i))
    bounds = (_bounds(segment, length, origin) for segment, origin in zip(cover.segments, origins, strict=True))
    return Ranges(_reason(cover), tuple(bounds), exchanges)


def _beside_choices(region: Region) -> tuple[Ranges, Ranges] | None:
    if region.beside_choices is None:
        return None
    rows, columns = ((cover, ((),) * len(cover.segments)) for cover in region.beside_choices)
    return _ranges(rows[0], "n", rows[1]), _ranges(columns[0], "n_q", columns[1])


def _bounds(segment: Segment, length: str, origin: Names) -> Bounds:
    first = ir.Const(0) if segment.first is None else segment.first
    stop = stop_of(segment, length)
    triton, torch, scalar = Triton(), Torch(), Scalar()
    return Bounds(
        origin=comment(origin),
        first=triton.position(first),
        stop=triton.position(stop_of(segment, "length")),
        bounded=segment.last is not None,
        scalar_first=scalar.integer(first),
        scalar_stop=scalar.integer(stop),
        tiles_first=torch.integer(first),
        tiles_stop=torch.integer(stop),
    )


def stop_of(segment: Segment, length: str) -> ir.Int:
    """The end of a segment, not included; that of an open one is the end of the sequence, `length` positions long."""
    stop = ir.Var(length) if segment.last is None else _after(segment.last)
    return stop if segment.when == ir.TRUE else ir.Select(segment.when, stop, ir.Const(0))  # an empty range elsewhere


def _after(last: ir.Int) -> ir.Int:
    match last:
        case ir.Const(value):
            return ir.Const(value + 1)
        case ir.Add(left, ir.Const(value)):
            return ir.Add(left, ir.Const(value + 1))
        case ir.Sub(left, ir.Const(1)):
            return left
        case ir.Sub(left, ir.Const(value)):
            return ir.Sub(left, ir.Const(value - 1))
    return ir.Add(last, ir.Const(1))


def _reason(cover: Cover) -> str:
    rows, seen = ("these queries", "keys") if cover.side == "q" else ("these keys", "queries")
    listed = f"tiles of {seen} that tables name, from a list" if cover.tables else ""
    if cover.from_list:
        return f"Tiles of {seen} that hold a pair, from a list."
    if not cover.segments:
        return f"The {listed}." if listed else f"The pattern is empty: {rows} see nothing."
    if cover.precision == "all":
        return f"Every tile of {seen}: {cover.why}."
    exact = all(segment.exact for segment in cover.segments)
    count = len(cover.segments)
    gaps = "" if exact else f", with gaps inside {'them' if count > 1 else 'it'}"
    also = f"; then {listed}" if listed else ""
    return f"The {seen} that {rows} touch: {count} range{'s' if count > 1 else ''}{gaps}{also}."
