"""A picture of masks with axes, curves at their margins and legends, as shapes: before it is SVG or PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sparsec.ir import reference
from sparsec.ir.nodes import Pattern, Set
from sparsec.show.colour import PALETTE
from sparsec.show.page import Divided, Operands, heading, percent, title, total
from sparsec.show.ranks import OverRanks
from sparsec.show.ranks_figure import bands, exchange
from sparsec.show.raster import Raster, View, densities, raster
from sparsec.show.shapes import EMPTY, FAINT, FRAME, INK, Box, Cells, Path, Place, Shape, Words
from sparsec.show.ticks import ticks

SIDE = 512  # the longer side of a mask
LEFT, TOP, MARGIN, CURVE, LINE = 92, 100, 16, 44, 20
_SHORTEST = 0.25  # of an oblong mask, the shorter side over the longer
_LETTER = 7.2  # the width of a letter, about


class Shown(Divided, total=False):
    """What `figure` takes beside pattern, length and view."""

    tile: int | None
    queries: range | None
    columns: int
    ranks: OverRanks | None


@dataclass(frozen=True)
class Figure:
    size: tuple[int, int]
    shapes: tuple[Shape, ...]


def figure(
    pattern: Pattern,
    n: int,
    view: View,
    *,
    cells: int,
    operands: Sequence[Operands] | None = None,
    headings: Sequence[str] | None = None,
    columns: int = 1,
    compared: bool = False,
    tile: int | None = None,
    queries: range | None = None,
    ranks: OverRanks | None = None,
) -> Figure:
    """Each distinct mask after the one before it, `columns` side by side.

    `operands`, `headings` and `compared` as of `page`; `cells` along an axis at most.  Tiles of `tile` x `tile` are
    outlined; they are counted from the first of `queries`, by default 0..n, and need a view that is exact.  `ranks`:
    bands of these beside the masks, and below what each sends to each.
    """
    divided = operands or [[("", condition)] for condition in pattern.conditions]
    box = _box(view)
    panels = []
    for index, parts in enumerate(divided):
        above = headings[index] if headings else heading(pattern, index)
        shapes = list(_panel(parts, n, view, box, above, cells, compared))
        tiles = _tiles(parts, n, view, box, tile, queries or range(n)) if tile else ()
        panels.append([*shapes, *tiles, *(bands(ranks, view, (LEFT, TOP), box) if ranks else ())])
    name = Words((MARGIN, 28), title(pattern, n))
    columns = min(columns, len(panels))
    wide = max(_right(each) for each in panels) + MARGIN
    high = TOP + box[1] + CURVE + LINE * (max(map(len, divided)) + 3)
    placed = [
        _moved(shape, (index % columns * wide, index // columns * high))
        for index, shapes in enumerate(panels)
        for shape in shapes
    ]
    height = -(-len(panels) // columns) * high
    below = [*exchange(ranks, (LEFT, height))] if ranks else []
    width = max(columns * wide, _right([name, *below]) + MARGIN)
    height = max(height, *(shape.at[1] + LINE for shape in below if isinstance(shape, Words))) if below else height
    return Figure((round(width), round(height)), (name, *placed, *below))


def colour(part: int) -> str:
    """An operand's colour."""
    return "#{:02x}{:02x}{:02x}".format(*PALETTE[part % len(PALETTE)])


def _box(view: View) -> tuple[float, float]:
    """Width and height of a mask: as its positions are, but never a mere line."""
    ratio = view.shape[0] / view.shape[1]
    return SIDE * max(_SHORTEST, min(1, 1 / ratio)), SIDE * max(_SHORTEST, min(1, ratio))


def _panel(
    parts: Operands, n: int, view: View, box: tuple[float, float], above: str, cells: int, compared: bool
) -> Iterator[Shape]:
    sets = [part for _, part in parts]
    drawn = raster(sets, n, cells, cells, view, compared)
    yield Words((LEFT, 54), above)
    yield Box((LEFT, TOP), box, fill=EMPTY)
    yield Cells((LEFT, TOP), box, drawn)
    yield Box((LEFT, TOP), box, stroke=FRAME)
    yield from _axes(view, box)
    yield from _curves(drawn, _fullest(sets, n, view, drawn), box)
    yield from _legend(parts, *densities(sets, n, view, drawn), view, TOP + box[1] + CURVE + 2.4 * LINE)


