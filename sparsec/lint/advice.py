"""What might serve better than a pattern that is right: `sparsec check --lint`.

Every claim is proved by sets or counted before it is made, and so is what its cure promises: the changed pattern is
lowered and looked at in the same way.  What exceeds its budget is not said.
"""

from __future__ import annotations

from sparsec.analysis.facts import is_causal
from sparsec.diagnostics import Diagnostic
from sparsec.lint.decoding import few_look_ahead, no_sink, unbounded
from sparsec.lint.receptive_field import out_of_reach
from sparsec.lint.subject import Subject
from sparsec.lint.tiles import Work, splits_tiles

_MOST_CONDITIONS = 8


def advise(subject: Subject, work: Work, depth: int | None) -> list[Diagnostic]:
    """Advice about one pattern of a file.

    With a depth, also whether so many layers that are alike reach everything.
    """
    found = list(splits_tiles(subject, work))
    if len(subject.pattern.conditions) <= _MOST_CONDITIONS:
        causal = all(map(is_causal, subject.pattern.conditions))
        found += [*no_sink(subject), *unbounded(subject)] if causal else few_look_ahead(subject)
        found += out_of_reach(subject, depth, causal) if depth else ()
    return found
