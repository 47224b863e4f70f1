"""`sparsec tune`: for every kernel of some patterns the settings around the usual one, proved right, then timed in
turns with it; the best of them become tuned settings.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Protocol

from sparsec.codegen.tuned import Place, Tuned
from sparsec.diagnostics import EnvironmentLacks, SparsecError
from sparsec.kernels.machine.settings import Setting
from sparsec.tuning.candidates import candidates
from sparsec.tuning.journal import Journal, Trial

ROUNDS = 9
_FEW_ROUNDS, _HOPELESS = 2, 1.15  # a setting that is so much slower after so few rounds is given up
_WORTH = 0.98  # of the usual time: less is noise
_HARM = 1.02  # of the usual time: what is slower for one pattern is for none


class Subject(Protocol):
    """A pattern whose kernels can be given other settings (sparsec.tuning.subject)."""

    name: str
    digest: str  # of everything that decides its times

    def kernels(self) -> Mapping[Place, Setting]:
        """What it runs, with the usual settings."""

    def refusal(self, place: Place, setting: Setting) -> str | None:
        """Why a setting can't be had: it does not compile, spills, does not fit, or its results differ.  GpuLost."""

    def turn(self, place: Place, setting: Setting) -> float:
        """ms of one run."""


class Progress(Protocol):
    """What is told while it goes on."""

    def start(self, name: str, count: int) -> None:
        """So many settings of a pattern are to be tried."""

    def advance(self, place: Place, setting: Setting, trial: Trial) -> None:
        """One of them was."""


@dataclass(frozen=True)
class Limits:
    """How much to try: settings of each kernel, and seconds in all (None: no end)."""

    most: int = 16
    seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The better settings found, the places where the usual one is best, and whether every setting was tried."""

    better: Tuned = field(default_factory=Tuned)
    usual: Mapping[Place, Setting] = field(default_factory=dict)
    complete: bool = True

    def merged(self, before: Tuned, packaged: Tuned) -> Tuned:
        """A file that held `before`, with what was found; `packaged` is under it."""
        kept = {place: setting for place, setting in before.settings.items() if place not in self.usual}
        against = {place: setting for place, setting in self.usual.items() if place in packaged.settings}
        notes = {place: note for place, note in before.measured.items() if place in kept}
        return self.better.over(Tuned({**kept, **against}, notes))


class GpuLost(SparsecError):
    """A setting after which the GPU does not answer this process any more."""

    def __init__(self, place: Place, setting: Setting) -> None:
        wanted = f"going on after {setting} of {place.kernel}, {place.shape},"
        hint = "run it again: it passes over this setting and goes on"
        super().__init__(EnvironmentLacks(wanted=wanted, lacking="a GPU that still answers", hint=hint))


@dataclass(frozen=True)
class _Sweep:
    """What is to be tried of a subject, and what was."""

    name: str
    kernels: Mapping[Place, Setting]
    wanted: Mapping[Place, list[Setting]]
    found: dict[Place, dict[Setting, Trial]]

    def done(self, place: Place) -> bool:
        return len(self.found[place]) == len(self.wanted[place])


def tune(
    openers: Mapping[Callable[[], Subject], set[tuple[str, str]]],
    journal: Journal,
    known: Tuned,
    limits: Limits,
    progress: Progress,
    conditions: Mapping[str, object],
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Open the subjects one after another, with (kernel, shape) of their kernels known beforehand, and sweep them.

    A kernel that several have is decided by all of them, so only once none is left that was not swept.  `conditions`
    are noted beside each setting.
    """
    end = None if limits.seconds is None else clock() + limits.seconds
    left, sweeps = list(openers.values()), []
    for opener in openers:
        del left[0]
        subject = opener()
        sweeps.append(sweep := _planned(subject, known, limits))
        progress.start(subject.name, sum(map(len, sweep.wanted.values())))
        whole = _swept(subject, sweep, journal, progress, lambda: end is not None and clock() >= end)
        del subject  # and its memory on the GPU, before the next is opened
        if not whole:
            return _decided(sweeps, set().union(*left), conditions, complete=False)
    return _decided(sweeps, set(), conditions, complete=True)


def _planned(subject: Subject, known: Tuned, limits: Limits) -> _Sweep:
    kernels = subject.kernels()
    wanted = {place: candidates(usual, limits.most, known.settings.get(place)) for place, usual in kernels.items()}
    return _Sweep(subject.name, kernels, wanted, {place: {} for place in wanted})


def _swept(subject: Subject, sweep: _Sweep, journal: Journal, progress: Progress, late: Callable[[], bool]) -> bool:
    """Whether all was tried before it was late."""
    for place, settings in sweep.wanted.items():
        for setting in settings:
            key = (subject.digest, place, setting)
            trial = journal.find(key)
            if trial is None:
                if late():
                    return False
                journal.begin(key)
                try:
                    trial = _trial(subject, place, sweep.kernels[place], setting)
                except GpuLost:
                    journal.end(key, Trial(skipped="the GPU stopped"))
                    raise
                journal.end(key, trial)
            sweep.found[place][setting] = trial
            progress.advance(place, setting, trial)
    return True


def _trial(subject: Subject, place: Place, usual: Setting, setting: Setting) -> Trial:
    if reason := subject.refusal(place, setting):
        return Trial(skipped=reason)
    before, after = [], []
    for done in range(1, ROUNDS + 1):
        before.append(subject.turn(place, usual))
        after.append(subject.turn(place, setting))
        if done == _FEW_ROUNDS and min(after) > _HOPELESS * max(before):
            break
    ratio = statistics.median(ms / usual_ms for ms, usual_ms in zip(after, before, strict=True))
    return Trial(ratio, statistics.median(before), statistics.median(after))


# ---------------------------------------------------------------- the choice


def _decided(
    sweeps: list[_Sweep], open_kinds: set[tuple[str, str]], conditions: Mapping[str, object], complete: bool
) -> Outcome:
    settings, measured, usual = {}, {}, {}
    for place in dict.fromkeys(place for sweep in sweeps for place in sweep.kernels):
        those = [sweep for sweep in sweeps if place in sweep.kernels]
        if (place.kernel, place.shape) in open_kinds or not all(sweep.done(place) for sweep in those):
            continue
        setting, ratio = _best([sweep.found[place] for sweep in those])
        if setting is None:
            usual[place] = those[0].kernels[place]
        else:
            settings[place] = setting
            measured[place] = {**conditions, "ratio": round(ratio, 4), "on": [sweep.name for sweep in those]}
    return Outcome(Tuned(settings, measured), usual, complete)


def _best(trials: list[dict[Setting, Trial]]) -> tuple[Setting | None, float]:
    """The setting with the least time over the usual one's, in the geometric mean; None where none is worth it."""
    means: dict[Setting, float] = {}
    for setting in trials[0]:
        tried = [each[setting] for each in trials if setting in each]
        ratios = [trial.ratio for trial in tried if trial.ratio is not None]
        if len(ratios) == len(trials) and max(ratios) <= _HARM:
            means[setting] = prod(ratios) ** (1 / len(ratios))
    best = min(means, key=lambda setting: means[setting], default=None)
    return (best, means[best]) if best is not None and means[best] <= _WORTH else (None, 1.0)
