"""Plan -> the pieces of text that templates receive; templates/README.md describes every name."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from sparsec.codegen.printer import Scalar, Torch, Triton
from sparsec.codegen.ranges import MOST_POSITIONS
from sparsec.ir import nodes as ir
from sparsec.plan.nodes import Columns, Cover, HeadPlan, Natural, Part, Plan, Residue, Scattered, Segment
from sparsec.plan.walks import walks
from sparsec.sets.tiles import MIN_TILE


@dataclass(frozen=True, slots=True)
class SegmentText:
    """A segment as half-open bounds, in the dialect of kernels and in that of plain Python."""

    first: str
    stop: str
    bounded: bool  # `stop` is a position; otherwise it is the length of the sequence
    scalar_first: str
    scalar_stop: str


@dataclass(frozen=True, slots=True)
class CoverText:
    why: str
    segments: tuple[SegmentText, ...]
    exchanges: tuple[tuple[int, int], ...]  # pairs to compare and swap until the ranges are in order
    names: frozenset[str]  # variables of the bounds
    tables: tuple[int, ...]  # leaves whose tiles come after the ranges, from a list made for the length
    rising: bool  # later tiles have more to do, and start first


@dataclass(frozen=True, slots=True)
class LeafText:
    """A table: key blocks of each block of queries."""

    index: int
    size: int
    doc: str
    rows: str  # the entries as Python lists, "" for tables that are drawn
    body: str  # of the function that makes the tensor


@dataclass(frozen=True, slots=True)
class PartText:
    """A part, with a kernel for dk and dv; see sparsec.plan.nodes.Part."""

    suffix: str
    why: str
    listed: bool
    layout: str  # "natural", "residue", "columns", "scattered"
    stride: int
    comb: tuple[int, int, int] | None  # period, first, width
    adds: bool  # dk and dv: adds to what earlier parts left
    combs: tuple[tuple[str, tuple[int, int, int]], ...]  # suffix and comb of the gathered parts whose sums it adds
    finishes: bool  # dk and dv: writes the result itself
    keeps: bool  # False: kernels do not evaluate the condition, which is `true` or has its pairs listed
    keep: list[str]
    keep_torch: list[str]
    never_full: bool
    edges: frozenset[str]  # tile edges that `full` asks for
    full: list[str]
    full_scalar: list[str]
    tables: tuple[int, ...]  # leaves of the condition
    table_arguments: str  # ", TABLE_0, ..."
    rows: CoverText
    columns: CoverText
    long_keys: int  # keys below it see so many queries that several programs share a tile; 0: none
    block: int  # whole blocks of at least the shortest tile, whose tiles need no mask; 1: none
    table_full: bool  # where a table has every pair of a tile, the tile is full

    def lists(self, side: str) -> list[str]:
        """Names of the tensors of tables, and of lists of what they name, that kernels of a side read."""
        lists = ["LIST_STARTS", "LIST"] if getattr(self, side).tables else []
        if self.layout == "scattered":
            return [*lists, "SEEN"]
        return [*(f"TABLE_{index}" for index in self.tables), *lists]

    @property
    def arguments(self) -> str:
        """Names of the tensors that the kernel for dk and dv takes besides."""
        return ", ".join([*(["HEADS", "KV_HEADS", "FIRST_HEAD"] if self.listed else []), *self.lists("columns")])


@dataclass(frozen=True, slots=True)
class WalkText:
    """The parts that one forward kernel and one dq kernel go through; see sparsec.plan.walks."""

    suffix: str
    parts: tuple[PartText, ...]
    first: bool  # starts the softmax, computes delta
    last: bool  # stores the result
    long: int  # queries below it see so many keys that several programs share a tile; 0: none

    @property
    def listed(self) -> bool:
        """Whether it serves a list of heads."""
        return self.parts[0].listed

    @property
    def layout(self) -> str:
        """How its queries stand: "natural" also beside gathered keys."""
        return "natural" if self.parts[0].layout == "columns" else self.parts[0].layout

    @property
    def stride(self) -> int:
        """Of its residue classes."""
        return self.parts[0].stride

    @property
    def block(self) -> int:
        """PartText.block of the part that has one."""
        return max(part.block for part in self.parts)

    @property
    def rising(self) -> bool:
        """Whether later tiles of queries have more to do, and start first."""
        return any(part.rows.rising for part in self.parts) and not self.long

    @property
    def fills_rows(self) -> bool:
        """Whether it stores or reads numbers of rows in the natural order; classes alone keep theirs class by class."""
        return self.layout != "residue" or not (self.first and self.last)

    @property
    def names(self) -> frozenset[str]:
        """Edges of its tiles of queries that some part asks for."""
        return frozenset().union(*(part.rows.names | part.edges for part in self.parts))

    @property
    def tensors(self) -> str:
        """Names of the keys and values that it walks over."""
        return ", ".join(f"{x}_COMB{part.suffix.upper()}" if part.comb else x for part in self.parts for x in "KV")

    @property
    def arguments(self) -> str:
        """Names of the tensors that its kernels take besides."""
        lists = [name for part in self.parts for name in part.lists("rows")]
        return ", ".join([*(["HEADS"] if self.listed else []), *lists])


@dataclass(frozen=True, slots=True)
class ChoiceText:
    least_n: int
    walks: tuple[WalkText, ...]

    @property
    def parts(self) -> tuple[PartText, ...]:
        """Those of all walks."""
        return tuple(part for walk in self.walks for part in walk.parts)


@dataclass(frozen=True, slots=True)
class GroupText:
    """The query heads that share a condition ("None": all heads)."""

    heads: str
    choices: tuple[ChoiceText, ...]


def groups(plan: Plan) -> tuple[tuple[ir.Leaf, ...], list[GroupText]]:
    """The tables of a plan in the order of their numbers, and the texts of its conditions."""
    conditions = [part.condition for heads in plan.parts for choice in heads.choices for part in choice.parts]
    leaves = tuple(dict.fromkeys(leaf for condition in conditions for leaf in ir.leaves(condition)))
    return leaves, [group(heads, index, len(plan.parts), leaves) for index, heads in enumerate(plan.parts)]


def group(plan: HeadPlan, index: int, count: int, leaves: tuple[ir.Leaf, ...]) -> GroupText:
    """The texts of a condition, which is number `index` of `count`."""
    several = sum(len(choice.parts) for choice in plan.choices) > 1
    choices, letters = [], iter("abcdefgh")
    for choice in plan.choices:
        walked = walks(choice.parts)
        ordered = tuple(part for walk in walked for part in walk)
        stem = f"_{index}" if count > 1 else ""
        suffixes = [f"{stem}_{next(letters)}" if several else stem for _ in ordered]
        parts = iter([_part(ordered, place, suffixes, count > 1, leaves) for place in range(len(ordered))])
        made = []
        for place, walk in enumerate(walked):
            some = tuple(next(parts) for _ in walk)
            suffix = stem + ("_" + "".join(part.suffix[-1] for part in some) if several else "")
            long = max(part.rows.long for part in walk) if isinstance(walk[0].layout, Natural | Columns) else 0
            made.append(WalkText(suffix, some, place == 0, place == len(walked) - 1, long))
        choices.append(ChoiceText(choice.least_n, tuple(made)))
    return GroupText(str(plan.heads) if count > 1 else "None", tuple(choices))


def _part(
    parts: tuple[Part, ...], place: int, suffixes: list[str], listed: bool, leaves: tuple[ir.Leaf, ...]
) -> PartText:
    part, layout = parts[place], parts[place].layout
    triton, torch, scalar = Triton(leaves), Torch(leaves), Scalar(leaves)
    combs = tuple((suffix, comb(each)) for suffix, each in zip(suffixes, parts, strict=True) if comb(each))
    order = key_order(parts)
    starts = order.index(place) == len(combs)  # the first that reaches every key
    tables = tuple(leaves.index(leaf) for leaf in ir.leaves(part.condition))
    return PartText(
        suffix=suffixes[place],
        why=part.why,
        listed=listed,
        layout=type(layout).__name__.lower(),
        stride=layout.stride if isinstance(layout, Residue) else 1,
        comb=comb(part),
        adds=not comb(part) and not starts,
        combs=combs if starts else (),
        finishes=not comb(part) and order[-1] == place,
        keeps=part.condition != ir.TRUE and layout != Scattered(),
        keep=triton.lines(part.condition, "return "),
        keep_torch=torch.lines(_tensor(part.condition), "return "),
        never_full=part.full == ir.FALSE,
        edges=ir.names(part.full),
        full=triton.lines(part.full, "full = "),
        full_scalar=scalar.lines(part.full, "return "),
        tables=tables,
        table_arguments="".join(f", TABLE_{index}" for index in tables),
        rows=_cover(part.rows, "n", leaves),
        columns=_cover(part.columns, "n_q", leaves),
        long_keys=_long_keys(part),
        block=part.block if part.block >= MIN_TILE else 1,
        table_full=isinstance(part.condition, ir.Or) and set(part.columns.tables) <= set(part.condition.parts),
    )


def comb(part: Part) -> tuple[int, int, int] | None:
    """(period, first, width) of gathered keys."""
    layout = part.layout
    return (layout.period, layout.first, layout.width) if isinstance(layout, Columns) else None


def _long_keys(part: Part) -> int:
    """Gathered keys are few and each sees many queries, so all of them are shared."""
    if comb(part):
        return MOST_POSITIONS
    return part.columns.long if part.layout == Natural() else 0


def key_order(parts: Sequence[Part]) -> list[int]:
    """The order in which dk and dv are summed: gathered columns first, since they do not reach every key."""
    return sorted(range(len(parts)), key=lambda place: not isinstance(parts[place].layout, Columns))


def _tensor(condition: ir.Set) -> ir.Set:
    """A condition that names neither q nor k is a plain bool in Python; a mask has to be a tensor."""
    if ir.names(condition) & {"q", "k"} or ir.leaves(condition):
        return condition
    return ir.And((ir.Compare(ir.Var("k"), ">=", ir.Const(0)), condition))


def _cover(cover: Cover, length: str, leaves: tuple[ir.Leaf, ...]) -> CoverText:
    count = len(cover.segments)
    exchanges = () if cover.ordered else tuple((j, j + 1) for i in range(count) for j in range(count - 1 - i))
    return CoverText(
        _reason(cover),
        tuple(_segment(segment, length) for segment in cover.segments),
        exchanges,
        frozenset().union(*map(_names, cover.segments)),
        tuple(map(leaves.index, cover.tables)),
        cover.rising,
    )


def _names(segment: Segment) -> frozenset[str]:
    bounds = (bound for bound in (segment.first, segment.last, segment.when) if bound is not None)
    return frozenset().union(*map(ir.names, bounds))


def _segment(segment: Segment, length: str) -> SegmentText:
    first = ir.Const(0) if segment.first is None else segment.first
    stop = ir.Var(length) if segment.last is None else _after(segment.last)
    if segment.when != ir.TRUE:  # an empty range elsewhere
        stop = ir.Select(segment.when, stop, ir.Const(0))
    triton, scalar = Triton(), Scalar()
    return SegmentText(
        first=triton.position(first),
        stop=triton.position(stop),
        bounded=segment.last is not None,
        scalar_first=scalar.integer(first),
        scalar_stop=scalar.integer(stop),
    )


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
    if not cover.segments:
        return f"The {listed}." if listed else f"The pattern is empty: {rows} see nothing."
    if cover.rung == "all":
        return f"Every tile of {seen}: {cover.why}."
    exact = all(segment.exact for segment in cover.segments)
    count = len(cover.segments)
    extent = "" if exact else ", as hulls: the pattern has gaps inside them"
    also = f"; then {listed}" if listed else ""
    return f"The {seen} that {rows} touch: {count} range{'s' if count > 1 else ''}{extent}{also}."


def leaf(node: ir.Leaf, index: int) -> LeafText:
    """The text that makes a table at run time."""
    match node:
        case ir.Blocks(size, rows):
            entries = ", ".join(str(sorted(set(row))) for row in rows)
            width = max(map(len, rows), default=0)
            return LeafText(
                index,
                size,
                f"Key blocks of {size} that each block of {size} queries may attend to",
                "\n".join(textwrap.wrap(entries, 110, initial_indent="    ", subsequent_indent="    ")),
                f"rows = [row + [_NONE] * ({width} - len(row)) for row in _BLOCKS_{index}]\n"
                f"return torch.tensor(rows, dtype=torch.int32, device=device).reshape(-1, {width})",
            )
        case ir.RandomBlocks(size, count, seed, earlier):
            below = "torch.arange(1, blocks + 1)" if earlier else "torch.full((blocks,), blocks)"
            return LeafText(
                index,
                size,
                f"{count} key blocks of {size} at random for each block of {size} queries"
                + (", none later than it" if earlier else ""),
                "",
                f"blocks = -(-n // {size})\nreturn _drawn({count}, {seed}, {below}.to(device))",
            )
        case ir.RandomKeys(count, seed):
            return LeafText(
                index,
                1,
                f"{count} keys at random for each query",
                "",
                f"return _drawn({count}, {seed}, torch.full((n,), n, device=device))",
            )
    raise TypeError(f"not a table: {node!r}")
