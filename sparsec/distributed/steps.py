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

Where data of the call decide, these are read at positions of queries and of keys alike.  So queries of a segment have
a step against the segment's keys, and then others against a run around all keys that they see, in which those before
the segment, and then those behind it, count.  With documents that the device knows and with dropout, steps are as
without, but that nothing is shifted.

A rank waits for all keys before anything else where a call chooses by content, which is judged by all of them, and
where the device alone knows documents, and data are read or the pattern names n: positions are not known here then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from sparsec.analysis.sharding import Shards
from sparsec.analysis.touch import Segment, touch
from sparsec.distributed.forms import Document, Forms, Placed, Run, Step, Steps, line_of, own_run

_MOST_RUNS = 8  # of received keys: more calls take longer than zeros between keys
_MOST_ALONE = 8  # documents that have a step each; more of a rank's own go together
_SMALL_GAP = 256  # keys that nobody needs, and that are not worth a run of their own


def steps_of(
    forms: Forms,
    shards: Shards,
    rank: int,
    classes: Sequence[tuple[int, ...]],
    unknown: bool = False,
    dropped: bool = False,
) -> Steps:
    """What a rank does; `classes`: the distinct conditions of its key heads.

    `unknown`: the device alone knows where documents begin; `dropped`: weights are dropped.
    """
    documents = _documents(shards, rank)
    numbers = sorted({number for each in classes for number in each})
    if forms.chooses or (unknown and (forms.has_data or forms.whole)):
        return _as_steps(_spans(forms, shards, documents, numbers))
    if forms.has_data or (dropped and not unknown and (forms.whole or not forms.by_table)):
        return _as_steps(_own_first(forms, shards, documents, numbers))
    if (unknown or dropped) and (some := _in_runs(forms, shards, rank, documents, numbers, in_place=True)):
        return _as_steps(some)
    alone = [each for each in documents if _is_alone(*each)]
    if not forms.by_table or len(alone) <= _MOST_ALONE:
        alone = []
    rest = [each for each in documents if each not in alone]
    found = None if forms.whole else _in_runs(forms, shards, rank, rest, numbers)
    return _as_steps(_with_alone(forms, alone, *(found or _spans(forms, shards, rest, numbers))))


def _as_steps(found: tuple[Sequence[Run], Sequence[Step]]) -> Steps:
    return Steps(tuple(found[0]), tuple(found[1]))


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
            before[-1] = own_run(document, (0, rows[1] - first), (first, rows[1]))
            continue
        packed.append(Step(rows, len(before), forms.plain, lines=(line,)))
        before.append(own_run(document, (0, rows[1] - rows[0]), rows))
    moved = (replace(step, run=step.run + len(before)) for step in steps)
    return (*before, *runs), (*packed, *moved)


def _spans(
    forms: Forms, shards: Shards, documents: list[Document], numbers: Sequence[int]
) -> tuple[list[Run], list[Step]]:
    """Runs around the keys that a segment's queries see and its own, those that overlap as one, and a step for each."""
    runs: list[Run] = []
    steps: list[Step] = []
    for document, segments in documents:
        for run, some in _spans_of(forms, shards, document, segments, numbers):
            for rows, own in some:
                lines = (line_of(rows, own[0], run),) if run.first else ()
                steps.append(Step(rows, len(runs), forms.plain, 0 if lines else own[0], lines))
            runs.append(run)
    return runs, steps


def _own_first(
    forms: Forms, shards: Shards, documents: list[Document], numbers: Sequence[int]
) -> tuple[list[Run], list[Step]]:
    """Segments against their own keys, then against the keys around them; all stay where they are."""
    runs: list[Run] = []
    steps: list[Step] = []
    for document, segments in documents:
        for rows, own in segments:
            n = document[1] - document[0]
            first, stop = (0, n) if forms.whole else (0, own[1]) if forms.from_start else own
            run = Run(document, first, stop, ((rows, (own[0] - first, own[1] - first)),))
            if seen := _seen_from(forms, shards, (rows, own), own, n, numbers):
                if run.rows is None:
                    steps.append(forms.step_within(*seen, len(runs), run, own))
                else:
                    steps += filter(None, [forms.step(*seen, len(runs), run, in_place=True)])
                runs.append(run)
    for document, segments in documents:
        for run, some in _spans_of(forms, shards, document, segments, numbers):
            found: list[Step] = []
            for placed in some:
                _, own = placed
                for keys in ((run.first, own[0]), (own[1], run.stop)):
                    if seen := _seen_from(forms, shards, placed, keys, document[1] - document[0], numbers):
                        found.append(forms.step_within(*seen, len(runs), run, keys))
            if found:
                runs.append(run)
                steps += found
    return runs, steps


