"""What might serve better than a pattern that is right: `sparsec check --lint`.

Every claim is proved by sets or counted before it is made, and so is what its cure promises: the changed pattern is
lowered and looked at in the same way.  What exceeds its budget is not said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from sparsec.analysis.facts import is_causal
from sparsec.analysis.numbers import Uncounted
from sparsec.diagnostics import Diagnostic
from sparsec.lint.decoding import few_look_ahead, no_sink, unbounded
from sparsec.lint.dense import BesideDense, no_faster
from sparsec.lint.receptive_field import out_of_reach
from sparsec.lint.subject import Subject
from sparsec.lint.tiles import Work, splits_tiles
from sparsec.sets import budgets
from sparsec.sets.context import allowance

_MOST_CONDITIONS = 8


def advise(subject: Subject, work: Work, beside_dense: BesideDense, depth: int | None) -> list[Diagnostic]:
    """Advice about one pattern of a file; `work` and `beside_dense` count what its plan visits.

    With a depth, also whether so many layers that are alike reach everything.  Nothing where data of the call decides.
    """
    if subject.pattern.inputs:
        return []
    found = _trusted(splits_tiles(subject, work), budgets.TILES)
    found += _trusted(no_faster(subject, beside_dense), budgets.TILES)
    if len(subject.pattern.conditions) <= _MOST_CONDITIONS:
        found += _trusted(_decoding(subject), budgets.DECODING)
        if depth:
            causal = all(map(is_causal, subject.pattern.conditions))
            found += _trusted(out_of_reach(subject, depth, causal), budgets.REACH)
    return found


def _decoding(subject: Subject) -> Iterator[Diagnostic]:
    if all(map(is_causal, subject.pattern.conditions)):
        yield from no_sink(subject)
        yield from unbounded(subject)
    else:
        yield from few_look_ahead(subject)


def _trusted(advice: Iterable[Diagnostic], operations: int) -> list[Diagnostic]:
    """The advice that is found before the steps are used up: what is asked for then may get a coarser answer."""
    found = []
    with allowance(operations) as allowed, suppress(Uncounted):
        for each in advice:
            if allowed.cut:
                break
            found.append(each)
    return found
