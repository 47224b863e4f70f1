"""`sparsec explain`: what a code means, an example that brings it about, and the cure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer

from sparsec.cli import completion
from sparsec.diagnostics import CODES


def run(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE", help="A code such as SP0201; without it, all are listed.", autocompletion=completion.codes
        ),
    ] = None,
) -> None:
    """Explain the code of a message."""
    from sparsec.diagnostics.explain import explain

    if code is None:
        print("\n".join(f"{name}  {CODES[name].title}" for name in sorted(CODES)))
    elif code.upper() in CODES:
        print(explain(code))
    else:
        near = get_close_matches(code.upper(), CODES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise typer.BadParameter(f"there is no code {code!r}{hint}", param_hint="CODE")
