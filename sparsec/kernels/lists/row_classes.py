"""Unions of many parts that hold in different rows: the part of each row by binary search, of boxes too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.lists.boxes import Span, Verdict
from sparsec.kernels.lists.tile_kinds import Integers, KeptPairs, kept_by, key_of

Rows = tuple[tuple[int, ...], ...]  # first row, the one after the last, and the numbers of a part, by rising rows


def in_row_class(q: Tensor | Span | Integers, rows: Rows, part: Callable[..., Any]) -> Tensor | Verdict | KeptPairs:
    """Whether the part that a row belongs to keeps a pair; `part` takes its numbers, of the shape of q."""
    if isinstance(q, Span):
        return _of_boxes(q, rows, part)
    if isinstance(q, Integers):
        return _of_kinds(q, rows, part)
    numbers = _columns(rows, q.device)
    place = torch.searchsorted(numbers[0], q.contiguous(), right=True) - 1
    _, stop, *own = numbers[:, place.clamp(min=0)]
    return (place >= 0) & (q < stop) & part(*own)


def _of_boxes(q: Span, rows: Rows, part: Callable[..., Any]) -> Verdict:
    """What boxes with rows of several parts keep is decided for the intervals that hold the numbers of these parts."""
    low, high, smallest, largest = _numbers_of_boxes(q, rows)
    said = part(*map(Span, smallest[2:], largest[2:]))
    said = said if isinstance(said, Verdict) else Verdict(said, said)
    held = (low >= 0) & (low == high) & (q.high < smallest[1])
    return Verdict((high >= 0) & (q.low < largest[1]) & said.some, held & said.every)


def _of_kinds(q: Integers, rows: Rows, part: Callable[..., Any]) -> KeptPairs:
    """The numbers of a query's part are integers that differ within a tile where it has rows of several parts."""
    low, high, smallest, largest = _numbers_of_boxes(q.span, rows)
    _, stop, *own = (
        Integers(Span(least, most), least, key_of(id(rows), place, q.whole_key))
        for place, (least, most) in enumerate(zip(smallest, largest, strict=True))
    )
    return kept_by(Verdict(high >= 0, low >= 0), id(rows), q.whole_key) & (q < stop) & part(*own)


def _numbers_of_boxes(q: Span, rows: Rows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The places of the first and the last part that boxes meet, and each of their numbers at least and at most."""
    numbers = _columns(rows, q.low.device)
    low, high = (torch.searchsorted(numbers[0], end.contiguous(), right=True) - 1 for end in (q.low, q.high))
    first = low.clamp(min=0)
    last = torch.maximum(first, high)  # a box beyond the last row ends before it begins
    least, most = _extremes(rows, q.low.device)
    size = (last - first + 1).log2().long()  # numbers of two ranges of 2 ** size parts
    ends = first, last - (1 << size) + 1
    smallest = torch.minimum(*(least[size, :, end] for end in ends)).T
    largest = torch.maximum(*(most[size, :, end] for end in ends)).T
    return low, high, smallest, largest


@functools.lru_cache(maxsize=64)
def _columns(rows: Rows, device: torch.device) -> Tensor:
    """int64 [numbers, parts]."""
    return torch.tensor(rows, device=device).T.contiguous()


@functools.lru_cache(maxsize=64)
def _extremes(rows: Rows, device: torch.device) -> tuple[Tensor, Tensor]:
    """The smallest and the largest of each number among 2 ** i parts from each part on: [i, numbers, parts]."""
    least = [_columns(rows, device)]
    most = least[:]
    for size in (1 << i for i in range((len(rows)).bit_length() - 1)):
        for found, extreme in ((least, torch.minimum), (most, torch.maximum)):
            shifted = torch.cat([found[-1][:, size:], found[-1][:, -1:].expand(-1, size)], 1)
            found.append(extreme(found[-1], shifted))
    return torch.stack(least), torch.stack(most)
