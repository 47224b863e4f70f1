"""What a pattern means for generating text: keys that are forgotten, kept for ever, or not there yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from sparsec.analysis.decoder_cache import decoder_cache
from sparsec.analysis.facts import is_causal
from sparsec.analysis.find import find
from sparsec.analysis.needless import operands, without
from sparsec.analysis.subject import Subject
from sparsec.diagnostics import Diagnostic, FewLookAhead, NoSink, UnboundedCache
from sparsec.ir import nodes as ir
from sparsec.sets import held, queries
from sparsec.sets.context import OutOfBudget, budget
from sparsec.syntax import ast

_OPERATIONS = 200_000
_LONG = 65_536  # the length at which a cache without bound is told
_MOST_OPERANDS = 32
_CAUSAL = ir.Compare(ir.Var("k"), "<=", ir.Var("q"))
_T = TypeVar("_T")


def no_sink(subject: Subject) -> Iterator[Diagnostic]:
    """Every head of a causal pattern forgets key 0, and four sinks would change that."""
    dropped = _all_dropped(subject.pattern)
    cured = subject.joined("|", "k < 4 & k <= q") if dropped else None
    if cured is None or _largest_cache(subject.pattern) is None or not all(map(is_causal, cured.conditions)):
        return
    most = _largest_cache(cured)
    if most is not None and all(_asked(held.dropped, each, -1) is None for each in cured.conditions):
        yield NoSink(name=subject.pattern.name, n=dropped, most=most, span=subject.definition.body.span)


def _all_dropped(pattern: ir.Pattern) -> int | None:
    """The length from which on no head sees key 0; None where some does or may."""
    lengths = [_asked(held.dropped, condition, None) for condition in pattern.conditions]
    return None if None in lengths else max(lengths)


def unbounded(subject: Subject) -> Iterator[Diagnostic]:
    """A causal pattern that leaves keys out in every head, and yet keeps more of them the longer the text."""
    conditions = subject.pattern.conditions
    caches = [decoder_cache(condition) for condition in conditions]
    grows = [cache for cache in caches if cache.bounded is False]
    dense = any(find(ir.And((_CAUSAL, ir.Not(condition)))).status != "pair" for condition in conditions)
    found = _without_bound(subject) if grows and not dense else None
    if found is not None:
        where, bound, most = found
        keys = max(cache.form(_LONG) for cache in grows)
        yield UnboundedCache(keys=keys, n=_LONG, bound=bound, most=most, span=where.span)


def _without_bound(subject: Subject) -> tuple[ast.Expr, str, int] | None:
    """(the part that needs keys of any age, what would bound the cache, to how many keys)."""
    body = subject.definition.body
    for operand in list(operands(body))[:_MOST_OPERANDS]:
        rest = without(body, [operand])
        pattern = subject.with_body(rest) if rest is not None else None
        if pattern is not None and (most := _largest_cache(pattern)) is not None:
            return operand, "without it", most
    pattern = subject.joined("&", "q - k < 4096")
    most = _largest_cache(pattern) if pattern is not None else None
    return None if most is None else (body, "with `& q - k < 4096` added", most)


def few_look_ahead(subject: Subject) -> Iterator[Diagnostic]:
    """All later keys are seen by queries up to a constant, while queries beyond it go on seeing keys."""
    ahead = [condition for condition in subject.pattern.conditions if not is_causal(condition)]
    lasts = [_asked(lambda each: queries.last_row(each, ahead=True), condition, None) for condition in ahead]
    pairs = [_asked(queries.sure_later_key, condition, None) for condition in ahead]
    goes_on = all(_asked(lambda each: queries.last_row(each, "lower"), each, 0) is None for each in ahead)
    if not ahead or None in lasts or None in pairs or not goes_on:
        return
    cured = subject.joined("&", "k <= q")
    if cured is not None and all(map(is_causal, cured.conditions)):
        first = min(pairs, key=lambda pair: (pair.n, pair.q, pair.k))
        yield FewLookAhead(last=max(lasts), q=first.q, k=first.k, span=subject.definition.body.span)


def _largest_cache(pattern: ir.Pattern) -> int | None:
    """The most keys that any head keeps; None where that has no bound, or none that is known."""
    caches = [decoder_cache(condition) for condition in pattern.conditions]
    return max(cache.most for cache in caches) if all(cache.bounded for cache in caches) else None


def _asked(question: Callable[[ir.Set], _T], condition: ir.Set, otherwise: _T) -> _T:
    """The answer of sets, `otherwise` where it takes too long or there is nothing to ask about."""
    try:
        with budget(_OPERATIONS):
            return question(condition)
    except (OutOfBudget, ValueError):
        return otherwise