def _axes(view: View, box: tuple[float, float]) -> Iterator[Shape]:
    """Ticks with their positions, and what the axes are."""
    wide, high = box
    longest = max(len(f"{edge:,}") for edge in view.keys) * _LETTER
    for position in ticks(view.keys, int(min(8, wide / (longest + 12)))):
        x = LEFT + (position - view.keys[0] + 0.5) * wide / view.shape[1]
        yield Path(((x, TOP - 5), (x, TOP)))
        yield Words((x, TOP - 9), f"{position:,}", "middle", FAINT)
    for position in ticks(view.queries, int(min(8, high / 18))):
        y = TOP + (position - view.queries[0] + 0.5) * high / view.shape[0]
        yield Path(((LEFT - 5, y), (LEFT, y)))
        yield Words((LEFT - 9, y + 4), f"{position:,}", "end", FAINT)
    yield Words((LEFT + wide / 2, TOP - 26), "key k", "middle")
    yield Words((20, TOP + high / 2), "query q", "middle", upright=True)


def _curves(cells: Raster, fullest: tuple[str, str], box: tuple[float, float]) -> Iterator[Shape]:
    """Kept pairs of each query to the right, of each key below, and how many the fullest has."""
    wide, high = box
    for axis, most in ((1, fullest[0]), (0, fullest[1])):
        shares = _means(cells, axis)
        away = shares / (shares.max() or 1) * (CURVE - 8) + 4
        along = (np.arange(len(shares)) + 0.5) * (high if axis else wide) / len(shares)
        x, y = (LEFT + wide + away, TOP + along) if axis else (LEFT + along, TOP + high + away)
        yield Path(tuple(zip(x.tolist(), y.tolist(), strict=True)), FAINT)
        if axis:
            words = f"keys of a query, up to {most}"
            yield Words((LEFT + wide + CURVE + 14, TOP + high / 2), words, "middle", FAINT, upright=True)
        else:
            words = f"queries of a key, up to {most}"
            yield Words((LEFT + wide / 2, TOP + high + CURVE + 14), words, "middle", FAINT)


def _fullest(sets: Sequence[Set], n: int, view: View, cells: Raster) -> tuple[str, str]:
    """The most keys that a query of the view sees, and queries that see a key; about, where not all is looked at."""
    if view.exact:
        by_query, by_key = (raster(sets, n, *shape, view) for shape in ((view.shape[0], 1), (1, view.shape[1])))
        return f"{by_query.kept.sum(axis=0).max():,}", f"{by_key.kept.sum(axis=0).max():,}"
    keys, queries = (round(_means(cells, axis).max() * view.shape[axis]) for axis in (1, 0))
    return f"about {keys:,}", f"about {queries:,}"


def _means(cells: Raster, axis: int) -> np.ndarray:
    """The share of kept pairs in each row (axis 1) or column of cells."""
    return cells.kept.sum(axis=(0, 1 + axis)) / cells.seen.sum(axis=axis)


def _legend(parts: Operands, shares: np.ndarray, sure: bool, view: View, y: float) -> Iterator[Shape]:
    for index, (name, _) in enumerate(parts):
        if name:
            yield Box((LEFT, y - 10), (12, 12), fill=colour(index))
            yield Words((LEFT + 18, y), f"{name}  {'' if sure else 'about '}{percent(shares[index])}")
            y += LINE
    yield Words((LEFT, y), total(float(shares.sum()), view, sure))


def _tiles(parts: Operands, n: int, view: View, box: tuple[float, float], tile: int, call: range) -> Iterator[Shape]:
    """Full tiles outlined solid, partial ones dashed, each judged whole even where the view cuts it."""
    (top, bottom), (first, last) = view.queries, view.keys
    wide, high = box[0] / view.shape[1], box[1] / view.shape[0]
    for q in range(top - (top - call.start) % tile, bottom, tile):
        queries = np.arange(q, min(q + tile, call.stop))
        for k in range(first // tile * tile, last, tile):
            keys = np.arange(k, min(k + tile, n))
            held = np.logical_or.reduce([reference.evaluate(part, queries, keys, n) for _, part in parts])
            if held.any():
                x, y = max(k, first), max(q, top)
                yield Box(
                    (LEFT + (x - first) * wide, TOP + (y - top) * high),
                    ((min(k + tile, last) - x) * wide, (min(q + tile, bottom) - y) * high),
                    stroke=INK,
                    dashed=not held.all(),
                )


def _right(shapes: Sequence[Shape]) -> float:
    """The right edge of some shapes."""
    edges = [0.0]
    for shape in shapes:
        match shape:
            case Box(at, size) | Cells(at, size):
                edges.append(at[0] + size[0])
            case Path(points):
                edges.append(max(x for x, _ in points))
            case Words(at, text, anchor, upright=upright):
                share = {"start": 1.0, "middle": 0.5, "end": 0.0}[anchor]
                edges.append(at[0] + (4 if upright else share * _LETTER * len(text)))
    return max(edges)


def _moved(shape: Shape, by: Place) -> Shape:
    if isinstance(shape, Path):
        return replace(shape, points=tuple((x + by[0], y + by[1]) for x, y in shape.points))
    return replace(shape, at=(shape.at[0] + by[0], shape.at[1] + by[1]))
