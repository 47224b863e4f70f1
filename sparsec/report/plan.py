"""A plan in words: for each condition what a tile visits, how that was found, and which tiles need no mask."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.codegen.dialects import Scalar
from sparsec.ir import nodes as ir
from sparsec.plan.cost_model import cost
from sparsec.plan.nodes import (
    Contiguous,
    Cover,
    Gathered,
    Group,
    Grouped,
    Kernel,
    Listed,
    Plan,
    Region,
    Residue,
    Segment,
    Variant,
)

_USUAL = 32_768  # the length at which layouts are compared

_PRECISIONS = {
    "exact": "exact: the segments that pairs touch",
    "hull": "hull: ranges that hold what pairs touch, and more",
    "all": "all: every tile",
    "groups": "groups: those of its groups",
    "list": "list: the tiles that hold a pair, listed for the length",
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
            case ir.DataTest(ir.Chosen(name)):
                return f"selected({name})"
            case ir.DataTest(ir.Grouped(name)):
                return f"in_group({name})"
            case ir.DataTest(ir.ElementOf() as test):
                return self._listed(test)
            case ir.DataTest(ir.Compare() | ir.Member() as test):
                return self.condition(test)
        return super().condition(node)

    def _listed(self, test: ir.ElementOf) -> str:
        return f"({self.integer(test.value)} in {test.name})"

    def _read(self, node: ir.Read) -> str:
        return node.name if node.index is None else f"{node.name}[{self.integer(node.index)}]"

    def _not(self, leaf: ir.Leaf) -> str:
        return f"not {self.condition(leaf)}"


def planned(plan: Plan) -> str:
    """The text of a plan.  A tile is q_lo..q_hi by k_lo..k_hi, ends included, in the coordinates of its layout."""
    return "\n\n".join("\n".join(_group(group)) for group in plan.groups)


def _group(group: Group) -> Iterator[str]:
    heads = ", ".join(map(str, group.heads))
    yield f"heads {heads}" if heads else "every head"
    for variant in group.variants:
        if len(group.variants) > 1:
            yield f"  from n = {variant.from_n:,} on"
        if variant is group.variants[-1] and (line := against(group, variant, max(_USUAL, variant.from_n))):
            yield f"  {line}"
        for number, region in enumerate(variant.regions, 1):
            if len(variant.regions) > 1:
                yield f"  region {number}"
            yield from _region(region)
        yield "  kernels, in the order of their launch"
        yield from (f"    {_kernel(kernel, variant)}" for kernel in variant.kernels)


def _kernel(kernel: Kernel, variant: Variant) -> str:
    """Kind, regions, how it begins and ends: init or continue, store or carry, sums of gathered keys."""
    numbers = [str(variant.regions.index(region) + 1) for region in kernel.regions]
    regions = f"{', '.join(numbers):<8} " if len(variant.regions) > 1 else ""
    collected = [str(variant.regions.index(region) + 1) for _, region in kernel.collects]
    more = f", with the sums of {', '.join(collected)}" if collected else ""
    more += ", long tiles split" if kernel.split_prefix else ""
    return f"{kernel.kind:<8} {regions}{kernel.begin} -> {kernel.end}{more}"


def against(group: Group, variant: Variant, n: int) -> str:
    """How the predicted cost of a variant compares at n with that of what else was weighed; nothing where none was."""
    other = group.instead(variant)
    if other is None:
        return ""
    ratio = cost(other, n) / cost(variant, n)
    alone = all(region.layout == Contiguous() for region in other.regions)
    name = "the contiguous layout alone" if alone else " and ".join(map(layout_name, other.regions))
    return f"at n = {n:,} {name} would cost {ratio:.3g} times as much, by prediction"


def layout_name(region: Region) -> str:
    """A layout in words."""
    match region.layout:
        case Residue(stride):
            return f"residue classes of {stride}"
        case Gathered(period, first, width):
            return f"gathered keys {first} to {first + width - 1} of every {period}"
        case Listed():
            return "listed pairs"
        case Grouped(name, True, size, lines):
            return f"tokens by {name.partition('.')[0]}, in {lines} rounds of chunks of {size}"
        case Grouped(name, False, size, _):
            return f"tokens by {name.partition('.')[0]}, in clusters of {size}"
    return "contiguous"


def precisions(region: Region) -> dict[str, tuple[str, str]]:
    """How closely tiles of queries and of keys follow what pairs touch, and why not more closely."""
    sides = zip(("queries", "keys"), region.covers, strict=True)
    return {side: (cover.precision, cover.why) for side, cover in sides}


def _region(region: Region) -> Iterator[str]:
    yield f"  layout   {layout_name(region)}.  {region.why}"
    yield f"  keeps    {_Words().condition(region.condition)}"
    if region.layout == Listed():
        yield "  visits   the kept pairs of each tile, from a list"
        return
    if region.grouped:
        yield "  visits   the keys of a query's groups; a pair of several groups counts in the first"
        return
    if not all(cover.from_list for cover in region.covers):
        yield f"  no mask  {'no tile' if region.full == ir.FALSE else _Words().condition(region.full)}"
    yield from _cover(region.rows, "a tile of queries visits keys", "n")
    yield from _cover(region.columns, "a tile of keys visits queries", "n_q")


def _cover(cover: Cover, title: str, length: str) -> Iterator[str]:
    yield f"  {title}"
    yield f"    precision  {_PRECISIONS[cover.precision]}{f' ({cover.why})' if cover.why else ''}"
    for segment in cover.segments:
        yield f"    range      {_segment(segment, length)}"
    for table in cover.tables:
        yield f"    table      tiles of {_Words().condition(table)}, from a list"
    if cover.split_prefix:
        yield f"    split      tiles from below {cover.split_prefix} see far more than others"
    if not cover.segments and not cover.tables and not cover.from_list:
        yield "    nothing"
    elif not cover.ordered:
        yield "    the ranges are put in order at run time"


def _segment(segment: Segment, length: str) -> str:
    words = _Words()
    first = "0" if segment.first is None else words.integer(segment.first)
    last = f"{length} - 1" if segment.last is None else words.integer(segment.last)
    when = "" if segment.when == ir.TRUE else f"  when {words.condition(segment.when)}"
    return f"{first} .. {last}{when}{'' if segment.exact else '  with gaps'}"
