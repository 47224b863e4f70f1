"""`sparsec fmt`: the usual layout, with the meaning proved unchanged before anything is written."""

from __future__ import annotations

import difflib
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sparsec.cli.output import report
from sparsec.diagnostics import CannotRead, CannotWrite, SparsecError, TextTooLong

_STDIN = "-"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class _Laid:
    """A text as it is, and as it should be, both with `\\n` for line ends; `data` as bytes of the same kind."""

    name: str  # for messages
    path: Path | None  # None for standard input
    old: str
    new: str
    data: bytes


def run(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES", help="Files, folders with .spat files, or - for standard input.")
    ],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say which files would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
) -> None:
    """Lay files out in the usual way, in place; standard input goes to standard output.

    Blanks, line ends and commas behind last items change, and doubled brackets go; words, other brackets and comments
    stay.  Line ends at `|`, `&` and `\\`, behind an opening bracket and behind `=` are kept.  A file with errors is
    left alone.

    Exit status: 0 well, 1 errors, or with --check or --diff something to change, 2 usage.
    """
    if _STDIN in files and len(files) > 1:
        raise typer.BadParameter("- stands alone", param_hint="FILES")
    well = True
    for name in dict.fromkeys(_named(files)):
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
            print(f"{laid.name}: would be formatted")
        elif changed and laid.path:
            print(f"{laid.name}: formatted")
    raise typer.Exit(0 if well else 1)


def _named(files: Iterable[str]) -> Iterator[str]:
    """The files, and those of folders, in order of name; hidden folders are passed over."""
    for name in files:
        if not os.path.isdir(name):
            yield name
            continue
        found = []
        for folder, inside, names in os.walk(name, onerror=_unreadable):
            inside[:] = [each for each in inside if not each.startswith(".")]
            found += [os.path.join(folder, each) for each in names if each.endswith(".spat")]
        if not found:
            print(f"{name}: no .spat files", file=sys.stderr)
        yield from sorted(found)


def _unreadable(error: OSError) -> None:
    raise SparsecError(CannotRead(name=str(error.filename), reason=(error.strerror or "unknown").lower()))


def _laid_out(name: str) -> _Laid:
    """SparsecError for what can't be read or is not in the language."""
    from sparsec.syntax.check import MAX_TEXT
    from sparsec.syntax.format import format_text
    from sparsec.syntax.read import decode, read_bytes

    limit = 4 * MAX_TEXT
    shown = "<stdin>" if name == _STDIN else name
    data = sys.stdin.buffer.read(limit + 1) if name == _STDIN else read_bytes(name, limit)
    if data is None or len(data) > limit:
        raise SparsecError(TextTooLong(name=shown, limit=MAX_TEXT))
    source = decode(shown, data)
    new = format_text(source)
    ends = new.replace("\n", "\r\n") if b"\r\n" in data else new
    path = None if name == _STDIN else Path(name)
    return _Laid(shown, path, source.text, new, (_BOM if data.startswith(_BOM) else b"") + ends.encode())


def _write(laid: _Laid) -> None:
    """To where the text came from; a file is replaced at once and keeps its permissions.  SparsecError SP0702."""
    if laid.path is None:
        sys.stdout.buffer.write(laid.data)
        sys.stdout.buffer.flush()
    elif laid.new != laid.old:
        try:
            _replace(laid.path.resolve(), laid.data)  # a link stays one
        except OSError as error:
            reason = (error.strerror or "unknown").lower()
            raise SparsecError(CannotWrite(name=laid.name, reason=reason)) from None


def _replace(path: Path, data: bytes) -> None:
    with open(path, "r+b") as file:  # a file that may not be written to is not to be replaced either
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".sparsec-") as folder:
        temporary = Path(folder) / path.name
        temporary.write_bytes(data)
        temporary.chmod(mode)
        os.replace(temporary, path)


def _print_diff(laid: _Laid) -> None:
    old, new = (text.splitlines(keepends=True) for text in (laid.old, laid.new))
    for line in difflib.unified_diff(old, new, laid.name, f"{laid.name} (formatted)"):
        print(line, end="" if line.endswith("\n") else "\n\\ No newline at end of file\n")
