"""`sparsec fmt`: the usual layout, with the meaning proved unchanged before anything is written."""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sparsec.cli.inputs import Expression, Names, named, read
from sparsec.cli.output import report, rewrite
from sparsec.diagnostics import SparsecError, printable


@dataclass(frozen=True)
class _Laid:
    """A text as it is, and as it should be, both with `\\n` for line ends; `data` as bytes of the same kind."""

    name: str  # for messages
    path: Path | None  # None for standard input
    old: str
    new: str
    data: bytes


def run(
    files: Names,
    _: Expression = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say which files would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
) -> None:
    """Lay files out in the usual way, in place; standard input goes to standard output.

    Blanks, line ends and commas behind last items change, and doubled brackets go; words, other brackets and comments
    stay.  Line ends at `|`, `&` and `\\`, behind an opening bracket and behind `=` are kept.  A file with errors is
    left alone.

    Exit status: 0 well, 1 errors, or with --check or --diff something to change, 2 usage.
    """
    well = True
    for name in named(files):
        try:
            laid = _laid_out(name)
            if not (check or diff):
                _write(laid)
        except SparsecError as error:
            report(error.diagnostics)
            well = False
            continue
        changed = laid.new != laid.old
        well &= not (changed and (check or diff))
        if changed and diff:
            _print_diff(laid)
        elif changed and check:
            print(f"{printable(laid.name)}: would be formatted")
        elif changed and laid.path:
            print(f"{printable(laid.name)}: formatted")
    raise typer.Exit(0 if well else 1)


def _laid_out(name: str) -> _Laid:
    """SparsecError for what can't be read or is not in the language."""
    from sparsec.syntax.format.text import format_text

    given = read(name)
    new = format_text(given.source)
    return _Laid(given.source.name, given.path, given.source.text, new, given.encoded(new))


def _write(laid: _Laid) -> None:
    """To where the text came from; a file is replaced at once and keeps its permissions.  SparsecError SP0702."""
    if laid.path is None:
        sys.stdout.buffer.write(laid.data)
        sys.stdout.buffer.flush()
    elif laid.new != laid.old:
        rewrite(laid.path, laid.data)


def _print_diff(laid: _Laid) -> None:
    old, new = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (laid.old, laid.new))
    name = printable(laid.name)
    for line in difflib.unified_diff(old, new, name, f"{name} (formatted)"):
        shown = printable(line, keep="\t\n")  # a comment may hold what a terminal would obey
        print(shown, end="" if line.endswith("\n") else "\n\\ No newline at end of file\n")
