"""A plan in words: for each condition what a tile visits, how that was found, and which tiles need no mask."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.codegen.printer import Scalar
from sparsec.ir import nodes as ir
from sparsec.plan.build import natural, spread
from sparsec.plan.cost_model import cost
from sparsec.plan.nodes import Choice, Columns, Cover, HeadPlan, Natural, Part, Plan, Residue, Scattered, Segment

_USUAL = 32_768  # the length at which layouts are compared

_RUNGS = {
    "exact": "exact: the segments that pairs touch",
    "hull": "hull: ranges that hold what pairs touch, and more",
    "all": "all: every tile",
}


class _Words(Scalar):
    """The dialect of plain Python, with tables by name."""

    def condition(self, node: ir.Set) -> str:
        match node:
            case ir.Blocks(size, rows):
                return f"blocks({size}, [{len(rows)} rows])"
            case ir.RandomBlocks(size, count, seed, past):
                return f"random_{'past_' if past else ''}blocks({size}, {count}, {seed})"
            case ir.RandomKeys(count, seed):
                return f"random_keys({count}, {seed})"
        return super().condition(node)

    def _not(self, leaf: ir.Leaf) -> str:
        return f"not {self.condition(leaf)}"


def planned(plan: Plan) -> str:
    """The text of a plan.  A tile is q_lo..q_hi by k_lo..k_hi, ends included, in the coordinates of its layout."""
    return "\n\n".join("\n".join(_heads(part)) for part in plan.parts)


def _heads(plan: HeadPlan) -> Iterator[str]:
    heads = ", ".join(map(str, plan.heads))
    yield f"heads {heads}" if heads else "every head"
    for choice in plan.choices:
        if len(plan.choices) > 1:
            yield f"  from n = {choice.least_n:,} on"
        if len(choice.parts) > 1 or choice.parts[0].layout != Natural():
            yield f"  {against(plan, choice, max(_USUAL, choice.least_n))}"
        for number, part in enumerate(choice.parts, 1):
            if len(choice.parts) > 1:
                yield f"  part {number}"
            yield from _part(part)


def against(plan: HeadPlan, choice: Choice, n: int) -> str:
    """How a choice's predicted cost compares at n with that of what else there is; nothing where there is no else."""
    whole = all(part.layout == Natural() for part in choice.parts)
    other = spread(plan.condition) if whole else natural(plan.condition)
    if other is None:
        return ""
    ratio = cost(other, n) / cost(choice.parts, n)
    name = " and ".join(map(layout_name, other)) if whole else "the natural order alone"
    return f"at n = {n:,} {name} would cost {ratio:.3g} times as much, by prediction"


def layout_name(part: Part) -> str:
    """A layout in words."""
    match part.layout:
        case Residue(stride):
            return f"residue classes of {stride}"
        case Columns(period, first, width):
            return f"gathered keys {first} to {first + width - 1} of every {period}"
        case Scattered():
            return "scattered pairs"
    return "natural order"


def rungs(part: Part) -> dict[str, tuple[str, str]]:
    """How closely tiles of queries and of keys follow what pairs touch: the rung of the ladder and why not a better."""
    return {side: (cover.rung, cover.why) for side, cover in (("queries", part.rows), ("keys", part.columns))}


def _part(part: Part) -> Iterator[str]:
    yield f"  layout   {layout_name(part)}.  {part.why}"
    yield f"  keeps    {_Words().condition(part.condition)}"
    if part.layout == Scattered():
        yield "  visits   the kept pairs of each tile, from a list"
        return
    yield f"  no mask  {'no tile' if part.full == ir.FALSE else _Words().condition(part.full)}"
    yield from _cover(part.rows, "a tile of queries visits keys", "n")
    yield from _cover(part.columns, "a tile of keys visits queries", "n_q")


def _cover(cover: Cover, title: str, length: str) -> Iterator[str]:
    yield f"  {title}"
    yield f"    rung   {_RUNGS[cover.rung]}{f' ({cover.why})' if cover.why else ''}"
    for segment in cover.segments:
        yield f"    range  {_segment(segment, length)}"
    for table in cover.tables:
        yield f"    table  tiles of {_Words().condition(table)}, from a list"
    if cover.long:
        yield f"    long   tiles from below {cover.long} see far more than others"
    if not cover.segments and not cover.tables:
        yield "    nothing"
    elif not cover.ordered:
        yield "    the ranges are put in order at run time"


def _segment(segment: Segment, length: str) -> str:
    words = _Words()
    first = "0" if segment.first is None else words.integer(segment.first)
    last = f"{length} - 1" if segment.last is None else words.integer(segment.last)
    when = "" if segment.when == ir.TRUE else f"  when {words.condition(segment.when)}"
    return f"{first} .. {last}{when}{'' if segment.exact else '  with gaps'}"
