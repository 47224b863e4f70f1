"""The whole of what `sparsec show` prints: title, axes, picture and legend."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TypedDict

from sparsec.ir.nodes import Pattern, Set
from sparsec.show import colour, plain
from sparsec.show.ranks import OverRanks
from sparsec.show.raster import Raster, View, densities, raster, whole
from sparsec.show.ticks import ticks

NARROWEST = 40  # columns of a terminal below which colours give way to characters
LARGEST = 96  # columns of cells at most: more would not be seen

Operands = Sequence[tuple[str, Set]]  # how each operand of a union is written, and its set


class Divided(TypedDict, total=False):
    """What masks are divided into by colour, and whether that compares two patterns: as `page` takes it."""

    operands: Sequence[Operands] | None
    headings: Sequence[str] | None
    compared: bool


def page(
    pattern: Pattern,
    n: int,
    *,
    width: int = 80,
    colours: bool = False,
    operands: Sequence[Operands] | None = None,
    view: View | None = None,
    headings: Sequence[str] | None = None,
    compared: bool = False,
    ranks: OverRanks | None = None,
) -> str:
    """Every distinct mask of the pattern at n keys and n queries, in at most `width` columns of text.

    `operands[c]` says into which sets the condition `c` is divided by colour, by default into none; `headings[c]` what
    stands above it, by default the heads that share it; `compared`: the operands are what only one pattern, only
    another and both keep.  `ranks`: each is named where its queries begin, and below stands what each gets from each.
    """
    colours = colours and width >= NARROWEST
    view = view or whole(n)
    blocks = [title(pattern, n)]
    for index, condition in enumerate(pattern.conditions):
        parts = operands[index] if operands else [("", condition)]
        heads = headings[index] if headings else heading(pattern, index)
        drawn = _drawing(parts, n, view, width, colours, compared, ranks)
        blocks.append("\n".join([heads, *drawn] if heads else drawn))
    if ranks:
        blocks.append("\n".join([*ranks.words, *ranks.table()]))
    return "\n\n".join(blocks)


def title(pattern: Pattern, n: int) -> str:
    """Name, parameters and length, and which way the axes run."""
    bound = ", ".join(f"{name} = {value}" for name, value in pattern.parameters)
    name = f"{pattern.name}({bound})" if bound else pattern.name
    return f"{name} at n = {n:,}: queries down, keys across"


def heading(pattern: Pattern, index: int) -> str:
    """The heads that share a condition; empty where all do."""
    heads = [str(head) for head, chosen in enumerate(pattern.head_conditions) if chosen == index]
    return f"head{'s' * (len(heads) > 1)} {', '.join(heads)}" if heads else ""


def total(share: float, view: View, sure: bool) -> str:
    """How many of the viewed pairs are kept, and their density."""
    pairs = view.shape[0] * view.shape[1]
    about = "" if sure else "about "
    return f"{about}{round(share * pairs):,} of {pairs:,} pairs, a density of {percent(share)}"


def _drawing(
    parts: Operands, n: int, view: View, width: int, colours: bool, compared: bool, ranks: OverRanks | None
) -> list[str]:
    """Axis of keys above, axis of queries to the left, legend below; a character is about twice as high as wide."""
    label = max(len(str(edge)) for edge in (view.queries[0], view.queries[1] - 1))
    beside = len(f" rank {len(ranks.shares) - 1}") if ranks else 0
    columns = max(1, min(view.shape[1], LARGEST, width - label - 1 - beside))
    high = min(max(1.0, columns * view.shape[0] / view.shape[1]), LARGEST)
    cells = raster([part for _, part in parts], n, ceil(high) if colours else ceil(high / 2), columns, view, compared)
    lines = colour.half_blocks(cells) if colours else plain.characters(cells, ranks is not None)
    marks = _marks(view.queries, len(lines))
    queries = [f"{marks.get(row, ''):>{label}} {line}" for row, line in enumerate(lines)]
    for (first, _), rank in ranks.bands(view.queries) if ranks else ():
        row = (first - view.queries[0]) * len(lines) // view.shape[0]
        queries[row] = f"{queries[row].partition(' rank')[0]} rank {rank}"
    legend = "" if colours else plain.OVER_RANKS if ranks else plain.COMPARED if compared else plain.LEGEND
    return [" " * (label + 1) + _keys(view.keys, columns), *queries, *_legend(parts, n, view, legend, cells)]


def _keys(span: tuple[int, int], columns: int) -> str:
    """The axis of keys: ticks where they begin a column, as far as they stand apart; the last ends the line."""
    (*between, end), length = ticks(span, columns // (len(str(span[1])) + 6) or 1), span[1] - span[0]
    last = str(end) if columns > len(str(span[0])) + len(str(span[1] - 1)) else ""
    line = ""
    for position in between or [span[0]]:
        place, words = (position - span[0]) * columns // length, str(position)
        if place >= len(line) + 2 * bool(line) and (not line or place + len(words) + 2 <= columns - len(last)):
            line = line.ljust(place) + words
    return (line + last.rjust(columns - len(line)) if between else line).rstrip()


def _marks(span: tuple[int, int], rows: int) -> dict[int, str]:
    """The axis of queries: by row, the tick that it holds; ends win."""
    length = span[1] - span[0]
    first, *others = ticks(span, max(1, rows // 4))
    found = {(position - span[0]) * rows // length: str(position) for position in others}
    return {**found, 0: str(first)}


def _legend(parts: Operands, n: int, view: View, characters: str, cells: Raster) -> list[str]:
    """What the characters mean, none where colours do, the share of each operand in all pairs, and the total."""
    shares, sure = densities([part for _, part in parts], n, view, cells)
    about = "" if sure else "about "
    lines = [characters] if characters else []
    kept = [(index, name) for index, (name, _) in enumerate(parts) if shares[index]] if len(parts) > 1 else []
    wide = max((len(name) for _, name in kept), default=0)
    for place, (index, name) in enumerate(kept):
        mark = "" if characters else colour.swatch(index) + " "
        lines.append(f"{mark}{name:<{wide}}  {about}{percent(shares[index])}{' more' if place else ''}")
    return [*lines, total(float(shares.sum()), view, sure)]


def percent(share: float) -> str:
    """Three digits are enough for a legend."""
    return f"{100 * share:.3g} %"
