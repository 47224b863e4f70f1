"""What conditions and scores read of inputs, on a CPU: the entries of one row of the batch and one head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.program.inputs import Input

_NO_BLOCK = 1 << 31  # no position is so large


class Entries(NamedTuple):
    """What an input holds for one row and one head: a number, or `length` entries, and a 0 behind all values.

    `first` is the index of the first entry; a float input has its own type, all others are int64.  Of chosen blocks,
    values are list << 31 | block for all entries that name one, rising, and `first` is the position of the first query.
    So it is of labels, [lines, labels].  Of several rows and heads, values stand one after the other, and `begin` says
    where those of each do; `length` and `first` are tensors where there are several sequences.
    """

    values: Tensor
    length: Any
    first: Any
    begin: Tensor | int = 0


def entries_of(
    inputs: Sequence[Input], given: Sequence[Tensor], row: int, head: int, heads: int, q_offset: int, k_begin: int
) -> list[Entries]:
    """What a row of the batch and one of the query heads read of checked inputs; `q_offset`, `k_begin`: the positions
    of the first query and of the first key.
    """
    found = []
    for own, x in zip(inputs, given, strict=True):
        if own.kind == "labels":
            own_labels = x[row if len(x) > 1 else 0, head if x.shape[1] > 1 else 0]
            found.append(Entries(own_labels, own_labels.shape[1], q_offset))
            continue
        if own.is_chosen:
            found.append(_codes(x[row if len(x) > 1 else 0, head * x.shape[1] // heads], q_offset))
            continue
        values = x[row if len(x) > 1 else 0, head if x.shape[1] > 1 else 0]
        values = values if own.kind == "float" else values.long()
        if own.has_entries:
            first = k_begin if own.axes[-1] == "n" else 0
            found.append(Entries(torch.nn.functional.pad(values, (0, 1)), len(values), first))
        else:
            found.append(Entries(values[0], 0, 0))
    return found


def entries_in_sequences(own: Input, x: Tensor, heads: Tensor, lines: Tensor) -> Entries:
    """What an input [B or 1, H or 1, entries] of int or bool holds for some heads [X, ..] in sequences, int64
    [.., 7], of which `lines` are those of their table (`sparsec.kernels.sequences.sequences`).
    """
    row, _, _, k_row, k_begin, n, _ = lines.unbind(-1)
    place = (row if len(x) > 1 else row * 0) * x.shape[1] + (heads if x.shape[1] > 1 else heads * 0)
    values = x.long().flatten()
    if not own.has_entries:
        return Entries(values[place], 0, 0)
    begin, values = place * x.shape[2], torch.nn.functional.pad(values, (0, 1))
    if own.is_list:
        return Entries(values, x.shape[2], 0, begin)
    return Entries(values, n - k_begin, k_begin, begin + k_row)


def _codes(lists: Tensor, q_offset: int) -> Entries:
    """The entries of chosen blocks [lists, t]."""
    blocks = lists.long()
    codes = torch.arange(len(lists))[:, None] << 31 | blocks
    return Entries(codes[(blocks >= 0) & (blocks < _NO_BLOCK)].sort().values, len(lists), q_offset)


def is_inside(entries: Entries, index: Tensor | int) -> Tensor:
    """Whether there is such an entry."""
    index = torch.as_tensor(index)
    return (index >= entries.first) & (index < entries.first + entries.length)


def entry(entries: Entries, index: Tensor | int | None = None) -> Tensor:
    """The entry at an index, 0 where there is none; without an index the number of the row and head."""
    if index is None:
        return entries.values
    place = entries.begin + index - entries.first
    return entries.values[torch.where(is_inside(entries, index), place, len(entries.values) - 1)]


def real_entry(entries: Entries, *indices: Tensor | int) -> Tensor:
    """The entry of a float input at an index, or at those of a query and a key; 0 where there is none."""
    return entries.values[place_of(entries, *indices)] if indices else entries.values


def place_of(entries: Entries, *indices: Tensor | int) -> Tensor:
    """Where an entry stands among the values of its input: that of the 0 behind them where there is none."""
    if len(indices) < 2:
        return torch.where(is_inside(entries, *indices), indices[0] - entries.first, entries.length)
    side = math.isqrt(entries.length)
    row, column = (torch.as_tensor(index) - entries.first for index in indices)
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    return torch.where(inside, row * side + column, entries.length)


def as_index(x: Tensor | int, like: Tensor) -> Tensor:
    """An index as a tensor on the device of another."""
    return torch.as_tensor(x, device=like.device)


def is_entry(entries: Entries, value: Tensor | int) -> Tensor:
    """Whether a value is among the entries: where there are lists of several rows and heads, of its own."""
    value = torch.as_tensor(value, device=entries.values.device)
    if not isinstance(entries.begin, Tensor) or not entries.length:
        return torch.isin(value, entries.values[: entries.length])
    lists = entries.values[:-1].view(-1, entries.length)
    known, ranks = lists.unique(return_inverse=True)
    rank = torch.searchsorted(known, value).clamp(max=len(known) - 1)
    lines = torch.arange(len(lists), device=value.device)[:, None]
    own = entries.begin // entries.length * len(known) + rank
    return torch.isin(own, lines * len(known) + ranks) & (known[rank] == value)


def is_listed_block(entries: Entries, q: Tensor, k: Tensor, rows: int, size: int) -> Tensor:
    """Whether the list of a query names the block of a key: bool, broadcast from q [.., rows, 1] and k [.., 1, keys].

    Lists are those of `rows` queries, and blocks of `size` keys.
    """
    own, block = (q - entries.first) // rows, k // size
    if not len(entries.values) or not own.numel() or not block.numel():
        return (own < 0) & (block < 0)
    own, block = (x[None] if x.dim() == 2 else x for x in (own, block))
    first, begin = own.amin(1, keepdim=True), block.amin(2, keepdim=True)
    high, wide = int((own - first).max()) + 1, int((block - begin).max()) + 1
    if 2 * high * wide <= own.shape[1] * block.shape[2]:  # each list and each block is asked for once
        few = _has_code(entries, first + torch.arange(high)[:, None], begin + torch.arange(wide))
        found = few[torch.arange(len(few))[:, None, None], own - first, block - begin]
    else:
        found = _has_code(entries, own, block)
    return found[0] if q.dim() == 2 else found


def is_in_group(entries: Entries, q: Tensor, k: Tensor, n: int, near: bool) -> Tensor:
    """Whether labels put a query and a key together: bool, broadcast from q [.., rows, 1] and k [.., 1, keys].

    `near`: in some line the key's label is that of the query or one less; otherwise they have a bit in common in one.
    """
    own, labels = q - entries.first, entries.values
    queries = entries.length - n
    there = (own >= 0) & (own < queries) & (k >= 0) & (k < n)
    found = torch.zeros_like(there)
    if not entries.length:
        return found
    own, other = own.clamp(0, max(queries - 1, 0)), queries + k.clamp(0, max(n - 1, 0))
    for line in labels:
        x, y = line[own], line[other]
        found |= ((x == y) | (x == y + 1)) if near else (x & y) != 0
    return found & there


def _has_code(entries: Entries, own: Tensor, block: Tensor) -> Tensor:
    wanted = own << 31 | block
    place = torch.searchsorted(entries.values, wanted).clamp(max=len(entries.values) - 1)
    return (entries.values[place] == wanted) & (own >= 0) & (own < entries.length)
