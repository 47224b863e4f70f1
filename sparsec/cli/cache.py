"""`sparsec cache`: what is kept of compiled patterns."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from sparsec.cli.output import report


def run(
    info: Annotated[bool, typer.Option("--info", help="Say where it is and what it holds (the default).")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what is out of date, was not used for 30 days, or was left behind.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at the cache of compiled patterns, or empty it."""
    if info + clear + prune > 1:
        raise typer.BadParameter("only one of --info, --clear and --prune")
    from sparsec.cache import prune as pruning
    from sparsec.cache.files import Cache, Unusable, folder

    try:
        store = Cache(folder())
        if clear or prune:
            count, size = pruning.clear(store) if clear else pruning.prune(store)
            found = {"folder": str(store.root), "removed": count, "bytes": size}
            text = f"removed {count:,} files, {_size(size)}, from {store.root}"
        else:
            held = pruning.info(store)
            found, text = asdict(held), _words(held)
    except Unusable as error:
        report([error.diagnostic])
        raise typer.Exit(1) from None
    print(json.dumps(found) if as_json else text)


def _words(held) -> str:
    stale = f", {held.stale:,} out of date" if held.stale else ""
    return "\n".join(
        [
            f"folder   {held.folder}",
            f"records  {held.records:,}{stale}",
            f"modules  {held.modules:,}",
            f"size     {_size(held.bytes)}",
        ]
    )


def _size(count: int) -> str:
    return f"{count:,} bytes" if count < 10_000 else f"{count / 1e6:,.2f} MB"
