"""The whole of what `sparsec show` prints: title, axes, picture and legend."""

from __future__ import annotations

from collections.abc import Sequence

from sparsec.ir.nodes import Pattern, Set
from sparsec.show import colour, plain
from sparsec.show.raster import densities, exact, raster

NARROWEST = 40  # columns of a terminal below which colours give way to characters
LARGEST = 96  # columns of cells at most: more would not be seen

Operands = Sequence[tuple[str, Set]]  # how each operand of a union is written, and its set


def page(
    pattern: Pattern,
    n: int,
    *,
    width: int = 80,
    colours: bool = False,
    operands: Sequence[Operands] | None = None,
) -> str:
    """Every distinct mask of the pattern at n keys and n queries, in at most `width` columns of text.

    `operands[c]` says into which sets the condition `c` is divided by colour, by default into none.
    """
    colours = colours and width >= NARROWEST
    bound = ", ".join(f"{name} = {value}" for name, value in pattern.parameters)
    title = f"{pattern.name}({bound})" if bound else pattern.name
    blocks = [f"{title} at n = {n:,}: queries down, keys across"]
    for index, condition in enumerate(pattern.conditions):
        parts = operands[index] if operands else [("", condition)]
        heads = [str(head) for head, chosen in enumerate(pattern.head_conditions) if chosen == index]
        title = [f"head{'s' * (len(heads) > 1)} {', '.join(heads)}"] if heads else []
        blocks.append("\n".join([*title, *_drawing(parts, n, width, colours), *_legend(parts, n, colours)]))
    return "\n\n".join(blocks)


def _drawing(parts: Operands, n: int, width: int, colours: bool) -> list[str]:
    """Axis of keys above, axis of queries to the left; a character is about twice as high as wide."""
    last = str(n - 1)
    columns = max(1, min(n, LARGEST, width - len(last) - 1))
    rows = columns if colours else (columns + 1) // 2
    cells = raster([part for _, part in parts], n, rows, columns)
    lines = colour.half_blocks(cells) if colours else plain.characters(cells)
    marks = {len(lines) - 1: last, 0: "0"}
    keys = "0" + last.rjust(columns - 1) if columns > len(last) + 1 else "0"
    queries = [f"{marks.get(row, ''):>{len(last)}} {line}" for row, line in enumerate(lines)]
    return [" " * (len(last) + 1) + keys, *queries]


def _legend(parts: Operands, n: int, colours: bool) -> list[str]:
    """What the marks mean, the share of each operand in all pairs, and the total."""
    shares = densities([part for _, part in parts], n)
    about = "" if exact(n) else "about "
    lines = [] if colours else [plain.LEGEND]
    kept = [(index, name) for index, (name, _) in enumerate(parts) if shares[index]] if len(parts) > 1 else []
    wide = max((len(name) for _, name in kept), default=0)
    for place, (index, name) in enumerate(kept):
        mark = colour.swatch(index) + " " if colours else ""
        lines.append(f"{mark}{name:<{wide}}  {about}{_percent(shares[index])}{' more' if place else ''}")
    total = float(shares.sum())
    return [*lines, f"{about}{round(total * n * n):,} of {n * n:,} pairs, a density of {_percent(total)}"]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
