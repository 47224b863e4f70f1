"""Files -> texts, with limits: nothing larger than asked for is ever read."""

from __future__ import annotations

from pathlib import Path

from sparsec import files
from sparsec.diagnostics import CannotRead, NotUtf8, SparsecError, TextTooLong
from sparsec.source import Source, Span
from sparsec.syntax.check import MAX_TEXT


def read(path: str | Path, span: Span | None = None) -> Source:
    """The text of a .spat file, named as given.  SparsecError (SP0101, SP0701, SP0801) at `span`, where it is used."""
    data = read_bytes(path, 4 * MAX_TEXT, span)
    if data is None:
        raise SparsecError(TextTooLong(name=str(path), limit=MAX_TEXT, span=span))
    return decode(str(path), data, span)


def read_bytes(path: str | Path, limit: int, span: Span | None = None) -> bytes | None:
    """What an ordinary file holds, or None when that is more than `limit` bytes.  SparsecError SP0701."""
    try:
        return files.read(path, limit)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (getattr(error, "strerror", None) or "not a file name").lower()
        raise SparsecError(CannotRead(name=str(path), reason=reason, span=span)) from None


def decode(name: str, data: bytes, span: Span | None = None) -> Source:
    """The text of some bytes; a byte order mark is left out and line ends become `\\n`.  SparsecError SP0101."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SparsecError(NotUtf8(name=name, offset=error.start, span=span)) from None
    return Source(name, text.replace("\r\n", "\n"))
