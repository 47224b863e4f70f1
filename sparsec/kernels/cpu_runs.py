"""Query tiles that visit equally many key tiles on a CPU: runs of them, each of which is one product or a few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from sparsec.kernels.cpu_order import Order
from sparsec.kernels.cpu_visits import NO_PAIR, Visits, unpacked, visits_of
from sparsec.kernels.inputs import Entries
from sparsec.kernels.program import cdiv

_LONGEST = 16  # key tiles of a run, about: a query tile that visits many more is in several
_SHORT = 4  # fewer query tiles whose keys shift evenly are not worth a run of their own
_STACKS = (4, 2)  # query tiles are taken as one where they visit nearly the same keys: products of more rows are faster
_WASTE = 1.2  # times as many pairs, at most, for the sake of that
_SLICE = 1 << 14  # entries that are added by one thread
_ROOM = 1 << 26  # bytes of visits and runs that are kept for calls of the same lengths

Places: TypeAlias = slice | Tensor


class Run(NamedTuple):
    """Stacks of query tiles, `height` in each, of each of which `count` key tiles are visited."""

    height: int
    stacks: Places  # stack s is the query tiles height * s to height * (s + 1) - 1
    keys: Tensor  # int64 [stacks, count]
    shift: int | None  # keys are consecutive, and so many tiles further for each next stack; None: anywhere
    masks: Tensor | None  # int64 [stacks or 1, height, count]: lines of the masks; None: every pair is kept
    empty: Tensor | None  # bool [stacks, height, tile]: queries without a key; None: there are none
    again: bool  # the query tiles have been in a run before

    def split(self, most: int) -> Iterator[Run]:
        """Runs of at most so many stacks."""
        for first in range(0, len(self.keys), most):
            part = slice(first, first + most)
            masks = self.masks if self.masks is None or len(self.masks) == 1 else self.masks[part]
            empty = None if self.empty is None else self.empty[part]
            yield self._replace(stacks=_places(self.stacks, part), keys=self.keys[part], masks=masks, empty=empty)

    def of(self, tiles: Tensor) -> Tensor:
        """Tiles of queries [X, query tiles, rows, ..] in stacks, [X, all stacks, height * rows, ..]: a view."""
        if self.height == 1:
            return tiles
        stacks = tiles.shape[1] // self.height
        return tiles.narrow(1, 0, stacks * self.height).unflatten(1, (stacks, self.height)).flatten(2, 3)


def _places(places: Places, part: slice) -> Places:
    if isinstance(places, Tensor):
        return places[part]
    some = range(places.start, places.stop, places.step)[part]
    return slice(some.start, some.stop, some.step)


class Work(NamedTuple):
    """What query tiles visit, and the runs that do it: those of a query tile in a fixed order."""

    visits: Visits
    runs: tuple[Run, ...]

    @property
    def bytes(self) -> int:
        tensors = [x for group in (self.visits, *self.runs) for x in group if isinstance(x, Tensor)]
        return sum(x.numel() * x.element_size() for x in tensors)


_kept: dict[tuple[Order, int, int], Work] = {}  # the oldest first


def work_of(order: Order, first: int, stop: int, entries: Sequence[Entries] = ()) -> Work:
    """The work of the query tiles first..stop - 1.  What was found is kept while there is room.

    Not where data of the call decides, which `entries` has for one row and head.
    """
    if order.region.inputs:
        return _work(order, visits_of(order, first, stop, entries))
    place = order, first, stop
    if work := _kept.get(place):
        return work
    work = _work(order, visits_of(order, first, stop))
    room = _ROOM - work.bytes
    for each, kept in [*_kept.items()][::-1]:
        room -= kept.bytes
        if room < 0:
            _kept.pop(each, None)
    _kept[place] = work
    return work


def _work(order: Order, visits: Visits) -> Work:
    lines = visits.row, visits.key, visits.mask[:, None]
    found: list[Run] = []
    for height in _STACKS if visits.listed is None else ():
        stacked, lines = _stacked(*lines, order.k_tiles * order.region.stride, height)
        found += _runs(visits, *stacked)
    return Work(visits, (*found, *_runs(visits, *lines)))


Lines = tuple[Tensor, Tensor, Tensor]  # stacks, rising; their key tiles; masks [visits, height]


def _stacked(row: Tensor, key: Tensor, mask: Tensor, k_tiles: int, height: int) -> tuple[Lines, Lines]:
    """The visits of stacks of query tiles that see nearly the same, and those of all other query tiles."""
    code, line, counts = (row // height * k_tiles + key).unique(return_inverse=True, return_counts=True)
    stack = code // k_tiles
    worth = torch.bincount(stack) * height <= torch.bincount(stack, counts) * _WASTE
    masks = torch.full((len(code), height), NO_PAIR)
    masks[line, row % height] = mask[:, 0]
    together, apart = worth[stack], ~worth[row // height]
    return (stack[together], (code % k_tiles)[together], masks[together]), (row[apart], key[apart], mask[apart])


def _runs(visits: Visits, row: Tensor, key: Tensor, mask: Tensor) -> Iterator[Run]:
    """Runs of stacks, which rise in `row`."""
    rows, counts = row.unique_consecutive(return_counts=True)
    begin = counts.cumsum(0) - counts
    parts = ((counts + _LONGEST // 2) // _LONGEST).clamp(min=1)  # of each stack; the last takes what is left
    line = torch.arange(len(rows)).repeat_interleave(parts)
    layer = torch.arange(len(line)) - (parts.cumsum(0) - parts)[line]
    begin = begin[line] + layer * _LONGEST
    counts = torch.where(layer == parts[line] - 1, counts[line] - layer * _LONGEST, _LONGEST)
    partial = torch.zeros(len(row) + 1, dtype=torch.int64)
    partial[1:] = mask.ne(0).any(1).cumsum(0)
    masked = partial[begin + counts] > partial[begin]
    kind = (layer * 2 + masked) * (2 * _LONGEST) + counts
    for value in kind.unique().tolist():
        some = (kind == value).nonzero()[:, 0]
        within = begin[some][:, None] + torch.arange(value % (2 * _LONGEST))
        masks = mask[within].transpose(1, 2)
        yield from _shifted(visits, rows[line[some]], key[within], masks, value >= 4 * _LONGEST)


def _shifted(visits: Visits, rows: Tensor, keys: Tensor, masks: Tensor, again: bool) -> Iterator[Run]:
    """Runs of stacks with equally many key tiles: first those whose keys shift evenly, then all others."""
    even = (keys.diff(dim=1) == 1).all(1)
    shift = keys[:, 0].diff()
    steady = (shift >= 0) & (rows.diff() == 1) & even[1:] & even[:-1]  # from each stack to the next
    # Ends of stretches of stacks with one shift.
    turns = ~(steady[1:] & steady[:-1] & (shift[1:] == shift[:-1]))
    edges = [0, *(turns.nonzero()[:, 0] + 1).tolist(), len(rows) - 1]
    alone = torch.ones(len(rows), dtype=torch.bool)
    taken = 0
    for first, last in pairwise(edges):
        first = max(first, taken)
        if last - first + 1 >= _SHORT and steady[first]:
            yield _run(visits, rows, keys, masks, again, slice(first, last + 1), int(shift[first]))
            alone[first : last + 1] = False
            taken = last + 1
    if alone.any():
        single = 0 if int(alone.sum()) == 1 and even[alone].all() else None
        yield _run(visits, rows, keys, masks, again, alone, single)


def _run(
    visits: Visits, rows: Tensor, keys: Tensor, masks: Tensor, again: bool, part: slice | Tensor, shift: int | None
) -> Run:
    rows, keys, masks = rows[part], keys[part], masks[part]
    height = masks.shape[1]
    stacks: Places = rows if shift is None else slice(int(rows[0]), int(rows[-1]) + 1, 1)
    if not masks.any():
        return Run(height, stacks, keys, shift, None, None, again)
    empty = ~visits.seen[masks].any(2)
    alike = bool((masks == masks[:1]).all())
    return Run(height, stacks, keys, shift, masks[:1] if alike else masks, empty if empty.any() else None, again)


def additive_masks(visits: Visits, tile: int, group: int, dtype: torch.dtype) -> Tensor:
    """The masks of visits as what is added to scores, [group * tile, masks, block]: 0 where a pair is kept, or -inf."""
    kept = unpacked(visits.words, tile).transpose(0, 1)
    return torch.zeros(kept.shape, dtype=dtype).masked_fill_(~kept, float("-inf")).repeat(group, 1, 1)


def mask_of_run(table: Tensor, run: Run) -> Tensor | None:
    """What is added to the scores of a run, [stacks or 1, 1, height * group * tile, keys]."""
    if run.masks is None:
        return None
    some = table.index_select(1, run.masks.flatten()).view(len(table), len(run.masks), run.height, -1)
    return some.permute(1, 2, 0, 3).flatten(1, 2)[:, None]


def keys_of_run(x: Tensor, run: Run, block: int) -> Tensor:
    """The keys of a run, of x [X, keys, D], as [stacks, X, keys, D]: a view where they shift evenly."""
    tiles, count = run.keys.shape
    lines, length, dim = x.shape
    if run.shift is not None:
        first = int(run.keys[0, 0]) * block * x.stride(1)
        strides = run.shift * block * x.stride(1), x.stride(0), x.stride(1), 1
        return x.as_strided((tiles, lines, count * block, dim), strides, x.storage_offset() + first)
    some = x.view(lines, length // block, block * dim).index_select(1, run.keys.flatten())
    return some.view(lines, tiles, count * block, dim).transpose(0, 1)


def add_keys_of_run(sums: Tensor, x: Tensor, run: Run, block: int) -> None:
    """Adds x [stacks, X, keys, D] to sums [keys, X, D], in a fixed order.

    Slices are shorter than what torch gives to several threads: one that waits for its turn would hold up the others.
    """
    entries = block * sums[0].numel()
    parts = cdiv(entries, _SLICE)
    while block % parts:
        parts += 1
    slices = (run.keys.flatten()[:, None] * parts + torch.arange(parts)).flatten()
    sums.view(-1, entries // parts).index_add_(0, slices, x.transpose(1, 2).reshape(len(slices), -1))
