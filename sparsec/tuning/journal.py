"""What was measured so far, one JSON object a line, so that a tuning that was killed goes on where it was.

A line that can't be read (the last of a killed run, or a damaged one) is as if it were not there.  Before a setting is
tried a line says so; one that twice came to no end is not tried again, since it takes the process with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparsec.cache.journal import Lines
from sparsec.codegen.tuned import Place
from sparsec.kernels.machine.settings import Setting

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


class Journal(Lines):
    """The journal of one file of settings, for one process at a time.  SparsecError SP0702 where that can't be."""

    def __init__(self, path: Path) -> None:
        self.trials: dict[Key, Trial] = {}
        self.tries: Counter[Key] = Counter()
        super().__init__(path, "sparsec tune")

    def find(self, key: Key) -> Trial | None:
        """What is known of a setting."""
        if key in self.trials:
            return self.trials[key]
        return Trial(skipped="it ended the process twice") if self.tries[key] >= _MOST_TRIES else None

    def begin(self, key: Key) -> None:
        self.tries[key] += 1
        self.add({**_entry(key), "tried": True})

    def end(self, key: Key, trial: Trial) -> None:
        self.trials[key] = trial
        self.add({**_entry(key), "trial": asdict(trial)})

    def take(self, entry: Any) -> None:
        key = (entry["of"], Place(**entry["place"]), tuple(entry["setting"]))
        if entry.get("tried"):
            self.tries[key] += 1
        else:
            self.trials[key] = _trial(**entry["trial"])


def _entry(key: Key) -> dict[str, Any]:
    digest, place, setting = key
    return {"of": digest, "place": asdict(place), "setting": setting}


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
