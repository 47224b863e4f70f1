"""The page of the commands, from the typer app itself: what `--help` says, as Markdown.

A page asks for it with a line `<!-- commands -->`, which shows nothing where the page is read as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator

import typer
from sphinx.application import Sphinx

from sparsec.cli import app as sparsec

MARK = "<!-- commands -->"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", lambda app, page, source: source.__setitem__(0, filled(source[0])))
    return {"parallel_read_safe": True}


def filled(text: str) -> str:
    """The text with the mark replaced by a section for each command, in the order of `sparsec --help`."""
    return text.replace(MARK, "\n".join(_sections())) if MARK in text else text


def _sections() -> Iterator[str]:
    group = typer.main.get_command(sparsec)
    context = group.make_context("sparsec", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = type(context)(command, parent=context, info_name=name)
        usage = " ".join(["sparsec", name, *command.collect_usage_pieces(inner)])
        asked = [each for each in command.get_params(inner) if each.name != "help"]
        rows = [record for each in asked if (record := each.get_help_record(inner))]
        yield f"## sparsec {name}\n\n{command.help}\n\n```text\n{usage}\n```\n"
        yield "\n".join(
            ["| argument | is |", "|---|---|", *(f"| {_code(what)} | {_cell(says)} |" for what, says in rows), ""]
        )


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
