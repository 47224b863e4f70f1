"""One isl context per thread, and steps for what may explode; how many stands in `budgets`.

Objects of two contexts must never meet (isl does not check), so every set of this package is made here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import islpy as isl

from sparsec.sets.copies import copied

_local = threading.local()
_MOST_KNOWN = 256  # answers of one function that are remembered
_PRECISE = 16  # counted steps are told to such a part,
_LEAST = 64  # and fewer than so many to one
_T = TypeVar("_T")
_failed: dict[Hashable, int] = {}  # steps that did not suffice for a question
_answers: dict[Hashable, Any] = {}  # plain data, of all threads

_BUGS = ("Assertion", "original tableau does not correspond")  # how isl says that it is at fault


class OutOfBudget(Exception):
    """A set operation needed more steps than it was given; the caller takes a coarser bound."""


@dataclass
class Allowance:
    """Steps that all questions within it share: how many it began with and has left, and whether some went without."""

    given: int
    left: int
    cut: bool = False


def context() -> isl.Context:
    """The isl context of the calling thread."""
    if not hasattr(_local, "context"):
        _local.context = isl.Context()
        # Bounds read better as max(a, b) than as a choice between the two.
        _local.context.set_ast_build_detect_min_max(1)
        _local.limit = _local.most = _local.own = 0  # of the innermost budget: given, allowed, taken by our own work
        _local.allowance = None
        _local.texts = {}  # sets by the text that they were read from
        _local.sets = {}  # sets by the question that they answer, with the steps that they took
    return _local.context


@contextmanager
def budget(operations: int) -> Iterator[None]:
    """Run the body with at most about `operations` isl steps (a million takes about a second).

    Budgets nest: the inner one counts on its own, then the outer one starts its count anew.  All of them together take
    no more than an `allowance` around them has left.  Raises `OutOfBudget` where the body exceeds it.
    """
    ctx = context()
    outer = _local.limit
    _settle(ctx)
    if _local.allowance is not None and _local.allowance.left <= 0:
        _local.allowance.cut = True
        _start(ctx, outer)
        raise OutOfBudget
    _start(ctx, operations)
    try:
        yield
        if _exceeded(ctx):  # nothing that was made after the last step counts
            raise OutOfBudget
    except Exception as error:
        # The error can be any other: a parser that gets no memory says "syntax error", and text is None.
        # Bugs of isl itself, which it finds by assertions, are met the same way: by a coarser bound.
        of_isl = isinstance(error, isl.Error) and any(sign in str(error) for sign in _BUGS)
        if _exceeded(ctx) or of_isl or isinstance(error, OutOfBudget):
            if _local.most < operations:
                _local.allowance.cut = True
            raise OutOfBudget from None
        raise
    finally:
        _settle(ctx)
        _start(ctx, outer)


def once(question: Hashable, make: Callable[[], isl.Set]) -> isl.Set:
    """The set that `make` makes for a question, which takes the same steps each time: made once, and charged each time.

    So a budget reaches as far, whatever was asked before, but for the part to which steps are told.  OutOfBudget at
    once where no more of them are left than failed before.
    """
    context()
    if question in _local.sets:
        made, steps = _local.sets[question]
        spend(steps)
        return copied(made)
    left = _left()  # which takes as long as reading a comparison: not for what is known
    if left is not None and left <= _failed.get(question, 0):
        raise OutOfBudget
    try:
        made = make()
    except Exception:
        if left is not None and _exceeded(context()):
            _forget_many(_failed)
            _failed[question] = max(left, _failed.get(question, 0))
        raise
    if left is not None and (rest := _left()):  # without a budget nobody counts
        _forget_many(_local.sets)
        _local.sets[question] = copied(made), left - rest
    return made


def remembered(question: Hashable, make: Callable[[], _T]) -> _T:
    """What `make` finds, plain data.  Not remembered where an allowance around had no more left."""
    context()
    found = _answers.get(question, _answers)  # which is no answer
    if found is _answers:
        found = make()
        if _local.allowance is None or not _local.allowance.cut:
            _forget_many(_answers)
            _answers[question] = found
    return found


def _left() -> int | None:
    """The steps that are left, at least 0; None without a budget."""
    ctx = context()
    return max(0, _local.most - _taken(ctx) - _local.own) if _local.most else None


def _forget_many(known: dict) -> None:
    """Make room for one more entry."""
    if len(known) >= _MOST_KNOWN:
        known.clear()


@contextmanager
def allowance(operations: int) -> Iterator[Allowance]:
    """Run the body with at most about `operations` steps in all its budgets together, and no more than one around has.

    Where it is used up, budgets end as soon as they begin.  Steps outside of budgets are not counted.
    """
    ctx = context()
    _settle(ctx)
    outer = _local.allowance
    given = operations if outer is None else min(operations, outer.left)
    _local.allowance = own = Allowance(given, given)
    _start(ctx, _local.limit)
    try:
        yield own
    finally:
        _settle(ctx)
        _local.allowance = outer
        if outer is not None:
            outer.left -= own.given - own.left
            outer.cut |= own.cut and own.given < operations
        _start(ctx, _local.limit)


def within(operations: int) -> Callable[[Callable[..., _T]], Callable[..., _T]]:
    """A function that has an allowance of so many steps, and is remembered.

    An answer that had to do with less, since the allowance around it had no more left, is not remembered: the next
    who asks may have more.
    """

    def allowed(function: Callable[..., _T]) -> Callable[..., _T]:
        known: dict[tuple[Hashable, ...], _T] = {}

        @wraps(function)
        def asked(*arguments: Hashable) -> _T:
            if arguments in known:
                return known[arguments]
            with allowance(operations) as own:
                found = function(*arguments)
            if not own.cut or own.given == operations:
                _forget_many(known)
                known[arguments] = found
            return found

        return asked

    return allowed


def number(value: int) -> isl.Val:
    """An integer of any size for isl, which takes Python's own only as far as 64 bits."""
    return isl.Val.int_from_si(context(), value) if abs(value) < 2**31 else isl.Val(str(value), context())


