"""What a pattern means for generating text: keys that are forgotten, kept for ever, or not there yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from sparsec.analysis.decoder_cache import decoder_cache
from sparsec.analysis.facts import is_causal
from sparsec.analysis.find import find
from sparsec.diagnostics import Diagnostic, FewLookAhead, NoSink, UnboundedCache
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import affine_over
from sparsec.lint.needless import operands, without
from sparsec.lint.subject import Subject, joined, put
from sparsec.sets import budgets, kv_cache, witness
from sparsec.sets.context import OutOfBudget, budget
from sparsec.syntax import ast

_LONG = 65_536  # the length at which a cache without bound is told
_MOST_OPERANDS = 32
_MANY, _FEW = 8192, 8  # the length at which queries are counted; one in so many is few
_NEAR = "q - k < 4096"
_CAUSAL = ir.Compare(ir.Var("k"), "<=", ir.Var("q"))
_T = TypeVar("_T")
_U = TypeVar("_U")


def no_sink(subject: Subject) -> Iterator[Diagnostic]:
    """Every head of a causal pattern forgets key 0, and four sinks would change that."""
    dropped = _all_dropped(subject.pattern)
    cured = subject.joined("|", "k < 4 & k <= q") if dropped else None
    if (
        not dropped
        or cured is None
        or _largest_cache(subject.pattern) is None
        or not all(map(is_causal, cured.conditions))
    ):
        return
    most = _largest_cache(cured)
    if most is not None and all(_asked(kv_cache.dropped, each, -1) is None for each in cured.conditions):
        span = subject.definition.body.span
        yield NoSink(name=subject.pattern.name, n=dropped, most=most, where=subject.where(), span=span)


def _all_dropped(pattern: ir.Pattern) -> int | None:
    """The length from which on no head sees key 0, at the latest with long tables; None where some does or may."""
    lengths = [_asked(kv_cache.dropped, affine_over(condition), None) for condition in pattern.conditions]
    known = [length for length in lengths if length is not None]
    return max(known) if len(known) == len(lengths) else None


def unbounded(subject: Subject) -> Iterator[Diagnostic]:
    """A causal pattern that leaves keys out in every head, and yet keeps more of them the longer the text."""
    conditions = subject.pattern.conditions
    caches = [decoder_cache(condition) for condition in conditions]
    grows = [cache for cache in caches if cache.bounded is False]
    dense = any(find(ir.And((_CAUSAL, ir.Not(condition)))).status != "pair" for condition in conditions)
    if grows and not dense:
        part, most = _bounded(subject)
        bound = f"write `(...) & {_NEAR}`: then a decoder keeps at most {most} keys" if most is not None else ""
        keys = max(cache.form(_LONG) for cache in grows if cache.form is not None)
        yield UnboundedCache(keys=keys, n=_LONG, bound=bound, where=subject.where(), span=part.span)


def _bounded(subject: Subject) -> tuple[ast.Expr, int | None]:
    """The part that needs keys of any age, and how many a decoder keeps when it is bounded.

    The body and None where no single part is to blame, or hardly anything of it is near.
    """
    body = subject.definition.body
    for part in list(operands(body))[:_MOST_OPERANDS]:
        most = _most_with(subject, part)
        rest = without(body, [part]) if most is not None else None
        others = subject.with_body(rest) if rest is not None else None
        if most is not None and (others is None or most > (_largest_cache(others) or 0)):
            return part, most
    return body, None if isinstance(body, ast.Union) else _most_with(subject, body)


def _most_with(subject: Subject, part: ast.Expr) -> int | None:
    """The largest cache once a part is bounded; None where there still is no largest."""
    pattern = subject.changed(put(subject.definition, part, joined(part, "&", _NEAR)))
    return _largest_cache(pattern) if pattern is not None else None


def few_look_ahead(subject: Subject) -> Iterator[Diagnostic]:
    """All later keys are seen by some of the first queries, a small share of those that see anything.

    The queries behind them go on and on, each seeing keys of its own: the pattern is no canvas of a fixed size.
    """
    ahead = [condition for condition in subject.pattern.conditions if not is_causal(condition)]
    lasts = [_asked(lambda each: witness.last(each, "q", ahead=True), condition, None) for condition in ahead]
    pairs = [_asked(witness.sure_later_key, condition, None) for condition in ahead]
    known = [(last, pair) for last, pair in zip(lasts, pairs, strict=True) if last is not None and pair is not None]
    if not ahead or len(known) < len(ahead) or not all(map(_goes_on, ahead)):
        return
    cured = subject.joined("&", "k <= q")
    if cured is not None and all(map(is_causal, cured.conditions)):
        first = min((pair for _, pair in known), key=lambda pair: (pair.n, pair.q, pair.k))
        last, span = max(last for last, _ in known), subject.definition.body.span
        yield FewLookAhead(last=last, q=first.q, k=first.k, where=subject.where(), span=span)


def _goes_on(condition: ir.Set) -> bool:
    """Whether keys without end are seen, and few of the queries that see any look ahead."""
    seeing = _asked(lambda each: witness.rows(each, _MANY, "under"), condition, 0)
    looking = _asked(lambda each: witness.rows(each, _MANY, ahead=True), condition, _MANY)
    endless = _asked(lambda each: witness.last(each, "k", "under"), condition, 0) is None
    return endless and looking * _FEW <= seeing


def _largest_cache(pattern: ir.Pattern) -> int | None:
    """The most keys that any head keeps; None where that has no bound, or none that is known."""
    caches = [decoder_cache(condition) for condition in pattern.conditions]
    most = [cache.most for cache in caches if cache.bounded and cache.most is not None]
    return max(most) if len(most) == len(caches) else None


def _asked(question: Callable[[ir.Set], _T], condition: ir.Set, otherwise: _U) -> _T | _U:
    """The answer of sets, `otherwise` where it takes too long or there is nothing to ask about."""
    try:
        with budget(budgets.scaled(budgets.QUESTION, condition)):
            return question(condition)
    except (OutOfBudget, ValueError):
        return otherwise
