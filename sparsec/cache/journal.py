"""A file of JSON objects, one a line, that a command writes as it goes, so that one that was killed goes on from there.

A line that can't be read (the last of a killed run, or a damaged one) is as if it were not there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO, Self

from sparsec.diagnostics import CannotWrite, SparsecError


class Lines:
    """The lines of a file, for one process at a time.  SparsecError SP0702 where that can't be."""

    def __init__(self, path: Path, command: str) -> None:
        """`command`: who writes to it, for the message of a second one."""
        self.path = path
        self.damaged = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file: BinaryIO = open(path, "a+b")  # noqa: SIM115
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from None
        if not _locked(self.file):
            self.file.close()
            raise self._failed(f"another `{command}` writes to it")
        self._read()

    def take(self, entry: Any) -> None:
        """An entry that was read; errors of its form (ValueError, TypeError, KeyError, AttributeError) drop it."""
        raise NotImplementedError

    def add(self, entry: dict[str, Any]) -> None:
        """Write an entry, and wait until it is on the disk."""
        try:
            self.file.write(f"{json.dumps(entry)}\n".encode())
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from None

    def remove(self) -> None:
        """Everything was used: the next run begins anew."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.file.close()

    def _read(self) -> None:
        self.file.seek(0)
        data = self.file.read()
        for line in data.splitlines():
            try:
                self.take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self.damaged += 1
        if data and not data.endswith(b"\n"):  # a line that was cut short must not swallow the next
            self.file.write(b"\n")

    def _failed(self, reason: str) -> SparsecError:
        return SparsecError(CannotWrite(name=str(self.path), reason=reason.lower()))


def _locked(file: BinaryIO) -> bool:
    """Whether the file is this process's alone; where files have no locks, on Windows, it is taken to be."""
    try:
        import fcntl
    except ModuleNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
