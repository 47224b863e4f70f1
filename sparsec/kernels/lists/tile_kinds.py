"""Kinds of tiles: tiles of one kind keep the same pairs, so that one of them is looked at for all.

The condition is the `keep` that masks are made with.  It is called once for many tiles, with `Integers` of q and of k
in the place of positions, and returns `KeptPairs`.  Both have a key: tiles with equal keys have the same differences
between the integers of their pairs, or keep the same pairs.  What does not differ within a tile, or is decided for all
of its pairs, leaves no trace in the key: so a neighbourhood of an image has few kinds, wherever a tile lies.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.lists.boxes import Span, Verdict, maximum_spans, minimum_spans, where_span

# Of the two numbers of a key, mixed by different odd factors; keys are equal by chance once in 2 ** 128.
_FACTORS = 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9
_SHIFT = 29


def key_of(*parts: Tensor | int) -> Tensor:
    """int64 [2, tiles], or [2, 1]: tells apart what keys [2, tiles] and integers [tiles] say, one after the other."""
    factors = _factors(next(part.device for part in parts if isinstance(part, Tensor)))
    key: Any = 0
    for part in parts:
        key = ((key ^ part) + 1) * factors
        key = key ^ key >> _SHIFT
    return key


@functools.lru_cache(maxsize=64)
def _factors(device: torch.device) -> Tensor:
    return torch.tensor(_FACTORS, device=device)[:, None]


class Integers:
    """An integer of each pair of some tiles: in a tile `base` and more or less, by as much as its key says."""

    def __init__(self, span: Span, base: Tensor, key: Tensor) -> None:
        fixed = span.low == span.high
        self.span, self.base, self.key = span, torch.where(fixed, span.low, base), torch.where(fixed, 0, key)

    def __add__(self, other: Any) -> Integers:
        more = self._as_here(other)
        key = key_of(_SUM, self.key, more.key)
        key = torch.where(self.is_fixed, more.key, torch.where(more.is_fixed, self.key, key))
        return Integers(self.span + more.span, self.base + more.base, key)

    def __sub__(self, other: Any) -> Integers:
        return self + -self._as_here(other)

    def __rsub__(self, other: Any) -> Integers:
        return -self + other

    def __neg__(self) -> Integers:
        return Integers(-self.span, -self.base, key_of(_NEGATIVE, self.key))

    def __mul__(self, other: Any) -> Integers:
        by = self._as_here(other)
        factors = torch.where(by.is_fixed, 0, self.base), torch.where(self.is_fixed, 0, by.base)
        return Integers(self.span * by.span, self.base * by.base, key_of(_PRODUCT, self.key, by.key, *factors))

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, divisor: int) -> Integers:
        key = key_of(_QUOTIENT, divisor, self.key, self.base % divisor)
        return Integers(self.span // divisor, self.base // divisor, key)

    def __mod__(self, divisor: int) -> Integers:
        turn = self.span.low // divisor
        straight = turn == self.span.high // divisor
        base = torch.where(straight, self.base - turn * divisor, 0)
        key = torch.where(straight, self.key, key_of(_REMAINDER, divisor, self.key, self.base % divisor))
        return Integers(self.span % divisor, base, key)

    def __abs__(self) -> Integers:
        sign = torch.where(self.span.low >= 0, 1, torch.where(self.span.high <= 0, -1, 0))
        turned = torch.where(sign < 0, key_of(_NEGATIVE, self.key), key_of(_ABSOLUTE, self.key, self.base))
        return Integers(abs(self.span), sign * self.base, torch.where(sign > 0, self.key, turned))

    def __lt__(self, other: Any) -> KeptPairs:
        return self._compared(other, self.span < self._as_here(other).span, _LESS)

    def __le__(self, other: Any) -> KeptPairs:
        return self._compared(other, self.span <= self._as_here(other).span, _AT_MOST)

    def __gt__(self, other: Any) -> KeptPairs:
        return ~(self <= other)

    def __ge__(self, other: Any) -> KeptPairs:
        return ~(self < other)

    def __eq__(self, other: Any) -> KeptPairs:  # type: ignore[override]
        return self._compared(other, self.span == self._as_here(other).span, _EQUAL)

    def __ne__(self, other: Any) -> KeptPairs:  # type: ignore[override]
        return ~(self == other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def is_fixed(self) -> Tensor:
        """Of each tile: whether the integer is the same for all pairs."""
        return self.span.low == self.span.high

    @property
    def whole_key(self) -> Tensor:
        """A key of the integers themselves."""
        return key_of(self.key, self.base)

    def _as_here(self, other: Any) -> Integers:
        return integers_of(other, self.key.device)

    def _compared(self, other: Any, verdict: Verdict, how: int) -> KeptPairs:
        than = self._as_here(other)
        return KeptPairs(verdict, key_of(how, self.key, than.key, than.base - self.base))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: tuple = (), named: Any = None) -> Integers:
        return _OF_INTEGERS[function](*arguments, **(named or {}))


class KeptPairs:
    """Which pairs of some tiles a condition keeps: none, all, or those that the key stands for."""

    def __init__(self, verdict: Verdict, key: Tensor) -> None:
        decided = torch.where(verdict.every, _ALL, _NONE)
        self.verdict, self.key = verdict, torch.where(verdict.some & ~verdict.every, key, decided)

    @staticmethod
    def of(x: Any, device: torch.device) -> KeptPairs:
        """The same of what a condition says, also where that is the same for all tiles."""
        if isinstance(x, KeptPairs):
            return x
        x = torch.as_tensor(x, device=device)
        return KeptPairs(Verdict(x, x), torch.zeros(2, 1, dtype=torch.int64, device=device))

    def __and__(self, other: Any) -> KeptPairs:
        more = KeptPairs.of(other, self.key.device)
        verdict, key = self.verdict & more.verdict, key_of(_BOTH, self.key, more.key)
        key = torch.where(self.verdict.every, more.key, torch.where(more.verdict.every, self.key, key))
        return KeptPairs(verdict, key)

    def __invert__(self) -> KeptPairs:
        return KeptPairs(~self.verdict, key_of(_NOT, self.key))

    def __or__(self, other: Any) -> KeptPairs:
        more = KeptPairs.of(other, self.key.device)
        verdict, key = self.verdict | more.verdict, key_of(_EITHER, self.key, more.key)
        key = torch.where(~self.verdict.some, more.key, torch.where(~more.verdict.some, self.key, key))
        return KeptPairs(verdict, key)

    __rand__, __ror__ = __and__, __or__

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: tuple = (), named: Any = None) -> Integers:
        return _OF_INTEGERS[function](*arguments, **(named or {}))


_SUM, _NEGATIVE, _PRODUCT, _QUOTIENT, _REMAINDER, _ABSOLUTE, _LESS, _AT_MOST, _EQUAL = range(2, 11)
_BOTH, _NOT, _EITHER, _LEAST, _MOST, _CHOICE = range(11, 17)
_NONE, _ALL = 0, 1  # keys of conditions that are decided


def kept_by(verdict: Verdict, *parts: Tensor | int) -> KeptPairs:
    """What a condition keeps that is decided by the parts."""
    return KeptPairs(verdict, key_of(*parts))


def integers_of(x: Any, device: torch.device) -> Integers:
    """The same of a number, or of one for each tile."""
    if isinstance(x, Integers):
        return x
    x = torch.as_tensor(x, device=device)
    return Integers(Span(x, x), x, torch.zeros(2, 1, dtype=torch.int64, device=device))


def device_of(*parts: Any) -> torch.device:
    """Of those of them that are not numbers."""
    own = (x.key if isinstance(x, (Integers, KeptPairs)) else x for x in parts)
    return next(x.device for x in own if isinstance(x, Tensor))


def _extreme(how: int, x: Any, y: Any) -> Integers:
    device = device_of(x, y)
    x, y = integers_of(x, device), integers_of(y, device)
    below, above = x.span.high <= y.span.low, y.span.high <= x.span.low
    first, second = (below, above) if how == _LEAST else (above, below)
    key = torch.where(second, y.key, key_of(how, x.key, y.key, y.base - x.base))
    span = minimum_spans(x.span, y.span) if how == _LEAST else maximum_spans(x.span, y.span)
    return Integers(span, torch.where(second & ~first, y.base, x.base), torch.where(first, x.key, key))


def _least_of(x: Any, y: Any) -> Integers:
    return _extreme(_LEAST, x, y)


def _most_of(x: Any, y: Any) -> Integers:
    return _extreme(_MOST, x, y)


def _clamped(x: Any, min: Any = None, max: Any = None) -> Integers:
    x = x if min is None else _most_of(x, min)
    return x if max is None else _least_of(x, max)


def _either(condition: Any, then: Any, other: Any) -> Integers:
    device = device_of(condition, then, other)
    case, x, y = KeptPairs.of(condition, device), integers_of(then, device), integers_of(other, device)
    first, second = case.verdict.every, ~case.verdict.some
    key = torch.where(second, y.key, key_of(_CHOICE, case.key, x.key, y.key, y.base - x.base))
    span = where_span(case.verdict, x.span, y.span)
    return Integers(span, torch.where(second, y.base, x.base), torch.where(first, x.key, key))


# What printed conditions call.
_OF_INTEGERS: dict[Any, Callable[..., Integers]] = {
    torch.minimum: _least_of,
    torch.maximum: _most_of,
    torch.clamp: _clamped,
    torch.where: _either,
}


def alike(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Of integers, which of the different ones each is, and the place of one of each."""
    distinct, kind = codes.unique(return_inverse=True)
    return kind, torch.zeros_like(distinct).scatter_(0, kind, torch.arange(len(codes), device=codes.device))


def kinds(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Of keys [2, tiles], which kind each tile is of, and a tile of each kind."""
    kind, first = alike(keys[0])
    if bool((keys[1] == keys[1, first][kind]).all()):
        return kind, first
    return alike(keys.unique(dim=1, return_inverse=True)[1])
