"""How a rank attends to keys that lie in several tensors: calls of operators whose results join as one softmax.

A step is a run of queries against a run of keys.  Runs of own keys come first, since they need no other rank; then
those that were received, at their own positions, with zeros where nothing is needed.  How a step says where its keys
stand:

| way | when |
|---|---|
| from 0 | its keys begin at position 0 |
| shifted | the pattern repeats along the diagonal, where these keys are: both sides move by the first key's position |
| by a table | elsewhere: the sequences of a packed call know a first position |
| whole | patterns that name n, or have tables: all keys of the document in one tensor, at their places |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import lcm
from typing import Any

import numpy as np

from sparsec.analysis.sharding import Segment, Shards, touch
from sparsec.ir import nodes as ir
from sparsec.ir import scores
from sparsec.ir.algebra import conjunction
from sparsec.ir.invariance import diagonal_period
from sparsec.kernels.packed import at_once
from sparsec.runtime.attend import Attend
from sparsec.runtime.derived import operator_of
from sparsec.sets.redundancy import given

_MOST_RUNS = 8  # of received keys: more calls take longer than zeros between keys
_MOST_ALONE = 8  # documents that have a step each; more of a rank's own go together
_SMALL_GAP = 256  # keys that nobody needs, and that are not worth a run of their own


Placed = tuple[Segment, Segment]  # rows of the rank's tensors, and their positions in a document
Document = tuple[Segment, list[Placed]]  # a document, and the parts of it that a rank holds


@dataclass(frozen=True)
class Form:
    """An operator, and by how much both sides may move at once without a change; None: not at all."""

    operator: Any  # sparsec.kernels.op.Operator
    period: int | None


@dataclass(frozen=True)
class Run:
    """Keys first..stop-1 of a document, the rank's own from row `own` of its tensors on, or received ones (None).

    `beside`: parts of a received run that are the rank's own, as rows of its tensors and of the run.
    """

    document: Segment
    first: int
    stop: int
    own: int | None = None
    beside: tuple[tuple[Segment, Segment], ...] = ()

    @property
    def length(self) -> int:
        return self.stop - self.first


Line = tuple[int, int, int, int, int, int]  # as of `kernels.sequences`, without the row of the batch


@dataclass(frozen=True)
class Step:
    """Queries `rows` of the rank's tensors against a run of keys, by number."""

    rows: Segment
    run: int
    form: Form
    q_offset: int = 0  # position of the first query, where keys begin at position 0
    lines: tuple[Line, ...] = ()  # by a table: its sequences


@dataclass(frozen=True)
class Steps:
    """What a rank does: runs of keys, own ones first, and steps by rising run."""

    runs: tuple[Run, ...]
    steps: tuple[Step, ...]


class Forms:
    """The operators that serve a pattern: itself, and as it is behind a threshold, where that is simpler."""

    def __init__(self, attend: Attend) -> None:
        self.pattern = attend.pattern.nodes
        self.plain = Form(attend._operator, _period(self.pattern))

    @cached_property
    def whole(self) -> bool:
        """Whether steps can't do with some of the keys."""
        if any(ir.leaves(each) or "n" in ir.names(each) for each in self.pattern.conditions):
            return True
        return "n" in _scored_by(self.pattern)

    @cached_property
    def by_table(self) -> bool:
        """Whether kernels can read a first position."""
        return at_once(self.plain.operator.program)

    @cached_property
    def behind(self) -> tuple[int, Form] | None:
        """A position, and what the pattern is for queries and keys from there on, where that repeats.

        past(512) | sinks(4) is past(512) from 4 on.
        """
        if self.plain.period is not None or self.whole:
            return None
        numbers = {
            part.value for each in self.pattern.conditions for part in ir.walk(each) if isinstance(part, ir.Const)
        }
        for least in sorted({number + more for number in numbers if number >= 0 for more in (0, 1)}):
            facts = conjunction(*(ir.Compare(ir.Const(least), "<=", ir.Var(name)) for name in "qk"))
            known = tuple(given(each, facts) for each in self.pattern.conditions)
            simpler = replace(self.pattern, conditions=known)
            period = _period(simpler)
            if period is not None and ir.FALSE not in known:
                return least, Form(operator_of(simpler), period)
        return None

    def step(self, rows: Segment, position: int, number: int, run: Run) -> Step | None:
        """Queries from `position` on against a run; None where no operator can say it."""
        if run.first == 0:
            return Step(rows, number, self.plain, position)
        if position >= run.first:
            if _moves(self.plain, run.first):
                return Step(rows, number, self.plain, position - run.first)
            if self.behind and run.first >= self.behind[0] and _moves(self.behind[1], run.first):
                return Step(rows, number, self.behind[1], position - run.first)
        line = 0, rows[1] - rows[0], 0, run.first, run.stop, position
        return Step(rows, number, self.plain, lines=(line,)) if self.by_table else None


def _moves(form: Form, distance: int) -> bool:
    return form.period is not None and distance % form.period == 0


def _scored_by(pattern: ir.Pattern) -> set[str]:
    """The variables that scores name."""
    parts = (part for each in pattern.scores if each is not None for part in scores.parts(each))
    return {part.name for part in parts if isinstance(part, ir.Var)}


def _period(pattern: ir.Pattern) -> int | None:
    if _scored_by(pattern) & {"q", "k", "n"}:
        return None
    periods = [diagonal_period(each) for each in pattern.conditions]
    return lcm(*(each for each in periods if each is not None)) if None not in periods else None


