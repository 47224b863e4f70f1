"""`sparsec show`: the mask in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli.options import Choice, Define, FileName, Heads, Layer, Layers, PatternName, choice
from sparsec.diagnostics import SparsecError

if TYPE_CHECKING:
    from sparsec.ir.nodes import Pattern
    from sparsec.show.page import Operands
    from sparsec.syntax import ast

_LABEL = 48  # longest name of an operand in the legend
_LARGEST = 2**22  # keys; random tables grow with n


def run(
    file: FileName,
    n: Annotated[int, typer.Option("--n", min=1, max=_LARGEST, help="Number of keys and queries.")] = 1024,
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
) -> None:
    """Draw the mask, coloured by the operand of the union that each pair belongs to."""
    chosen = choice(define, pattern, heads, layer, layers)
    tree, lowered = chosen.load(file)
    from sparsec.show import page, supported

    print(
        page(
            lowered.pattern,
            n,
            width=shutil.get_terminal_size().columns,
            colours=supported(sys.stdout, os.environ),
            operands=_operands(tree, lowered.pattern, chosen),
        )
    )


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
