"""Whether the layers of a model carry information from every token to every query."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.analysis.reach import Reach, power, reach
from sparsec.diagnostics import Diagnostic, Unreachable
from sparsec.lint.subject import Subject
from sparsec.sets import budgets
from sparsec.sets import reach as sets
from sparsec.sets.context import OutOfBudget, budget


def out_of_reach(subject: Subject, depth: int, causal: bool) -> Iterator[Diagnostic]:
    """The shortest call in which `depth` layers leave something out, whatever tables list, and the depth it takes."""
    conditions = subject.pattern.conditions
    try:
        with budget(budgets.REACH):
            through = power(sets.layer(conditions), depth, sets.composed)
            missing = sets.lacking(through, past_only=causal)
    except OutOfBudget:
        return
    if missing is not None:
        found = reach([conditions] * depth, missing.n)
        span = subject.definition.body.span
        yield Unreachable(
            depth=depth,
            n=missing.n,
            q=missing.q,
            k=missing.k,
            reached=_reached(found),
            where=subject.where(),
            span=span,
        )


def _reached(found: Reach) -> str:
    """What depth does, empty where that is not known."""
    if found.full is False:
        return "no number of layers does"
    if found.full is None or found.settled is None or found.settled[0] != found.settled[1]:
        return ""
    return f"{found.settled[0]} layers do at that length"
