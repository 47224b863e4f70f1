"""Plan -> the pieces of text that templates receive (text_nodes.py)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from sparsec.codegen.printer import Scalar, Torch, Triton
from sparsec.codegen.text_nodes import ChoiceText, CoverText, LeafText, PartText, SegmentText, WalkText
from sparsec.ir import nodes as ir
from sparsec.ir.ranges import MOST_POSITIONS
from sparsec.plan.nodes import Choice, Columns, Cover, Natural, Part, Plan, Residue, Scattered, Segment
from sparsec.plan.walks import walks
from sparsec.sets.symbolic_tiles import MIN_TILE


def tables(plan: Plan) -> tuple[ir.Leaf, ...]:
    """The tables of a plan in the order of their numbers."""
    return tuple(
        dict.fromkeys(
            leaf
            for heads in plan.parts
            for choice in heads.choices
            for part in choice.parts
            for leaf in ir.leaves(part.mask)
        )
    )


def choice_text(
    choice: Choice, leaves: tuple[ir.Leaf, ...], listed: bool, stem: str = "", numbers: tuple[int, ...] = ()
) -> ChoiceText:
    """The texts of the kernels of a choice, whose names end in `stem`.

    `leaves`: the tables of the module.  `listed`: kernels serve lists of heads.  `numbers`: their constants.
    """
    walked = walks(choice.parts)
    ordered = tuple(part for walk in walked for part in walk)
    suffixes = [stem] if len(ordered) == 1 else [f"{stem}_{letter}" for letter in "abcdefgh"[: len(ordered)]]
    own = tuple(dict.fromkeys(leaf for part in ordered for leaf in ir.leaves(part.mask)))
    parts = iter(
        [_part(ordered, place, suffixes, listed, (own, leaves), bool(numbers)) for place in range(len(ordered))]
    )
    made = []
    for place, walk in enumerate(walked):
        some = tuple(next(parts) for _ in walk)
        suffix = stem if len(ordered) == 1 else f"{stem}_{''.join(part.suffix[-1] for part in some)}"
        long = max(part.rows.long for part in walk) if isinstance(walk[0].layout, Natural | Columns) else 0
        made.append(WalkText(suffix, some, place == 0, place == len(walked) - 1, long))
    return ChoiceText(choice.least_n, tuple(made), numbers)


def _part(
    parts: tuple[Part, ...],
    place: int,
    suffixes: list[str],
    listed: bool,
    leaves: tuple[tuple[ir.Leaf, ...], tuple[ir.Leaf, ...]],
    numbered: bool,
) -> PartText:
    """The text of parts[place]; `leaves`: the tables of the kernels, and those of the module."""
    part, layout = parts[place], parts[place].layout
    own, everyone = leaves
    triton, torch, scalar = Triton(own), Torch(own), Scalar(own)
    collects = tuple((suffix, gathered(each)) for suffix, each in zip(suffixes, parts, strict=True) if gathered(each))
    order = key_order(parts)
    starts = order.index(place) == len(collects)  # the first that reaches every key
    read = tuple((own.index(leaf), everyone.index(leaf)) for leaf in ir.leaves(part.mask))
    return PartText(
        suffix=suffixes[place],
        why=part.why,
        listed=listed,
        layout=type(layout).__name__.lower(),
        stride=layout.stride if isinstance(layout, Residue) else 1,
        gathered=gathered(part),
        adds=not gathered(part) and not starts,
        collects=collects if starts else (),
        finishes=not gathered(part) and order[-1] == place,
        keeps=part.mask != ir.TRUE and layout != Scattered(),
        keep=triton.lines(part.mask, "return "),
        keep_torch=torch.lines(_tensor(part.mask), "return "),
        never_full=part.full == ir.FALSE,
        full=triton.lines(part.full, "return "),
        full_scalar=scalar.lines(part.full, "return "),
        tables=read,
        table_arguments="".join(f", STARTS_{index}, TABLE_{index}" for index, _ in read),
        table_names="".join(f", TABLE_{index}" for index, _ in read),
        rows=_cover(part.rows, "n", everyone),
        columns=_cover(part.columns, "n_q", everyone),
        long_keys=_long_keys(part),
        block=part.block if part.block >= MIN_TILE else 1,
        table_full=isinstance(part.mask, ir.Or) and set(part.columns.tables) <= set(part.mask.parts),
        numbers=", NUMBERS" if numbered else "",
    )


def gathered(part: Part) -> tuple[int, int, int] | None:
    """(period, first, width) of gathered keys."""
    layout = part.layout
    return (layout.period, layout.first, layout.width) if isinstance(layout, Columns) else None


def _long_keys(part: Part) -> int:
    """Gathered keys are few and each sees many queries, so all of them are shared."""
    if gathered(part):
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
        tuple(map(leaves.index, cover.tables)),
        cover.rising,
    )


def _segment(segment: Segment, length: str) -> SegmentText:
    first = ir.Const(0) if segment.first is None else segment.first
    stop = _stop(segment, length)
    triton, torch, scalar = Triton(), Torch(), Scalar()
    return SegmentText(
        first=triton.position(first),
        stop=triton.position(_stop(segment, "length")),
        bounded=segment.last is not None,
        scalar_first=scalar.integer(first),
        scalar_stop=scalar.integer(stop),
        tiles_first=torch.integer(first),
        tiles_stop=torch.integer(stop),
    )


def _stop(segment: Segment, length: str) -> ir.Int:
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
    """The text that makes a table."""
    match node:
        case ir.Blocks(size, rows):
            entries = ", ".join(map(str, map(list, rows)))
            listed = "\n".join(textwrap.wrap(entries, 110, initial_indent="    ", subsequent_indent="    "))
            doc = f"Key blocks of {size} that each block of {size} queries may attend to"
            return LeafText(index, doc, f"Blocks({size}, [\n{listed}\n])")
        case ir.RandomBlocks(size, count, seed, earlier):
            doc = f"{count} key blocks of {size} at random for each block of {size} queries"
            doc += ", none later than it" if earlier else ""
            return LeafText(index, doc, f"RandomBlocks({size}, {count}, {seed}{', earlier=True' if earlier else ''})")
        case ir.RandomKeys(count, seed):
            return LeafText(index, f"{count} keys at random for each query", f"RandomKeys({count}, {seed})")
    raise TypeError(f"not a table: {node!r}")
