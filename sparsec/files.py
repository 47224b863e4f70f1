"""Reading files by name: ordinary ones only, never waiting for anybody, never more than asked for."""

from __future__ import annotations

import errno
import os
import stat

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_STEP = 1 << 20


def read(path: str | os.PathLike[str], most: int) -> bytes | None:
    """What an ordinary file holds, or None when that is more than `most` bytes.

    OSError where it can't be read: pipes, devices and folders included, and files that have nothing to give yet.
    ValueError for what is no file name.
    """
    descriptor = os.open(path, _FLAGS)  # opening a pipe must not wait for a writer
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not an ordinary file")
        return contents(descriptor, most)
    finally:
        os.close(descriptor)


def contents(descriptor: int, most: int) -> bytes | None:
    """The rest of an open file, or None when that is more than `most` bytes.  OSError, also where it would wait."""
    pieces, left = [], most + 1
    while left > 0 and (piece := os.read(descriptor, min(left, _STEP))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces) if left > 0 else None