# ---------------------------------------------------------------- the steps of a rank


def steps_of(forms: Forms, shards: Shards, rank: int, classes: Sequence[tuple[int, ...]]) -> Steps:
    """What a rank does; `classes`: the distinct conditions of its key heads."""
    documents = _documents(shards, rank)
    alone = [each for each in documents if _is_alone(*each)]
    if not forms.by_table or len(alone) <= _MOST_ALONE:
        alone = []
    rest = [each for each in documents if each not in alone]
    found = None if forms.whole else _in_runs(forms, shards, rank, rest, classes)
    runs, steps = found or _whole(forms, rest)
    return Steps(*_with_alone(forms, alone, runs, steps))


def _is_alone(document: Segment, segments: list[Placed]) -> bool:
    """Whether the rank holds all of a document."""
    return [positions for _, positions in segments] == [(0, document[1] - document[0])]


def _with_alone(
    forms: Forms, alone: list[Document], runs: list[Run], steps: list[Step]
) -> tuple[tuple[Run, ...], tuple[Step, ...]]:
    """With documents that are the rank's alone before all others, those side by side in one step, as a packed call."""
    before: list[Run] = []
    packed: list[Step] = []
    for document, [(rows, _)] in alone:
        line = (0, rows[1] - rows[0], 0, 0, rows[1] - rows[0], 0)
        if packed and packed[-1].rows[1] == rows[0]:
            first = packed[-1].rows[0]
            line = (rows[0] - first, line[1], rows[0] - first, 0, line[4], 0)
            packed[-1] = replace(packed[-1], rows=(first, rows[1]), lines=(*packed[-1].lines, line))
            before[-1] = replace(before[-1], stop=rows[1] - first)
            continue
        packed.append(Step(rows, len(before), forms.plain, lines=(line,)))
        before.append(Run(document, 0, rows[1] - rows[0], rows[0]))
    moved = (replace(step, run=step.run + len(before)) for step in steps)
    return (*before, *runs), (*packed, *moved)


def _whole(forms: Forms, documents: list[Document]) -> tuple[list[Run], list[Step]]:
    runs: list[Run] = []
    steps: list[Step] = []
    for document, segments in documents:
        runs.append(Run(document, 0, document[1] - document[0], None, tuple(segments)))
        steps += [Step(rows, len(runs) - 1, forms.plain, first) for rows, (first, _) in segments]
    return runs, steps


def _in_runs(
    forms: Forms, shards: Shards, rank: int, of_documents: list[Document], classes: Sequence[tuple[int, ...]]
) -> tuple[list[Run], list[Step]] | None:
    own = [
        (Run(document, *segment, rows[0]), segments)
        for document, segments in of_documents
        for rows, segment in segments
    ]
    numbers = sorted({number for each in classes for number in each})
    received = [
        (run, segments)
        for document, segments in of_documents
        for run in _received_runs(shards, rank, document, segments, numbers)
    ]
    runs: list[Run] = []
    steps: list[Step | None] = []
    for run, segments in (*own, *received):
        made = [forms.step(rows, first, len(runs), run) for rows, first in _rows_of(forms, run, segments, numbers)]
        if made:
            runs.append(run)
            steps += made
    complete = [step for step in steps if step is not None]
    return (runs, complete) if len(complete) == len(steps) else None


def _documents(shards: Shards, rank: int) -> list[Document]:
    """The documents of which a rank holds a part, with these parts."""
    found: list[Document] = []
    for document in shards.documents:
        placed: list[Placed] = []
        for first, stop in shards.within(rank, document):
            row = int(shards.local(rank, np.array([document[0] + first]))[0])
            placed.append(((row, row + stop - first), (first, stop)))
        if placed:
            found.append((document, placed))
    return found


def _rows_of(forms: Forms, run: Run, segments: Sequence[Placed], numbers: Sequence[int]) -> list[tuple[Segment, int]]:
    """The rows that see a key of a run, and the position of the first of them, for each segment that has some."""
    found, n = [], run.document[1] - run.document[0]
    for (row, _), segment in segments:
        seen = (
            touch(forms.pattern.conditions[number]).queries(segment, (run.first, run.stop), n) for number in numbers
        )
        some = [each for each in seen if each]
        if some:
            first, stop = min(low for low, _ in some), max(high for _, high in some)
            found.append(((row + first - segment[0], row + stop - segment[0]), first))
    return found


def _received_runs(
    shards: Shards, rank: int, document: Segment, segments: Sequence[Placed], numbers: Sequence[int]
) -> list[Run]:
    """Runs around the keys that a rank gets of a document, none with a key of its own."""
    begin, end = document
    away = shards.needed(rank, tuple(numbers))[begin:end] & (shards.owner[begin:end] != rank)
    places = np.flatnonzero(away)
    if not len(places):
        return []
    before = np.searchsorted([first for _, (first, _) in segments], places)  # own segments in front of each
    gaps = np.diff(places)
    cut = np.diff(before) > 0
    wide = np.flatnonzero(~cut & (gaps > _SMALL_GAP))
    cut[wide[np.argsort(-gaps[wide], kind="stable")][: max(0, _MOST_RUNS - 1 - int(cut.sum()))]] = True
    firsts = [0, *(np.flatnonzero(cut) + 1), len(places)]
    return [Run(document, int(places[a]), int(places[b - 1]) + 1) for a, b in pairwise(firsts)]
