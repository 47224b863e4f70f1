"""One isl context per thread, and a budget of operations for what may explode.

Objects of two contexts must never meet (isl does not check), so every set of this package is made here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import islpy as isl

_local = threading.local()

_BUGS = ("Assertion", "original tableau does not correspond")  # how isl says that it is at fault


class OutOfBudget(Exception):
    """A set operation needed more steps than it was given; the caller takes a coarser bound."""


def context() -> isl.Context:
    """The isl context of the calling thread."""
    if not hasattr(_local, "context"):
        _local.context = isl.Context()
        # Bounds read better as max(a, b) than as a choice between the two.
        _local.context.set_ast_build_detect_min_max(1)
        _local.limit = 0
    return _local.context


@contextmanager
def budget(operations: int) -> Iterator[None]:
    """Run the body with at most about `operations` isl steps (a million takes about a second).

    Budgets nest: the inner one counts on its own, then the outer one starts its count anew.
    Raises `OutOfBudget` where the body exceeds it.
    """
    ctx = context()
    outer = _local.limit
    _start(ctx, operations)
    try:
        yield
        if _exceeded(ctx):  # nothing that was made after the last step counts
            raise OutOfBudget
    except Exception as error:
        # The error can be any other: a parser that gets no memory says "syntax error", and text is None.
        # Bugs of isl itself, which it finds by assertions, are met the same way: by a coarser bound.
        if _exceeded(ctx) or (isinstance(error, isl.Error) and any(sign in str(error) for sign in _BUGS)):
            raise OutOfBudget from None
        raise
    finally:
        _start(ctx, outer)


@contextmanager
def unlimited() -> Iterator[None]:
    """Run the body whatever the budget: for what isl can't stop without harm.  It still counts."""
    ctx = context()
    ctx.set_max_operations(0)
    try:
        yield
    finally:
        ctx.set_max_operations(_local.limit)


def unshared(values: isl.Set) -> isl.Set:
    """The set again, for lexmin and what is built on it: these take constraints off the very object that they are
    asked about, and off all that share its parts, some of them not needless.
    """
    return values.set_dim_name(isl.dim_type.set, 0, "unshared")  # a new name makes isl copy every part


def _exceeded(ctx: isl.Context) -> bool:
    """Whether the budget is used up: then not even a number can be made."""
    try:
        return isl.Val.int_from_si(ctx, 1).is_nan()
    except isl.Error:
        return True


def _start(ctx: isl.Context, limit: int) -> None:
    # Without the reset every later call in this context would fail too.
    ctx.reset_operations()
    ctx.set_max_operations(limit)
    _local.limit = limit


def set_space(*names: str, parameters: tuple[str, ...] = ("n",)) -> isl.Space:
    """The space [parameters] -> { [names] }."""
    return isl.Space.create_from_names(context(), set=list(names), params=list(parameters))
