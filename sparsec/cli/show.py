"""`sparsec show`: the mask in the terminal, or as SVG in a file."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli.options import Choice, Define, FileName, Heads, Layer, Layers, PatternName, choice
from sparsec.diagnostics import SparsecError

if TYPE_CHECKING:
    from sparsec.ir.nodes import Pattern
    from sparsec.show.page import Operands
    from sparsec.syntax import ast

_LABEL = 48  # longest name of an operand in the legend
_TILES = 64  # outlines along an axis: more would not be seen
_LARGEST = 2**22  # keys; random tables grow with n


def run(
    file: FileName,
    n: Annotated[int, typer.Option("--n", min=1, max=_LARGEST, help="Number of keys and queries.")] = 1024,
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
    queries: Annotated[str | None, typer.Option("--q", metavar="A:B", help="Only queries A to B - 1.")] = None,
    keys: Annotated[str | None, typer.Option("--k", metavar="A:B", help="Only keys A to B - 1.")] = None,
    tile: Annotated[int | None, typer.Option(min=8, help="Outline tiles of this side (SVG).")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE.svg", help="Write SVG here.")] = None,
) -> None:
    """Draw the mask, coloured by the operand of the union that each pair belongs to."""
    chosen = choice(define, pattern, heads, layer, layers)
    spans = _span(queries, n, "--q"), _span(keys, n, "--k")
    if output and output.suffix.lower() != ".svg":
        raise typer.BadParameter(f"{str(output)!r} does not end in .svg", param_hint="-o")
    if tile and not output:
        raise typer.BadParameter("tiles are outlined in SVG only: add -o FILE.svg", param_hint="--tile")
    from sparsec.show import View, page, supported, svg
    from sparsec.show.raster import LIMIT

    view = View(*spans)
    if tile and (not view.exact or max(view.shape) > _TILES * tile):
        most = min(LIMIT, _TILES * tile)
        raise typer.BadParameter(f"zoom with --q and --k to at most {most} positions", param_hint="--tile")
    tree, lowered = chosen.load(file)
    operands = _operands(tree, lowered.pattern, chosen)
    if output:
        _write(output, svg(lowered.pattern, n, view, operands, tile))
        return
    width, colours = shutil.get_terminal_size().columns, supported(sys.stdout, os.environ)
    print(page(lowered.pattern, n, width=width, colours=colours, operands=operands, view=view))


def _span(text: str | None, n: int, option: str) -> tuple[int, int]:
    """`A:B` with either left out, within 0 and n.  BadParameter for anything else."""
    first, colon, last = (":" if text is None else text).partition(":")
    try:
        span = int(first or "0", 10), int(last or str(n), 10)
    except ValueError:
        span = (0, 0)
    if not colon or not 0 <= span[0] < span[1] <= n:
        raise typer.BadParameter(f"{text!r} is not A:B with 0 <= A < B <= {n}", param_hint=option)
    return span


def _write(path: Path, text: str) -> None:
    """The whole file or nothing.  BadParameter where the folder does not take it."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".sparsec-") as folder:
            temporary = Path(folder) / "picture"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {str(path)!r}: {error.strerror}", param_hint="-o") from None


def _operands(file: ast.File, pattern: Pattern, chosen: Choice) -> list[Operands]:
    """For each condition of the pattern, the operands of its top-level union as written, with their sets."""
    from sparsec.syntax import ast

    definition = next(d for d in file.definitions if d.name == pattern.name)
    written = definition.body.parts if isinstance(definition.body, ast.Union) else ()
    alone = [(_label(part), _alone(file, definition, part, chosen)) for part in written]
    found = []
    for index, condition in enumerate(pattern.conditions):
        head = pattern.head_conditions.index(index) if pattern.head_conditions else 0
        parts = [(label, _of_head(part, head)) for label, part in alone if part is not None]
        found.append(parts or [("", condition)])
    return found


def _alone(file: ast.File, definition: ast.Definition, part: ast.Expr, chosen: Choice) -> Pattern | None:
    """The pattern as if `part` were all of it, or None where that keeps no pair for any head."""
    from sparsec.ir.lower import lower

    changed = replace(definition, body=part)
    declarations = tuple(changed if each is definition else each for each in file.declarations)
    try:
        return lower(replace(file, declarations=declarations), **chosen.keywords)
    except SparsecError:
        return None


def _of_head(pattern: Pattern, head: int):
    return pattern.conditions[pattern.head_conditions[head] if pattern.head_conditions else 0]


def _label(part: ast.Expr) -> str:
    text = " ".join(part.span.text.split())
    return text if len(text) <= _LABEL else text[: _LABEL - 3] + "..."
