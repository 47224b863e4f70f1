"""What is legal but odd about a pattern, as far as it can be proved.

Integer sets are loaded only where a look at a few points does not settle the matter; what exceeds its budget is
not reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sparsec.analysis.samples import asked_of_queries, earlier_key, leans_ahead, sees_itself
from sparsec.diagnostics import Diagnostic, EmptyPattern, Fix, FutureOnly, NotCausal, RowsWithoutKeys, SeesAllLater
from sparsec.ir import nodes as ir
from sparsec.ir.ranges import MOST_POSITIONS
from sparsec.lint.inputs import numbers_for_each_pair
from sparsec.lint.needless import adds_nothing
from sparsec.lint.subject import Subject
from sparsec.lower.misread import past_only
from sparsec.syntax import ast

if TYPE_CHECKING:
    from sparsec.sets.witness import Witness

_MOST_CONDITIONS = 8
_PAST_WORDS = {"causal", "past", "autoregressive", "unidirectional"}
_NOT_WORDS = {"non", "not", "no", "un", "anti"}


def lint(subject: Subject) -> list[Diagnostic]:
    """Warnings about one pattern of a file."""
    return [
        *_without_keys(subject),
        *(_not_causal(subject) or _all_later(subject) or _future_only(subject)),
        *adds_nothing(subject),
        *numbers_for_each_pair(subject.entry),
    ]


def _without_keys(subject: Subject) -> Iterator[Diagnostic]:
    """The shortest call in which some query has no key, whatever the tables list; or that none ever has one.

    Nothing of a pattern on a canvas of fixed size, such as an image: calls are as long as the canvas.
    """
    definition, conditions = subject.definition, subject.pattern.conditions
    doubtful = [condition for condition in conditions if not sees_itself(condition)][:_MOST_CONDITIONS]
    found = [(witness, each) for each in doubtful if (witness := _asked("lonely_row", each))]
    if len(found) == len(conditions) and all(_asked("no_pair", condition) for condition in conditions):
        yield EmptyPattern(name=definition.name, where=subject.where(), span=definition.name_span)
        return
    found = [(inner, each) for witness, each in found if (inner := _within_canvas(witness, each))]
    if found:
        first, condition = min(found, key=lambda pair: (pair[0].n, pair[0].q))
        text = f"{definition.body.span.text} | k == q"
        fix = Fix("let each query see itself", definition.body.span, text)
        fixes = () if subject.varies else (fix,)  # other heads and layers may mean it
        where = subject.where(condition)
        yield RowsWithoutKeys(row=first.q, n=first.n, where=where, span=definition.body.span, fixes=fixes)


def _within_canvas(witness: Witness, condition: ir.Set) -> Witness | None:
    """The row without a key, or another one, of a pattern on a canvas; None for rows beyond it, or beyond any call."""
    if witness.q >= MOST_POSITIONS or _asked("ends_at", condition, witness.q):
        return None
    of_queries = asked_of_queries(condition)
    sides = None if of_queries == ir.TRUE else _asked("canvas", condition, of_queries)
    if sides is None:
        return witness
    inner = _asked("gap", condition, *sides)
    return witness if inner and inner.q == witness.q else inner


def _not_causal(subject: Subject) -> list[Diagnostic]:
    """The first later key that is seen, where the name says that there are none."""
    definition = subject.definition
    words = re.findall(r"[a-z]+", definition.name.lower())
    if not _PAST_WORDS & set(words) or _NOT_WORDS & set(words):
        return []
    doubtful = [condition for condition in subject.pattern.conditions if not past_only(condition)][:_MOST_CONDITIONS]
    found = [(witness, each) for each in doubtful if (witness := _asked("sure_later_key", each))]
    if not found:
        return []
    first, condition = min(found, key=lambda pair: (pair[0].n, pair[0].q, pair[0].k))
    shown = {"q": first.q, "k": first.k, "where": subject.where(condition)}
    return [NotCausal(name=definition.name, **shown, span=definition.name_span, fixes=(_only_past(definition),))]


def _all_later(subject: Subject) -> list[Diagnostic]:
    """Where a head sees all of the future and only some of the past: the lower end of a distance was forgotten."""
    leaning = [condition for condition in subject.pattern.conditions if leans_ahead(condition)]
    condition = next((each for each in leaning[:_MOST_CONDITIONS] if _asked("every_later_key", each)), None)
    if condition is None:
        return []
    fixes = () if subject.varies else (_only_past(subject.definition),)  # other heads and layers may look ahead
    return [SeesAllLater(where=subject.where(condition), span=subject.definition.body.span, fixes=fixes)]


def _future_only(subject: Subject) -> list[Diagnostic]:
    """Where no head sees an earlier key: `q` and `k` were taken for each other."""
    conditions = subject.pattern.conditions
    if len(conditions) > _MOST_CONDITIONS or any(map(earlier_key, conditions)):
        return []
    if not all(_asked("future_only", condition) for condition in conditions):
        return []
    fixes: tuple[Fix, ...] = ()
    match body := subject.definition.body:
        case ast.Chain((ast.Name("q"), ast.Name("k")), ("<=" | "<" as op,)):
            fixes = (Fix("look at the past", body.span, f"k {op} q"),)
        case ast.Chain((ast.Name("k"), ast.Name("q")), (">=" | ">" as op,)):
            fixes = (Fix("look at the past", body.span, f"q {op} k"),)
    return [FutureOnly(where=subject.where(), span=body.span, fixes=fixes)]


def _only_past(definition: ast.Definition) -> Fix:
    body = definition.body.span
    return Fix("leave out later keys", body, f"k <= q & ({body.text})")


def _asked(question: str, condition: ir.Set, *more: Any) -> Any:
    """The answer, None where it takes too long."""
    from sparsec.sets import budgets, witness
    from sparsec.sets.context import OutOfBudget, budget

    try:
        with budget(budgets.scaled(budgets.WARNING, condition)):
            return getattr(witness, question)(condition, *more)
    except OutOfBudget:
        return None
