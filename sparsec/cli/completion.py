"""What the shell offers behind options; file names it knows itself.  Wrong files offer nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from sparsec.diagnostics import CODES, SparsecError

if TYPE_CHECKING:
    from sparsec.syntax.ast import Definition


def patterns(context: typer.Context, incomplete: str) -> list[str]:
    """The patterns of the files given so far."""
    return [each.name for each in _declared(context) if each.name.startswith(incomplete)]


def parameters(context: typer.Context, incomplete: str) -> list[str]:
    """`NAME=` for each parameter of the pattern chosen, or of all."""
    chosen = context.params.get("pattern")
    declared = [each for each in _declared(context) if chosen is None or each.name == chosen]
    found = dict.fromkeys(f"{parameter.name}=" for each in declared for parameter in each.parameters)
    return [name for name in found if name.startswith(incomplete)]


def codes(incomplete: str) -> list[str]:
    return [code for code in CODES if code.startswith(incomplete)]


def templates(incomplete: str) -> list[str]:
    from sparsec import resources

    return [name for name in resources.names("examples", ".spat") if name.startswith(incomplete)]


def _declared(context: typer.Context) -> Iterator[Definition]:
    from sparsec.syntax.parse import parse
    from sparsec.syntax.read import read

    given = context.params
    names = [given.get("file"), *(given.get("files") or ()), *context.args]  # args: behind an option without a value
    for name in filter(None, names):
        try:
            definitions = parse(read(name)).definitions
        except SparsecError:
            continue
        yield from (each for each in definitions if each.kind == "pattern")
