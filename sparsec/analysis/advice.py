"""What might serve better than a pattern that is right: `sparsec check --lint`.

Every claim is proved by sets or counted before it is made, and so is what its cure promises: the changed pattern is
lowered and looked at in the same way.  What exceeds its budget is not said.
"""

from __future__ import annotations

from sparsec.analysis.advice_decoding import few_look_ahead, no_sink, unbounded
from sparsec.analysis.advice_reach import out_of_reach
from sparsec.analysis.advice_tiles import Work, splits_tiles
from sparsec.analysis.facts import is_causal
from sparsec.analysis.subject import Lower, Subject
from sparsec.diagnostics import Diagnostic
from sparsec.ir import nodes as ir
from sparsec.syntax import ast

_MOST_CONDITIONS = 8


def advise(file: ast.File, pattern: ir.Pattern, lower: Lower, work: Work, depth: int | None) -> list[Diagnostic]:
    """Advice about one pattern of a file; `lower` makes it from a changed file, SparsecError where that fails.

    With a depth, also whether so many layers that are alike reach everything.
    """
    definition = next(each for each in file.definitions if each.kind == "pattern" and each.name == pattern.name)
    subject = Subject(file, definition, pattern, lower)
    found = list(splits_tiles(subject, work))
    if len(pattern.conditions) <= _MOST_CONDITIONS:
        causal = all(map(is_causal, pattern.conditions))
        found += [*no_sink(subject), *unbounded(subject)] if causal else few_look_ahead(subject)
        found += out_of_reach(subject, depth, causal) if depth else ()
    return found
