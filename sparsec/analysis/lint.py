"""What is legal but odd about a pattern, as far as it can be proved.

Integer sets are loaded only where a look at a few points does not settle the matter; what exceeds its budget is
not reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sparsec.analysis.needless import Lower, adds_nothing
from sparsec.analysis.samples import leans_ahead, sees_itself
from sparsec.diagnostics import Diagnostic, EmptyPattern, Fix, NotCausal, RowsWithoutKeys, SeesAllLater
from sparsec.ir import nodes as ir
from sparsec.ir.lower_lint import past_only
from sparsec.syntax import ast

_OPERATIONS = 50_000  # isl steps for one proof
_MOST_CONDITIONS = 8
_PAST_WORDS = {"causal", "past", "autoregressive", "unidirectional"}
_NOT_WORDS = {"non", "not", "no", "un", "anti"}


def lint(file: ast.File, pattern: ir.Pattern, lower: Lower) -> list[Diagnostic]:
    """Warnings about one pattern of a file; `lower` makes it from a changed file, SparsecError where that fails."""
    definition = next(each for each in file.definitions if each.kind == "pattern" and each.name == pattern.name)
    return [
        *_without_keys(definition, pattern),
        *(_not_causal(definition, pattern) or _all_later(definition, pattern)),
        *adds_nothing(file, definition, pattern, lower),
    ]


def _without_keys(definition: ast.Definition, pattern: ir.Pattern) -> Iterator[Diagnostic]:
    """The shortest call in which some query has no key, whatever the tables list; or that none ever has one."""
    doubtful = [condition for condition in pattern.conditions if not sees_itself(condition)]
    found = [witness for condition in doubtful[:_MOST_CONDITIONS] if (witness := _asked("lonely_row", condition))]
    if len(found) == len(pattern.conditions) and all(_asked("no_pair", condition) for condition in pattern.conditions):
        yield EmptyPattern(name=definition.name, span=definition.name_span)
    elif found:
        first = min(found, key=lambda witness: (witness.n, witness.q))
        fix = Fix("let each query see itself", definition.body.span, f"{definition.body.span.text} | k == q")
        yield RowsWithoutKeys(row=first.q, n=first.n, span=definition.body.span, fixes=(fix,))


def _not_causal(definition: ast.Definition, pattern: ir.Pattern) -> list[Diagnostic]:
    """The first later key that is seen, where the name says that there are none."""
    words = re.findall(r"[a-z]+", definition.name.lower())
    if not _PAST_WORDS & set(words) or _NOT_WORDS & set(words):
        return []
    doubtful = [condition for condition in pattern.conditions if not past_only(condition)]
    found = [witness for condition in doubtful[:_MOST_CONDITIONS] if (witness := _asked("sure_later_key", condition))]
    if not found:
        return []
    first = min(found, key=lambda witness: (witness.n, witness.q, witness.k))
    fixes = (_only_past(definition),)
    return [NotCausal(name=definition.name, q=first.q, k=first.k, span=definition.name_span, fixes=fixes)]


def _all_later(definition: ast.Definition, pattern: ir.Pattern) -> list[Diagnostic]:
    """Where a head sees all of the future and only some of the past: the lower end of a distance was forgotten."""
    leaning = [condition for condition in pattern.conditions if leans_ahead(condition)]
    if not any(_asked("every_later_key", condition) for condition in leaning[:_MOST_CONDITIONS]):
        return []
    return [SeesAllLater(span=definition.body.span, fixes=(_only_past(definition),))]


def _only_past(definition: ast.Definition) -> Fix:
    body = definition.body.span
    return Fix("leave out later keys", body, f"k <= q & ({body.text})")


def _asked(question: str, condition: ir.Set):
    """The answer, None where it takes too long."""
    from sparsec.sets import queries
    from sparsec.sets.context import OutOfBudget, budget

    try:
        with budget(_OPERATIONS):
            return getattr(queries, question)(condition)
    except OutOfBudget:
        return None
