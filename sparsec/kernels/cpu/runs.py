"""Query tiles that visit equally many key tiles on a CPU: runs of them, each of which is one product or a few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.cpu.order import Order
from sparsec.kernels.cpu.stacks import Stacks, single_tiles, stacks_of
from sparsec.kernels.cpu.visits import EVERY_PAIR, Visits, unpacked, visits_of
from sparsec.kernels.program.input_entries import Entries
from sparsec.kernels.program.program import cdiv

_LONGEST = 16  # key tiles of a run, about: a query tile that visits many more is in several
_SHORT = 4  # fewer query tiles whose keys shift evenly are not worth a run of their own
_SLICE = 1 << 14  # entries that are added by one thread
_ROOM = 1 << 26  # bytes of visits and runs that are kept for calls of the same lengths


class Run(NamedTuple):
    """Stacks of equally many query tiles, of each of which equally many key tiles are visited."""

    tiles: Tensor  # int64 [stacks, height]: query tiles
    keys: Tensor  # int64 [stacks, count]
    shift: int | None  # query tiles are consecutive, keys too, and so many further for each next stack; None: anywhere
    masks: Tensor | None  # int64 [stacks or 1, height, count]: lines of the masks; None: every pair is kept
    empty: Tensor | None  # bool [stacks, height, tile]: queries without a key; None: there are none
    again: bool  # the query tiles have been in a run before

    @property
    def height(self) -> int:
        """Query tiles of a stack."""
        return self.tiles.shape[1]

    def split(self, most: int) -> Iterator[Run]:
        """Runs of at most so many stacks."""
        for first in range(0, len(self.keys), most):
            part = slice(first, first + most)
            masks = self.masks if self.masks is None or len(self.masks) == 1 else self.masks[part]
            empty = None if self.empty is None else self.empty[part]
            yield self._replace(tiles=self.tiles[part], keys=self.keys[part], masks=masks, empty=empty)

    def of(self, tiles: Tensor) -> Tensor:
        """The stacks, of tiles of queries [X, query tiles, rows, ..], as [X, stacks, height * rows, ..].

        A view where query tiles are consecutive.
        """
        if self.shift is None:
            own = tiles.index_select(1, self.tiles.flatten())
        else:
            own = tiles.narrow(1, int(self.tiles[0, 0]), self.tiles.numel())
        return own.unflatten(1, self.tiles.shape).flatten(2, 3)

    def put(self, tiles: Tensor, x: Tensor) -> None:
        """Writes x [X, stacks, height * rows, ..] where `of` reads."""
        if self.shift is None:
            tiles.index_copy_(1, self.tiles.flatten(), x.unflatten(2, (self.height, -1)).flatten(1, 2))
        else:
            self.of(tiles).copy_(x)

    def add(self, tiles: Tensor, x: Tensor) -> None:
        """Adds x [X, stacks, height * rows, ..] where `of` reads."""
        if self.shift is None:
            tiles.index_add_(1, self.tiles.flatten(), x.unflatten(2, (self.height, -1)).flatten(1, 2))
        else:
            self.of(tiles).add_(x)


class Work(NamedTuple):
    """What query tiles visit, and the runs that do it: those of a query tile in a fixed order."""

    visits: Visits
    runs: tuple[Run, ...]

    @property
    def bytes(self) -> int:
        tensors = [x for group in (self.visits, *self.runs) for x in group if isinstance(x, Tensor)]
        return sum(x.numel() * x.element_size() for x in tensors)


_kept: dict[tuple[Order, int, int, int], Work] = {}  # the oldest first


def work_of(order: Order, first: int, stop: int, group: int, entries: Sequence[Entries] = ()) -> Work:
    """The work of the query tiles first..stop - 1, for `group` heads that share their keys.

    What was found is kept while there is room, but not where data of the call decides: `entries` of a row and head.
    """
    if order.region.inputs:
        return _work(visits_of(order, first, stop, entries), group * order.tile)
    place = order, first, stop, group
    if work := _kept.get(place):
        return work
    work = _work(visits_of(order, first, stop), group * order.tile)
    room = _ROOM - work.bytes
    for each, kept in [*_kept.items()][::-1]:
        room -= kept.bytes
        if room < 0:
            _kept.pop(each, None)
    _kept[place] = work
    return work


def _work(visits: Visits, rows: int) -> Work:
    lines = visits.row, visits.key, visits.mask
    stacks = stacks_of(*lines, rows) if visits.listed is None else [single_tiles(*lines)]
    return Work(visits, tuple(run for some in stacks for run in _runs(visits, some)))


def _runs(visits: Visits, stacks: Stacks) -> Iterator[Run]:
    counts = torch.bincount(stacks.stack, minlength=len(stacks.tiles))
    begin = counts.cumsum(0) - counts
    parts = ((counts + _LONGEST // 2) // _LONGEST).clamp(min=1)  # of each stack; the last takes what is left
    line = torch.arange(len(counts)).repeat_interleave(parts)
    layer = torch.arange(len(line)) - (parts.cumsum(0) - parts)[line]
    begin = begin[line] + layer * _LONGEST
    counts = torch.where(layer == parts[line] - 1, counts[line] - layer * _LONGEST, _LONGEST)
    partial = torch.zeros(len(stacks.key) + 1, dtype=torch.int64)
    partial[1:] = stacks.masks.ne(EVERY_PAIR).any(1).cumsum(0)
    masked = partial[begin + counts] > partial[begin]
    kind = (layer * 2 + masked) * (2 * _LONGEST) + counts
    for value in kind.unique().tolist():
        some = (kind == value).nonzero()[:, 0]
        within = begin[some][:, None] + torch.arange(value % (2 * _LONGEST))
        masks = stacks.masks[within].transpose(1, 2)
        yield from _shifted(visits, stacks.tiles[line[some]], stacks.key[within], masks, value >= 4 * _LONGEST)


def _shifted(visits: Visits, tiles: Tensor, keys: Tensor, masks: Tensor, again: bool) -> Iterator[Run]:
    """Runs of stacks with equally many key tiles: first those whose tiles shift evenly, then all others."""
    even = (keys.diff(dim=1) == 1).all(1) & (tiles.diff(dim=1) == 1).all(1)
    shift = keys[:, 0].diff()
    steady = (shift >= 0) & (tiles[:, 0].diff() == tiles.shape[1]) & even[1:] & even[:-1]  # from each to the next
    # Ends of stretches of stacks with one shift.
    turns = ~(steady[1:] & steady[:-1] & (shift[1:] == shift[:-1]))
    edges = [0, *(turns.nonzero()[:, 0] + 1).tolist(), len(tiles) - 1]
    alone = torch.ones(len(tiles), dtype=torch.bool)
    taken = 0
    for first, last in pairwise(edges):
        first = max(first, taken)
        if last - first + 1 >= _SHORT and steady[first]:
            part = slice(first, last + 1)
            yield _run(visits, tiles[part], keys[part], masks[part], again, int(shift[first]))
            alone[part] = False
            taken = last + 1
    if alone.any():
        single = 0 if int(alone.sum()) == 1 and even[alone].all() else None
        yield _run(visits, tiles[alone], keys[alone], masks[alone], again, single)


def _run(visits: Visits, tiles: Tensor, keys: Tensor, masks: Tensor, again: bool, shift: int | None) -> Run:
    if not masks.any():
        return Run(tiles, keys, shift, None, None, again)
    empty = ~visits.seen[masks].any(2)
    alike = bool((masks == masks[:1]).all())
    return Run(tiles, keys, shift, masks[:1] if alike else masks, empty if empty.any() else None, again)


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
