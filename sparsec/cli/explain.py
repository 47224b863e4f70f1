"""`sparsec explain`: what a code means, an example that brings it about, and the cure."""

from __future__ import annotations

import inspect
import textwrap
from difflib import get_close_matches
from typing import Annotated

import typer

from sparsec.diagnostics import CODES, Diagnostic


def run(
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="A code such as SP0201; without it, all are listed.")
    ] = None,
) -> None:
    """Explain the code of a message."""
    if code is None:
        print("\n".join(f"{name}  {CODES[name].title}" for name in sorted(CODES)))
    elif kind := CODES.get(code.upper()):
        print(_explanation(kind))
    else:
        near = get_close_matches(code.upper(), CODES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise typer.BadParameter(f"there is no code {code!r}{hint}", param_hint="CODE")


def _explanation(kind: type[Diagnostic]) -> str:
    sections = [
        f"{kind.severity}[{kind.code}]: {kind.title}",
        inspect.cleandoc(kind.__doc__ or ""),
        "Example:\n\n" + textwrap.indent(kind.example.text.rstrip(), "    "),
        f"Cure: {kind.cure}",
    ]
    return "\n\n".join(sections)