def _spans_of(
    forms: Forms, shards: Shards, document: Segment, segments: Sequence[Placed], numbers: Sequence[int]
) -> Iterator[tuple[Run, list[Placed]]]:
    """Runs around the keys that segments of a document see and their own, with the segments."""
    n = document[1] - document[0]
    spans: list[tuple[Segment, list[Placed]]] = []
    for placed in segments:
        first, stop = (0, n) if forms.whole else _around(shards, placed[1], n, numbers)
        spans.append(((0 if forms.from_start else first, stop), [placed]))
    for (first, stop), some in _merged(spans):
        own = tuple((rows, (place[0] - first, place[1] - first)) for rows, place in some)
        yield Run(document, first, stop, own, received=True), some


def _around(shards: Shards, queries: Segment, n: int, numbers: Sequence[int]) -> Segment:
    """From the first to behind the last of the keys that some queries see, and of their own."""
    seen = [np.flatnonzero(touch(shards.pattern.conditions[number]).keys(queries, n)) for number in numbers]
    places = [queries[0], queries[1] - 1, *(int(edge) for each in seen if len(each) for edge in (each[0], each[-1]))]
    return min(places), max(places) + 1


def _merged(spans: list[tuple[Segment, list[Placed]]]) -> list[tuple[Segment, list[Placed]]]:
    """Spans that have no key in common: a key's gradient comes from one run."""
    found: list[tuple[Segment, list[Placed]]] = []
    for (first, stop), some in sorted(spans):
        if found and first < found[-1][0][1]:
            (begin, end), others = found.pop()
            first, stop, some = begin, max(end, stop), [*others, *some]
        found.append(((first, stop), some))
    return found


def _in_runs(
    forms: Forms,
    shards: Shards,
    rank: int,
    of_documents: list[Document],
    numbers: Sequence[int],
    in_place: bool = False,
) -> tuple[list[Run], list[Step]] | None:
    """Runs of own keys and then received ones, each with steps of the queries that see some; None where no operator
    can say one of them.
    """
    own = [
        (own_run(document, segment, rows), segments)
        for document, segments in of_documents
        for rows, segment in segments
    ]
    received = [
        (run, segments)
        for document, segments in of_documents
        for run in _received_runs(shards, rank, document, segments, numbers)
    ]
    runs: list[Run] = []
    steps: list[Step | None] = []
    for run, segments in (*own, *received):
        n, keys = run.document[1] - run.document[0], (run.first, run.stop)
        found = (_seen_from(forms, shards, placed, keys, n, numbers) for placed in segments)
        made = [forms.step(*seen, len(runs), run, in_place) for seen in found if seen]
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


def _seen_from(
    forms: Forms, shards: Shards, placed: Placed, keys: Segment, n: int, numbers: Sequence[int]
) -> tuple[Segment, int] | None:
    """The rows of a segment that see some of the keys, and the position of the first of them; None: none does.

    All rows of a segment where lists are about blocks of queries.
    """
    (row, _), segment = placed
    if keys[0] >= keys[1]:
        return None
    seen = (touch(shards.pattern.conditions[number]).queries(segment, keys, n) for number in numbers)
    some = [each for each in seen if each]
    if not some:
        return None
    first, stop = min(low for low, _ in some), max(high for _, high in some)
    if forms.has_lists:
        first, stop = segment
    return (row + first - segment[0], row + stop - segment[0]), first


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
    return [Run(document, int(places[a]), int(places[b - 1]) + 1, received=True) for a, b in pairwise(firsts)]
