"""The picture as SVG text: cells, outlined tiles, axes, legend, and how full rows and columns are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

import numpy as np

from sparsec.ir import reference
from sparsec.ir.nodes import Pattern
from sparsec.show.colour import PALETTE
from sparsec.show.page import Operands, heading, percent, title, total
from sparsec.show.raster import Raster, View, densities, raster

CELLS = 128  # cells along an axis
SIDE = 512  # pixels of the picture along an axis
LEFT, TOP, MARGIN, SPARK, LINE = 72, 64, 16, 40, 20  # pixels


def svg(
    pattern: Pattern,
    n: int,
    view: View,
    operands: Sequence[Operands] | None = None,
    tile: int | None = None,
    headings: Sequence[str] | None = None,
    columns: int = 1,
    compared: bool = False,
) -> str:
    """Each distinct mask after the one before it, `columns` side by side; `operands` to `compared` as of `page`.

    Tiles of `tile` x `tile` need a view that is exact.
    """
    divided = operands or [[("", condition)] for condition in pattern.conditions]
    high = TOP + SIDE + SPARK + MARGIN + LINE * (max(map(len, divided)) + 2)
    wide = LEFT + SIDE + SPARK + 2 * MARGIN
    body = [_text(MARGIN, 24, title(pattern, n), "")]
    for index, parts in enumerate(divided):
        above = headings[index] if headings else heading(pattern, index)
        drawn = [*_panel(parts, n, view, compared), *(_tiles(parts, n, view, tile) if tile else ())]
        place = f"translate({index % columns * wide} {index // columns * high})"
        body += [f'<g transform="{place}">', _text(LEFT, 44, above, ""), *drawn, "</g>"]
    width, height = min(columns, len(divided)) * wide, -(-len(divided) // columns) * high
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    )
    style = ' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    return "\n".join([opening + style, *body, "</svg>", ""])


def _panel(parts: Operands, n: int, view: View, compared: bool) -> Iterator[str]:
    sets = [part for _, part in parts]
    cells = raster(sets, n, CELLS, CELLS, view, compared)
    yield from _cells(cells)
    yield f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#888"/>'
    (top, bottom), (first, last) = view.queries, view.keys
    yield _text(LEFT, TOP - 4, str(first), "")
    yield _text(LEFT + SIDE, TOP - 4, str(last - 1), "end")
    yield _text(LEFT - 4, TOP + 12, str(top), "end")
    yield _text(LEFT - 4, TOP + SIDE, str(bottom - 1), "end")
    yield from _sparklines(cells)
    yield from _legend(parts, *densities(sets, n, view, cells), view)


def _cells(cells: Raster) -> Iterator[str]:
    """One rectangle for each run of equal cells in a row."""
    owners, shares = cells.owners, np.round(cells.shares, 2)
    high, wide = SIDE / owners.shape[0], SIDE / owners.shape[1]
    for row, (owner, share) in enumerate(zip(owners, shares, strict=True)):
        breaks = np.flatnonzero((np.diff(owner) != 0) | (np.diff(share) != 0)) + 1
        ends = [0, *breaks.tolist(), len(owner)]
        for start, end in pairwise(ends):
            if owner[start] >= 0:
                place = f'x="{LEFT + start * wide:g}" y="{TOP + row * high:g}"'
                size = f'width="{(end - start) * wide:g}" height="{high:g}"'
                opacity = 0.4 + 0.6 * share[start]
                yield f'<rect {place} {size} fill="{_colour(owner[start])}" fill-opacity="{opacity:.3g}"/>'


def _tiles(parts: Operands, n: int, view: View, tile: int) -> Iterator[str]:
    """Full tiles outlined solid, partial ones dashed, each judged whole even where the view cuts it."""
    (top, bottom), (first, last) = view.queries, view.keys
    high, wide = SIDE / view.shape[0], SIDE / view.shape[1]
    for q in range(top // tile * tile, bottom, tile):
        queries = np.arange(q, min(q + tile, n))
        for k in range(first // tile * tile, last, tile):
            keys = np.arange(k, min(k + tile, n))
            held = np.logical_or.reduce([reference.evaluate(part, queries, keys, n) for _, part in parts])
            if held.any():
                x, y = max(k, first), max(q, top)
                place = f'x="{LEFT + (x - first) * wide:g}" y="{TOP + (y - top) * high:g}"'
                size = f'width="{(min(k + tile, last) - x) * wide:g}" height="{(min(q + tile, bottom) - y) * high:g}"'
                dashes = "" if held.all() else ' stroke-dasharray="3 2"'
                yield f'<rect {place} {size} fill="none" stroke="#222"{dashes}/>'


def _sparklines(cells: Raster) -> Iterator[str]:
    """Share of kept pairs of each row to the right, of each column below; the fullest reaches the edge."""
    kept = cells.kept.sum(axis=0)
    for axis in (1, 0):
        shares = kept.sum(axis=axis) / cells.seen.sum(axis=axis)
        heights = shares / (shares.max() or 1) * (SPARK - 4) + SIDE + 4
        along = (np.arange(len(shares)) + 0.5) * SIDE / len(shares)
        x, y = (heights, along) if axis else (along, heights)
        points = " ".join(f"{LEFT + a:.4g},{TOP + b:.4g}" for a, b in zip(x, y, strict=True))
        yield f'<polyline points="{points}" fill="none" stroke="#555"/>'


def _legend(parts: Operands, shares: np.ndarray, sure: bool, view: View) -> Iterator[str]:
    y = TOP + SIDE + SPARK + LINE
    for index, (name, _) in enumerate(parts):
        if name:
            yield f'<rect x="{LEFT}" y="{y - 10}" width="12" height="12" fill="{_colour(index)}"/>'
            yield _text(LEFT + 18, y, f"{name}  {percent(shares[index])}", "")
            y += LINE
    yield _text(LEFT, y, total(float(shares.sum()), view, sure), "")


def _colour(part: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*PALETTE[part % len(PALETTE)])


def _text(x: int, y: int, words: str, anchor: str) -> str:
    aligned = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x}" y="{y}"{aligned}>{escape(words)}</text>'
