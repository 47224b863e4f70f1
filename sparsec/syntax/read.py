"""Files -> texts, with limits: nothing larger than asked for is ever read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

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
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SparsecError(CannotRead(name=str(path), reason="not an ordinary file", span=span))
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (getattr(error, "strerror", None) or "not a file name").lower()
        raise SparsecError(CannotRead(name=str(path), reason=reason, span=span)) from None
    return data if len(data) <= limit else None


def _open_at_once(path: str, flags: int) -> int:
    """Opening a pipe must not wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def decode(name: str, data: bytes, span: Span | None = None) -> Source:
    """The text of some bytes; a byte order mark is left out and line ends become `\\n`.  SparsecError SP0101."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SparsecError(NotUtf8(name=name, offset=error.start, span=span)) from None
    return Source(name, text.replace("\r\n", "\n"))
