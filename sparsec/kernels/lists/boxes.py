"""Interval arithmetic: a pattern's condition on whole boxes of pairs, decided for many boxes at once.

The condition is the `keep` that masks are made with, a function of q and k.  Given a `Span` for each, the smallest and
the largest position in every box, it returns a `Verdict`: whether some pair of a box may be kept, and whether all are.
An interval may be wider than the values it stands for, so `some` may hold for an empty box; what `all` says is so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Verdict:
    """Of each box: whether some pair of it may be kept, and whether all pairs are.  Bool tensors."""

    def __init__(self, some: Tensor, every: Tensor) -> None:
        self.some, self.every = some, every

    def __and__(self, other: Any) -> Verdict:
        more = _verdict(other)
        return Verdict(self.some & more.some, self.every & more.every)

    def __or__(self, other: Any) -> Verdict:
        more = _verdict(other)
        return Verdict(self.some | more.some, self.every | more.every)

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> Verdict:
        return Verdict(~self.every, ~self.some)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: tuple = (), named: Any = None) -> Span:
        return _FUNCTIONS[function](*arguments, **(named or {}))


class Span:
    """The smallest and the largest value of an integer in each box, int64 tensors."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high

    def __add__(self, other: Any) -> Span:
        more = _span(other)
        return Span(self.low + more.low, self.high + more.high)

    def __sub__(self, other: Any) -> Span:
        less = _span(other)
        return Span(self.low - less.high, self.high - less.low)

    def __rsub__(self, other: Any) -> Span:
        return _span(other) - self

    def __neg__(self) -> Span:
        return Span(-self.high, -self.low)

    def __mul__(self, other: Any) -> Span:
        by = _span(other)
        ends = [a * b for a in (self.low, self.high) for b in (by.low, by.high)]
        low, high = ends[0], ends[0]
        for end in ends[1:]:
            low, high = torch.minimum(low, end), torch.maximum(high, end)
        return Span(low, high)

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, divisor: int) -> Span:
        return Span(self.low // divisor, self.high // divisor)

    def __mod__(self, divisor: int) -> Span:
        turn = self.low // divisor
        straight = turn == self.high // divisor  # no multiple of the divisor lies between
        low, high = self.low - turn * divisor, self.high - turn * divisor
        return Span(torch.where(straight, low, 0), torch.where(straight, high, divisor - 1))

    def __abs__(self) -> Span:
        low = torch.maximum(self.low, -self.high).clamp(min=0)
        return Span(low, torch.maximum(self.high, -self.low))

    def __lt__(self, other: Any) -> Verdict:
        than = _span(other)
        return Verdict(self.low < than.high, self.high < than.low)

    def __le__(self, other: Any) -> Verdict:
        than = _span(other)
        return Verdict(self.low <= than.high, self.high <= than.low)

    def __gt__(self, other: Any) -> Verdict:
        return ~(self <= other)

    def __ge__(self, other: Any) -> Verdict:
        return ~(self < other)

    def __eq__(self, other: Any) -> Verdict:  # type: ignore[override]
        than = _span(other)
        meet = (self.low <= than.high) & (than.low <= self.high)
        return Verdict(meet, (self.low == than.high) & (self.high == than.low))

    def __ne__(self, other: Any) -> Verdict:  # type: ignore[override]
        return ~(self == other)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: tuple = (), named: Any = None) -> Span:
        return _FUNCTIONS[function](*arguments, **(named or {}))


def _span(x: Any) -> Span:
    if isinstance(x, Span):
        return x
    x = torch.as_tensor(x)
    return Span(x, x)


def _verdict(x: Any) -> Verdict:
    if isinstance(x, Verdict):
        return x
    x = torch.as_tensor(x)
    return Verdict(x, x)


def minimum_spans(x: Any, y: Any) -> Span:
    """The smaller of two integers, at every pair."""
    x, y = _span(x), _span(y)
    return Span(torch.minimum(x.low, y.low), torch.minimum(x.high, y.high))


def maximum_spans(x: Any, y: Any) -> Span:
    """The larger of two integers, at every pair."""
    x, y = _span(x), _span(y)
    return Span(torch.maximum(x.low, y.low), torch.maximum(x.high, y.high))


def _clamp(x: Any, min: Any = None, max: Any = None) -> Span:
    x = _span(x) if min is None else maximum_spans(x, min)
    return x if max is None else minimum_spans(x, max)


def where_span(condition: Any, then: Any, other: Any) -> Span:
    """Where a box holds both cases, the interval around both."""
    case, x, y = _verdict(condition), _span(then), _span(other)
    low = torch.where(case.every, x.low, torch.where(case.some, torch.minimum(x.low, y.low), y.low))
    high = torch.where(case.every, x.high, torch.where(case.some, torch.maximum(x.high, y.high), y.high))
    return Span(low, high)


# What printed conditions call.
_FUNCTIONS: dict[Any, Callable[..., Span]] = {
    torch.minimum: minimum_spans,
    torch.maximum: maximum_spans,
    torch.clamp: _clamp,
    torch.where: where_span,
}
