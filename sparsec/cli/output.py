"""Where text goes: diagnostics to the error stream, coloured where somebody looks; files in one step."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from sparsec.diagnostics import CannotWrite, Diagnostic, SparsecError, render
from sparsec.terminal import coloured


def report(diagnostics: Iterable[Diagnostic]) -> None:
    """Print diagnostics to the error stream, a blank line after each."""
    colour = coloured(sys.stderr, os.environ)
    for diagnostic in diagnostics:
        print(render(diagnostic, colour), end="\n\n", file=sys.stderr)


def write(path: Path, data: bytes, mode: int = 0o666) -> None:
    """A new file, or one in the place of another, whole or not at all.  SparsecError SP0702."""
    from sparsec.cache.files import replace

    _or_refused(path, lambda: replace(path, data, mode))


def rewrite(path: Path, data: bytes) -> None:
    """A file with other contents, whole or not at all: it keeps its permissions, and a link to it stays one.

    SparsecError SP0702.
    """
    from sparsec.cache.files import replace

    def change() -> None:
        target = path.resolve()
        with open(target, "r+b") as file:  # a file that may not be written to is not to be replaced either
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        replace(target, data, mode)
        os.chmod(target, mode)  # what the umask took away

    _or_refused(path, change)


def _or_refused(path: Path, change: Callable[[], None]) -> None:
    try:
        change()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (getattr(error, "strerror", None) or "not a file name").lower()
        raise SparsecError(CannotWrite(name=str(path), reason=reason)) from None
