"""Files -> texts, with limits: nothing larger than asked for is ever read."""

from __future__ import annotations

import os
from pathlib import Path

from sparsec import files
from sparsec.diagnostics import CannotRead, NotUtf8, SparsecError, TextTooLong
from sparsec.source import Source, Span
from sparsec.syntax.check import MAX_TEXT

SUFFIX = ".spat"


def read(path: str | Path, span: Span | None = None, trees: tuple[str, ...] | None = None) -> Source:
    """The text of a .spat file, named as given.  SparsecError (SP0101, SP0701, SP0801) at `span`, where it is used.

    A file that a text names, not its user, is quotable within `trees` only, which are real paths of folders.
    """
    data = read_bytes(path, 4 * MAX_TEXT, span)
    if data is None:
        raise SparsecError(TextTooLong(name=str(path), limit=MAX_TEXT, span=span))
    return decode(str(path), data, span, trees)


def read_bytes(path: str | Path, limit: int, span: Span | None = None) -> bytes | None:
    """What an ordinary file holds, or None when that is more than `limit` bytes.  SparsecError SP0701."""
    try:
        return files.read(path, limit)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (getattr(error, "strerror", None) or "not a file name").lower()
        text = "is this a pattern's text? sparsec.compile takes one, and a command behind `-e`"
        hint = text if _is_text(str(path)) else ""
        raise SparsecError(CannotRead(name=str(path), reason=reason, hint=hint, span=span)) from None


def _is_text(name: str) -> bool:
    """Whether what was given as the name of a file looks like the text of a pattern."""
    return not name.endswith(SUFFIX) and ("pattern " in name or "=" in name)


def decode(name: str, data: bytes, span: Span | None = None, trees: tuple[str, ...] | None = None) -> Source:
    """The text of some bytes; a byte order mark is left out and line ends become `\\n`.  SparsecError SP0101."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SparsecError(NotUtf8(name=name, offset=error.start, span=span)) from None
    return with_line_ends(name, text, _quotable(name, trees))


def with_line_ends(name: str, text: str, quotable: bool = True) -> Source:
    """A text with line feeds for CRLF; a carriage return that stands alone stays, to be refused (SP0102)."""
    return Source(name, text.replace("\r\n", "\n"), quotable)


def _quotable(name: str, trees: tuple[str, ...] | None) -> bool:
    """A text from elsewhere may `use "/proc/self/environ"`, or be a link to it called `p.spat`."""
    if trees is None and not name.endswith(SUFFIX):
        return True  # what a user names by name
    real = os.path.realpath(name)
    return real.endswith(SUFFIX) and (trees is None or any(Path(real).is_relative_to(tree) for tree in trees))
