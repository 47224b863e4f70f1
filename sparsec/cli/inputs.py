"""The texts that a command is given: files, the .spat files of folders, standard input."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sparsec.cli import expressions
from sparsec.diagnostics import CannotRead, SparsecError, TextTooLong, printable
from sparsec.source import Source

Names = Annotated[
    list[str], typer.Argument(metavar="FILES", help="Files, folders with .spat files, or - for standard input.")
]

Expression = Annotated[
    list[str] | None,
    typer.Option(
        *expressions.OPTIONS, metavar="EXPR", help="In the place of a file: 'past(64) | sinks(4)', or declarations."
    ),
]

_STDIN = "-"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Input:
    """A text, the bytes that it was read from, and the file that holds them, None where none does."""

    source: Source
    data: bytes
    path: Path | None

    def encoded(self, text: str) -> bytes:
        """Another text in its place: with the line ends and the byte order mark that this one has."""
        ends = text.replace("\n", "\r\n") if b"\r\n" in self.data else text
        return (_BOM if self.data.startswith(_BOM) else b"") + ends.encode()


def named(names: Iterable[str]) -> list[str]:
    """The names, each once, with those of the .spat files in folders.  BadParameter for `-` among others."""
    names = list(names)
    if _STDIN in names and len(names) > 1:
        raise typer.BadParameter("- stands alone", param_hint="FILES")
    return list(dict.fromkeys(each for name in names for each in _inside(name)))


def shown(name: str) -> str:
    """What messages call it."""
    return "<stdin>" if name == _STDIN else name if expressions.text(name) is None else expressions.SHOWN


def read(name: str) -> Input:
    """SparsecError for what can't be read, is too long or not UTF-8."""
    from sparsec.syntax.check import MAX_TEXT
    from sparsec.syntax.read import decode, read_bytes, with_line_ends

    if (written := expressions.text(name)) is not None:
        return Input(with_line_ends(shown(name), written), written.encode(errors="surrogateescape"), None)
    limit = 4 * MAX_TEXT
    data = _standard_input(limit + 1) if name == _STDIN else read_bytes(name, limit)
    if data is None or len(data) > limit:
        raise SparsecError(TextTooLong(name=shown(name), limit=MAX_TEXT))
    return Input(decode(shown(name), data), data, None if name == _STDIN else Path(name))


def _inside(name: str) -> list[str]:
    """The file, or those of a folder in order of name; hidden folders are passed over.

    A folder that can't be listed stands for itself: reading it will say why.
    """
    if not os.path.isdir(name):
        return [name]
    found: list[str] = []
    refused: list[OSError] = []
    for folder, inside, files in os.walk(name, onerror=refused.append):
        inside[:] = [each for each in inside if not each.startswith(".")]
        found += [os.path.join(folder, each) for each in files if each.endswith(".spat")]
    found += [str(error.filename) for error in refused]
    if not found:
        print(f"{printable(name)}: no .spat files", file=sys.stderr)
    return sorted(found)


def _standard_input(most: int) -> bytes:
    try:
        data = sys.stdin.buffer.read(most)
        if data is None:  # a descriptor that does not block
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return data
    except (AttributeError, OSError, ValueError) as error:  # None where the caller closed it
        reason = (getattr(error, "strerror", None) or "it is closed").lower()
        raise SparsecError(CannotRead(name=shown(_STDIN), reason=reason)) from None
