"""The picture as SVG text."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Unpack

import numpy as np

from sparsec.ir.nodes import Pattern
from sparsec.show.figure import Shown, colour, figure
from sparsec.show.raster import View
from sparsec.show.shapes import GROUND, Box, Cells, Path, Shape, Words

CELLS = 128  # along an axis
_DASHES = ' stroke-dasharray="3 2"'


def svg(pattern: Pattern, n: int, view: View, **shown: Unpack[Shown]) -> str:
    """The distinct masks with axes, curves and legend; `shown` as `figure` takes it."""
    drawn = figure(pattern, n, view, cells=CELLS, **shown)
    width, height = drawn.size
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' font-family="DejaVu Sans, Verdana, sans-serif" font-size="11.5">'
    )
    ground = f'<rect width="100%" height="100%" fill="{GROUND}"/>'
    return "\n".join([opening, ground, *(line for shape in drawn.shapes for line in _shape(shape)), "</svg>", ""])


def _shape(shape: Shape) -> Iterator[str]:
    match shape:
        case Box(at, size, fill, stroke, dashed):
            line = f' stroke="{stroke}"' if stroke else ""
            yield f'<rect {_place(at, size)} fill="{fill or "none"}"{line}{_DASHES if dashed else ""}/>'
        case Path(points, stroke):
            places = " ".join(f"{x:.5g},{y:.5g}" for x, y in points)
            yield f'<polyline points="{places}" fill="none" stroke="{stroke}"/>'
        case Words((x, y), text, anchor, ink, upright):
            turned = f' transform="rotate(-90 {x:g} {y:g})"' if upright else ""
            aligned = f' text-anchor="{anchor}"' if anchor != "start" else ""
            if text:
                yield f'<text x="{x:.5g}" y="{y:.5g}" fill="{ink}"{aligned}{turned}>{escape(text)}</text>'
        case Cells():
            yield from ('<g shape-rendering="crispEdges">', *_cells(shape), "</g>")


def _cells(cells: Cells) -> Iterator[str]:
    """One rectangle for each run of equal cells in a row."""
    owners, shares = cells.raster.owners, np.round(cells.raster.shares, 2)
    (left, top), wide, high = cells.at, cells.size[0] / owners.shape[1], cells.size[1] / owners.shape[0]
    for row, (owner, share) in enumerate(zip(owners, shares, strict=True)):
        breaks = np.flatnonzero((np.diff(owner) != 0) | (np.diff(share) != 0)) + 1
        for start, end in pairwise([0, *breaks.tolist(), len(owner)]):
            if owner[start] >= 0:
                place = _place((left + start * wide, top + row * high), ((end - start) * wide, high))
                opacity = 0.4 + 0.6 * share[start]
                yield f'<rect {place} fill="{colour(owner[start])}" fill-opacity="{opacity:.3g}"/>'


def _place(at: tuple[float, float], size: tuple[float, float]) -> str:
    return f'x="{at[0]:.6g}" y="{at[1]:.6g}" width="{size[0]:.6g}" height="{size[1]:.6g}"'
