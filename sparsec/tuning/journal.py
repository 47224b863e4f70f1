"""What was measured so far, one JSON object a line, so that a tuning that was killed goes on where it was.

A line that can't be read (the last of a killed run, or a damaged one) is as if it were not there.  Before a setting is
tried a line says so; one that twice came to no end is not tried again, since it takes the process with it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

from sparsec.codegen.tuned import Place
from sparsec.diagnostics import CannotWrite, SparsecError
from sparsec.kernels.settings import Setting

_MOST_TRIES = 2

Key = tuple[str, Place, Setting]  # what was measured, by a digest of everything that decides the figures


@dataclass(frozen=True, slots=True)
class Trial:
    """The median ratio of a setting's times to the usual one's, turn by turn, and both medians in ms; or why it was
    left out, and no times.
    """

    ratio: float | None = None
    usual_ms: float | None = None
    ms: float | None = None
    skipped: str = ""


class Journal:
    """The journal of one file of settings, for one process at a time.  SparsecError SP0702 where that can't be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials: dict[Key, Trial] = {}
        self.tries: Counter[Key] = Counter()
        self.damaged = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file: BinaryIO = open(path, "a+b")  # noqa: SIM115
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from None
        if not _locked(self.file):
            self.file.close()
            raise self._failed("another `sparsec tune` writes to it")
        self._read()

    def find(self, key: Key) -> Trial | None:
        """What is known of a setting."""
        if key in self.trials:
            return self.trials[key]
        return Trial(skipped="it ended the process twice") if self.tries[key] >= _MOST_TRIES else None

    def begin(self, key: Key) -> None:
        self.tries[key] += 1
        self._write(key, {"tried": True})

    def end(self, key: Key, trial: Trial) -> None:
        self.trials[key] = trial
        self._write(key, {"trial": asdict(trial)})

    def remove(self) -> None:
        """Everything was measured and used: the next tuning measures anew."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.file.close()

    def _write(self, key: Key, what: dict) -> None:
        digest, place, setting = key
        line = json.dumps({"of": digest, "place": asdict(place), "setting": setting, **what})
        try:
            self.file.write(f"{line}\n".encode())
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from None

    def _read(self) -> None:
        self.file.seek(0)
        data = self.file.read()
        for line in data.splitlines():
            self._take(line)
        if data and not data.endswith(b"\n"):  # a line that was cut short must not swallow the next
            self.file.write(b"\n")

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            key = (entry["of"], Place(**entry["place"]), tuple(entry["setting"]))
            if entry.get("tried"):
                self.tries[key] += 1
            else:
                self.trials[key] = _trial(**entry["trial"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.damaged += 1

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


def _trial(ratio: float | None, usual_ms: float | None, ms: float | None, skipped: str) -> Trial:
    """TypeError or ValueError for what no tuning writes."""
    if not isinstance(skipped, str):
        raise TypeError("skipped")
    if skipped:
        return Trial(skipped=skipped)
    if ratio is None or usual_ms is None or ms is None:
        raise TypeError("times")
    ratio, usual_ms, ms = float(ratio), float(usual_ms), float(ms)
    if not all(0 < value < float("inf") for value in (ratio, usual_ms, ms)):
        raise ValueError("times")
    return Trial(ratio, usual_ms, ms)
