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


class Adviser:
    """Advice about the patterns of one file, in turn, as long as the steps last that they share.

    `work` and `beside_dense` count what the plan of a pattern visits.  With a depth, it is also said whether so many
    layers that are alike reach everything.
    """

    def __init__(self, work: Work, beside_dense: BesideDense, depth: int | None) -> None:
        self.work, self.beside_dense, self.depth = work, beside_dense, depth
        self.left = budgets.ADVICE + (budgets.REACH if depth else 0)

    @property
    def exhausted(self) -> bool:
        """Whether the steps are used up: the last pattern was not looked at in full, and no other will be."""
        return self.left <= 0

    def __call__(self, subject: Subject) -> list[Diagnostic]:
        """Advice about one pattern.  Nothing where data of the call decides."""
        if subject.pattern.inputs or self.exhausted:
            return []
        with allowance(self.left) as own:
            found = self._advice(subject)
        self.left = own.left
        return found

    def _advice(self, subject: Subject) -> list[Diagnostic]:
        found = _trusted(splits_tiles(subject, self.work), budgets.TILES)
        found += _trusted(no_faster(subject, self.beside_dense), budgets.TILES)
        if len(subject.pattern.conditions) <= _MOST_CONDITIONS:
            found += _trusted(_decoding(subject), budgets.DECODING)
            if self.depth:
                causal = all(map(is_causal, subject.pattern.conditions))
                found += _trusted(out_of_reach(subject, self.depth, causal), budgets.REACH)
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