def spend(operations: int) -> None:
    """Count work of our own as so many isl steps.  OutOfBudget where the budget is used up; without one, nothing."""
    ctx = context()
    if _local.most:
        _local.own += operations
        _limit(ctx)
        if _exceeded(ctx):
            raise OutOfBudget


def afford(operations: int) -> bool:
    """Take so many steps from the allowance, for work outside of budgets; whether it had them."""
    context()
    own = _local.allowance
    if own is None:
        return True
    if operations > own.left:
        own.cut = True
        return False
    own.left -= operations
    return True


@contextmanager
def unlimited() -> Iterator[None]:
    """Run the body whatever the budget: for what isl can't stop without harm.  It still counts."""
    ctx = context()
    ctx.set_max_operations(0)
    try:
        yield
    finally:
        _limit(ctx)


def text_of(values: isl.Set) -> str:
    """The set as text.  isl prints without a limit: stopped half-way in a union, it reads a set that was not made."""
    with unlimited():
        return str(values)


def read_once(text: str) -> isl.Set:
    """The set that a text says, read once."""
    ctx = context()
    if text not in _local.texts:
        _local.texts[text] = isl.Set.read_from_str(ctx, text)
    return copied(_local.texts[text])


def _exceeded(ctx: isl.Context) -> bool:
    """Whether the budget is used up: then not even a number can be made."""
    try:
        return isl.Val.int_from_si(ctx, 1).is_nan()
    except isl.Error:
        return True


def _start(ctx: isl.Context, limit: int) -> None:
    """Count from nothing, up to the limit of a budget (0: there is none) and to what is left of an allowance."""
    # Without the reset every later call in this context would fail too.
    ctx.reset_operations()
    _local.limit, _local.own = limit, 0
    _local.most = limit if not limit or _local.allowance is None else max(1, min(limit, _local.allowance.left))
    _limit(ctx)


def _limit(ctx: isl.Context) -> None:
    ctx.set_max_operations(max(1, _local.most - _local.own) if _local.most else 0)


def _settle(ctx: isl.Context) -> None:
    """Take what was counted since the last start from the allowance."""
    if _local.allowance is not None and _local.most:
        _local.allowance.left -= min(_local.most, _taken(ctx) + _local.own)


def _taken(ctx: isl.Context) -> int:
    """The steps that isl has counted, too many by a sixteenth at most.

    It does not tell them, but for whether they reach a limit.  A limit that they reach takes twenty times as long to
    try as one that they do not, so the search comes from above.
    """

    def reaches(limit: int) -> bool:
        ctx.set_max_operations(limit)
        return _exceeded(ctx)

    high = _LEAST << max(0, (_local.most - 1) // _LEAST).bit_length()  # at most so many
    while high > _LEAST and not reaches(high // 2 + 1):
        high //= 2
    low = high // 2 if high > _LEAST else 0  # above so many, or none
    while high - low > max(1, high // _PRECISE):
        middle = (low + high) // 2
        low, high = (middle, high) if reaches(middle + 1) else (low, middle)
    _limit(ctx)
    return min(high, _local.most)


def set_space(*names: str, parameters: tuple[str, ...] = ("n",)) -> isl.Space:
    """The space [parameters] -> { [names] }."""
    return isl.Space.create_from_names(context(), set=list(names), params=list(parameters))
