"""Plan -> the pieces of text that templates receive; templates/README.md describes every name."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from sparsec.codegen.printer import Scalar, Torch, Triton
from sparsec.codegen.ranges import MOST_POSITIONS
from sparsec.ir import nodes as ir
from sparsec.plan.nodes import Columns, Cover, HeadPlan, Part, Plan, Residue, Scattered, Segment
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
    """One kernel of each kind; see sparsec.plan.nodes.Part."""

    suffix: str
    why: str
    listed: bool
    layout: str  # "natural", "residue", "columns", "scattered"
    stride: int
    comb: tuple[int, int, int] | None  # period, first, width
    first: bool  # of the forward pass and dq: starts the softmax, computes delta
    last: bool
    adds: bool  # dk and dv: adds to what earlier parts left
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
    long_rows: int  # queries below it see so many keys that several programs share a tile; 0: none
    long_keys: int
    block: int  # whole blocks of at least the shortest tile, whose tiles need no mask; 1: none
    table_full: bool  # where a table has every pair of a tile, the tile is full

    def arguments(self, side: str) -> str:
        """Names of the tensors that some kernels need besides: lists of heads, tables, lists of tiles."""
        heads = ["HEADS"] if side == "rows" else ["HEADS", "KV_HEADS", "FIRST_HEAD"]
        lists = ["LIST_STARTS", "LIST"] if getattr(self, side).tables else []
        if self.layout == "scattered":
            also = [*lists, "SEEN"]
        else:
            also = [*(f"TABLE_{index}" for index in self.tables), *lists]
        return ", ".join([*(heads if self.listed else []), *also])


@dataclass(frozen=True, slots=True)
class ChoiceText:
    least_n: int
    parts: tuple[PartText, ...]


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
    choices, number = [], 0
    for choice in plan.choices:
        parts = []
        for place in range(len(choice.parts)):
            suffix = (f"_{index}" if count > 1 else "") + (f"_{'abcdefgh'[number]}" if several else "")
            parts.append(_part(choice.parts, place, suffix, count > 1, leaves))
            number += 1
        choices.append(ChoiceText(choice.least_n, tuple(parts)))
    return GroupText(str(plan.heads) if count > 1 else "None", tuple(choices))


def _part(parts: tuple[Part, ...], place: int, suffix: str, listed: bool, leaves: tuple[ir.Leaf, ...]) -> PartText:
    part, layout = parts[place], parts[place].layout
    triton, torch, scalar = Triton(leaves), Torch(leaves), Scalar(leaves)
    order = key_order(parts)
    tables = tuple(leaves.index(leaf) for leaf in ir.leaves(part.condition))
    return PartText(
        suffix=suffix,
        why=part.why,
        listed=listed,
        layout=type(layout).__name__.lower(),
        stride=layout.stride if isinstance(layout, Residue) else 1,
        comb=(layout.period, layout.first, layout.width) if isinstance(layout, Columns) else None,
        first=place == 0,
        last=place == len(parts) - 1,
        adds=(listed or order[0] != place) and not isinstance(layout, Columns),
        finishes=not listed and order[-1] == place and (len(parts) == 1 or not isinstance(layout, Columns)),
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
        long_rows=0 if listed or len(parts) > 1 else part.rows.long,
        long_keys=_long_keys(parts, part, listed),
        block=part.block if part.block >= MIN_TILE else 1,
        table_full=isinstance(part.condition, ir.Or) and set(part.columns.tables) <= set(part.condition.parts),
    )


def _long_keys(parts: tuple[Part, ...], part: Part, listed: bool) -> int:
    """Gathered keys are few and each sees many queries, so all of them are shared; others where there is one part."""
    if listed:
        return 0
    return MOST_POSITIONS if isinstance(part.layout, Columns) else part.columns.long if len(parts) == 1 else 0


def key_order(parts: tuple[Part, ...]) -> list[int]:
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
