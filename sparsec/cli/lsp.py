"""`sparsec lsp`: the language server, which editors start."""

from __future__ import annotations

from typing import Annotated

import typer


def run(
    stdio: Annotated[bool, typer.Option("--stdio", help="What it does anyway; many editors pass this.")] = True,
) -> None:
    """Serve an editor over standard input and output: errors while typing, hover, completion, rename, formatting."""
    try:
        from sparsec.editor.server import make
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise typer.BadParameter("the language server needs pygls: pip install 'sparsec[lsp]'") from None
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("sparsec")
    except PackageNotFoundError:
        installed = "from a checkout"
    make(installed).start_io()
