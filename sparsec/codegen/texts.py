"""Plan -> the pieces of text that templates receive (text_nodes.py)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from sparsec.codegen.printer import Scalar, Torch, Triton, width
from sparsec.codegen.text_nodes import ChoiceText, CoverText, GroupText, LeafText, PartText, SegmentText, WalkText
from sparsec.ir import nodes as ir
from sparsec.ir.ranges import MOST_POSITIONS
from sparsec.plan.nodes import Columns, Cover, HeadPlan, Natural, Part, Plan, Residue, Scattered, Segment
from sparsec.plan.walks import walks
from sparsec.sets.tiles import MIN_TILE


def groups(plan: Plan) -> tuple[tuple[ir.Leaf, ...], list[GroupText]]:
    """The tables of a plan in the order of their numbers, and the texts of its conditions."""
    masks = [part.mask for heads in plan.parts for choice in heads.choices for part in choice.parts]
    leaves = tuple(dict.fromkeys(leaf for mask in masks for leaf in ir.leaves(mask)))
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
    tables = tuple(leaves.index(leaf) for leaf in ir.leaves(part.mask))
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
        keeps=part.mask != ir.TRUE and layout != Scattered(),
        keep=triton.lines(part.mask, "return "),
        keep_torch=torch.lines(_tensor(part.mask), "return "),
        never_full=part.full == ir.FALSE,
        edges=ir.names(part.full),
        full=triton.lines(part.full, "full = "),
        full_scalar=scalar.lines(part.full, "return "),
        tables=tables,
        table_arguments="".join(f", STARTS_{index}, TABLE_{index}" for index in tables),
        table_names="".join(f", TABLE_{index}" for index in tables),
        rows=_cover(part.rows, "n", leaves),
        columns=_cover(part.columns, "n_q", leaves),
        long_keys=_long_keys(part),
        block=part.block if part.block >= MIN_TILE else 1,
        table_full=isinstance(part.mask, ir.Or) and set(part.columns.tables) <= set(part.mask.parts),
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
    triton, torch, scalar = Triton(), Torch(), Scalar()
    return SegmentText(
        first=triton.position(first),
        stop=triton.position(stop),
        bounded=segment.last is not None,
        scalar_first=scalar.integer(first),
        scalar_stop=scalar.integer(stop),
        tiles_first=torch.integer(first),
        tiles_stop=torch.integer(stop),
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
            entries = ", ".join(map(str, map(list, rows)))
            return LeafText(
                index,
                size,
                f"Key blocks of {size} that each block of {size} queries may attend to",
                width(node),
                "\n".join(textwrap.wrap(entries, 106, initial_indent=" " * 8, subsequent_indent=" " * 8)),
                f"stop = {len(rows)} if stop is None else min(stop, {len(rows)})\n"
                f"return _written({index}, min(first, stop), stop, device)",
            )
        case ir.RandomBlocks(size, count, seed, earlier):
            return LeafText(
                index,
                size,
                f"{count} key blocks of {size} at random for each block of {size} queries"
                + (", none later than it" if earlier else ""),
                count,
                "",
                f"blocks = -(-n // {size})\n" + _drawn(count, seed, "blocks", "None" if earlier else "blocks"),
            )
        case ir.RandomKeys(count, seed):
            return LeafText(
                index, 1, f"{count} keys at random for each query", count, "", _drawn(count, seed, "n", "n")
            )
    raise TypeError(f"not a table: {node!r}")


def _drawn(count: int, seed: int, rows: str, below: str) -> str:
    return (
        f"stop = {rows} if stop is None else min(stop, {rows})\n"
        f"return _drawn({count}, {seed}, min(first, stop), stop, {below}, device)"
    )
