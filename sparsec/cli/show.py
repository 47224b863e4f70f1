"""`sparsec show`: the mask in the terminal, or as SVG, PNG or a page in a file."""

from __future__ import annotations

import os
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli.given import Given, data_of
from sparsec.cli.inputs import Expression
from sparsec.cli.options import (
    Define,
    FileName,
    Heads,
    Layer,
    Layers,
    PatternName,
    QueryCount,
    QueryOffset,
    choice,
    queries_of,
)
from sparsec.cli.ranks import Layout

if TYPE_CHECKING:
    from sparsec.cli.picture import Masks
    from sparsec.show import View
    from sparsec.show.page import Divided
    from sparsec.show.ranks import OverRanks

_TILES = 64  # outlines along an axis: more would not be seen
_LARGEST = 2**22  # keys; random tables grow with n
_MOST_RANKS = 16  # more would not be read


class Format(StrEnum):
    """What a picture can be written as."""

    TEXT = "text"
    SVG = "svg"
    PNG = "png"
    HTML = "html"


class Grid(StrEnum):
    """What a grid has a mask for each of."""

    HEADS = "heads"
    LAYERS = "layers"


def run(
    file: FileName,
    _: Expression = None,
    n: Annotated[
        int | None,
        typer.Option("--n", min=1, max=_LARGEST, help="Number of keys; by default some that show the structure."),
    ] = None,
    n_q: QueryCount = None,
    q_offset: QueryOffset = None,
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
    given: Given = None,
    queries: Annotated[str | None, typer.Option("--q", metavar="A:B", help="Only the queries at A to B - 1.")] = None,
    keys: Annotated[str | None, typer.Option("--k", metavar="A:B", help="Only keys A to B - 1.")] = None,
    tile: Annotated[
        int | None, typer.Option(min=8, max=256, help="Side of tiles: outlined (SVG, PNG), named (HTML).")
    ] = None,
    other: Annotated[
        str | None, typer.Option("--diff", metavar="OTHER", help="Colour by what only FILE, only OTHER or both keep.")
    ] = None,
    grid: Annotated[
        Grid | None, typer.Option("--grid", help="Every head, or every layer of --layers; SVG, PNG: side by side.")
    ] = None,
    rank_count: Annotated[
        int | None,
        typer.Option("--ranks", min=2, max=_MOST_RANKS, metavar="R", help="Draw who needs whose keys over R GPUs."),
    ] = None,
    layout: Layout = "contiguous",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PATH", help="Write here: .svg, .png, .html or .txt.")
    ] = None,
    kind: Annotated[Format | None, typer.Option("--format", help="Instead of what PATH ends in.")] = None,
) -> None:
    """Draw the mask, coloured by the operand of the union that each pair belongs to.

    Of a pattern that reads data, that of the first row of a batch and of the first head.
    """
    chosen = choice(define, pattern, heads, layer, layers)
    kind = kind or _format(output)
    if tile and kind is Format.TEXT:
        problem = "tiles are outlined in SVG and PNG and named in HTML: add -o FILE.svg"
        raise typer.BadParameter(problem, param_hint="--tile")
    if other and kind is Format.HTML:
        raise typer.BadParameter("a page shows one pattern; text, SVG and PNG show two", param_hint="--diff")
    if grid and (other or kind is Format.HTML):
        raise typer.BadParameter("neither with --diff nor for a page, which has sliders instead", param_hint="--grid")
    if rank_count and (other or grid):
        raise typer.BadParameter("neither with --diff nor with --grid", param_hint="--ranks")
    from sparsec.cli import picture
    from sparsec.show import View, html, telling_length

    if kind is Format.HTML:
        shown, subject = picture.opened(file, chosen)
        written = shown
    else:
        if grid:
            masks = picture.side_by_side(file, chosen, each_head=grid is Grid.HEADS)
        else:
            masks = picture.difference(file, other, chosen) if other else picture.divided(file, chosen)
        written = masks.pattern
        data, n = data_of(written, given, n, "a picture")
        masks = masks.given(data) if data else masks
        shown = masks.pattern
    n = n or telling_length(shown)
    call = queries_of(n, n_q, q_offset)
    view = View(_span(queries, call, "--q"), _span(keys, range(n), "--k"))
    if tile and kind in (Format.SVG, Format.PNG):
        _fits(view, tile)
    ranks = picture.over_ranks(written, n, call, rank_count, layout) if rank_count else None
    if kind is Format.HTML:
        drawn: str | bytes = html(subject, n, call, view, tile, ranks)
    else:
        masks = masks.over_ranks(ranks) if ranks else masks
        drawn = _drawn(kind, masks, n, call, view, tile, output is None, ranks)
    picture.deliver(drawn, output)


def _drawn(
    kind: Format,
    masks: Masks,
    n: int,
    call: range,
    view: View,
    tile: int | None,
    printed: bool,
    ranks: OverRanks | None,
) -> str | bytes:
    from sparsec.show import page, png, supported, svg

    shown: Divided = {"operands": masks.operands, "headings": masks.headings, "compared": masks.compared}
    match kind:
        case Format.SVG:
            return svg(masks.pattern, n, view, tile=tile, queries=call, columns=masks.columns, ranks=ranks, **shown)
        case Format.PNG:
            return png(masks.pattern, n, view, tile=tile, queries=call, columns=masks.columns, ranks=ranks, **shown)
    width, colours = shutil.get_terminal_size().columns, printed and supported(sys.stdout, os.environ)
    return page(masks.pattern, n, width=width, colours=colours, view=view, ranks=ranks, **shown) + "\n"


def _format(output: Path | None) -> Format:
    """What the name of the file asks for.  BadParameter for a name that asks for nothing known."""
    if output is None:
        return Format.TEXT
    known = {".svg": Format.SVG, ".png": Format.PNG, ".html": Format.HTML, ".htm": Format.HTML, ".txt": Format.TEXT}
    if output.suffix.lower() not in known:
        problem = f"{str(output)!r} ends in none of {', '.join(known)}: rename it or add --format"
        raise typer.BadParameter(problem, param_hint="-o")
    return known[output.suffix.lower()]


def _fits(view: View, tile: int) -> None:
    from sparsec.show.raster import LIMIT

    if not view.exact or max(view.shape) > _TILES * tile:
        most = min(LIMIT, _TILES * tile)
        raise typer.BadParameter(f"zoom with --q and --k to at most {most} positions", param_hint="--tile")


def _span(text: str | None, all_of: range, option: str) -> tuple[int, int]:
    """`A:B` with either left out, within the positions that there are.  BadParameter for anything else."""
    first, colon, last = (":" if text is None else text).partition(":")
    try:
        span = int(first or all_of.start), int(last or all_of.stop)
    except ValueError:
        span = (0, 0)
    if not colon or not all_of.start <= span[0] < span[1] <= all_of.stop:
        raise typer.BadParameter(
            f"{text!r} is not A:B with {all_of.start} <= A < B <= {all_of.stop}", param_hint=option
        )
    return span
