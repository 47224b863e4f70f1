"""The standard streams as a caller may leave them: closed, on a full disk, a pipe whose reader has gone."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, TypeGuard

from sparsec.diagnostics import CannotWrite, SparsecError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def prepare() -> None:
    """Make both streams for output fit to print to, whatever they are.

    Characters that their encoding lacks are replaced.  What a reader no longer wants, as in `sparsec cost FILE | head`,
    is dropped, and the command ends as it would have.  Output that is lost otherwise raises SparsecError SP0702; where
    messages go, nothing can be said any more, and they are dropped.
    """
    _occupy()
    if sys.stdout is None:
        sys.stdout = _text(_Output(_STDOUT), io.TextIOWrapper(io.BytesIO(), "utf-8"))
    elif _is(sys.stdout, _STDOUT):
        sys.stdout = _text(_Output(_STDOUT), sys.stdout)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    elif _is(sys.stderr, _STDERR):
        sys.stderr = _text(_Messages(_STDERR), sys.stderr)


def _occupy() -> None:
    """Descriptors 0 to 2 that are closed would be those of the next files opened, and prints would go there."""
    for descriptor in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if descriptor == _STDERR else os.O_RDONLY)  # the lowest that is free


def _is(stream: TextIO, descriptor: int) -> TypeGuard[io.TextIOWrapper]:
    """Whether Python's own stream on the descriptor stands there still; what a caller has put there stays."""
    with suppress(OSError, ValueError):
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == descriptor
    return False


def _text(raw: _Output, like: io.TextIOWrapper) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=like.encoding,
        errors="replace",  # a message must not fail for want of a character
        line_buffering=like.line_buffering or like.write_through,  # what is unbuffered may not wait in our buffer
        write_through=like.write_through,
    )


class _Output(io.FileIO):
    """Standard output; after the first failure it leads nowhere, so that each is told once."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            self.failed(error)
            return memoryview(data).nbytes

    def failed(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            reason = "it is closed" if error.errno == errno.EBADF else (error.strerror or str(error)).lower()
            raise SparsecError(CannotWrite(name="<stdout>", reason=reason)) from None


class _Messages(_Output):
    """The error stream."""

    def failed(self, error: OSError) -> None:
        pass
