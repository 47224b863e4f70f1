"""Gradients of float inputs on a GPU: tables, slopes and biases that scores read.

The gradient of an entry is a sum over all pairs that read it.  Kernels add up tiles of pairs (`read_kernel`).  What
remains are sums for each query, key or distance of each sequence, which go to their entries in the order of positions:
no sum depends on which program is the faster one.  The gradient of an entry that one pair reads is added in place.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.launches.compiling import launched
from sparsec.kernels.launches.direct import attach, current
from sparsec.kernels.launches.kernel_inputs import for_kernels
from sparsec.kernels.launches.prepare import are_near, padded
from sparsec.kernels.launches.stages import variant_for
from sparsec.kernels.lists.table_tiles import whole_table
from sparsec.kernels.machine.hardware import dot_precision
from sparsec.kernels.machine.memory import as_contiguous, as_readable
from sparsec.kernels.passes.read_kernel import read_gradient_kernel
from sparsec.kernels.passes.read_spans import spans_of
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.input_entries import entries_in_sequences
from sparsec.kernels.program.inputs import form_of
from sparsec.kernels.program.program import Group, Program, Read, Region, cdiv
from sparsec.kernels.sequences.sequences import SequenceLine, known

_READ_BLOCK = 64  # queries and keys of a tile
_READ_WARPS = 8  # of a program: of 4, sums would not fit registers
_PAIRS_ROOM = 1 << 26  # bytes of gradients of pairs that are made together
_STRETCH = 256  # sums that are added up beforehand, if they are of one entry


def input_gradients_gpu(program: Program, call: Call, upstream: Upstream) -> list[Tensor]:
    """The gradients of float inputs, [B, H or 1, entries] each: of every row of the batch for itself.

    Of a call about several sequences, too, if kernels can go over all of them (`operator.packed.at_once`).
    """
    first = len(program.inputs) - program.score_inputs
    batch = call.q.shape[0]
    found = [x.new_zeros(batch, x.shape[1], x.shape[2] + 1) for x in call.inputs[first:]]  # one for what is outside
    if not call.is_empty:
        launch = _Launch(program, call, upstream)
        for group in program.groups:
            regions = variant_for(group, launch.n, call.table is not None).regions
            for read in regions[0].reads.all if regions[0].reads else ():
                launch.add(found[read.input - first], group, regions, read)
    return [x[..., :-1] for x in found]


class _Sums(NamedTuple):
    """The sums that a read asks for, those of the sequences of a call one after the other."""

    walks: Tensor  # int32 [lines + 1]: how many there are before each sequence
    places: Tensor  # likewise, of sums
    most_walks: int
    room: int  # the most sums of a head


class _Launch:
    """What all launches of a call have in common."""

    def __init__(self, program: Program, call: Call, upstream: Upstream) -> None:
        self.program, self.call = program, call
        (self.batch, self.heads, self.rows, _), self.keys = call.q.shape, call.k.shape[2]
        packed = call.table is not None
        self.n = self.keys if packed else call.k_begin + self.keys
        one = self.rows, 0, call.k_begin, self.n, call.q_offset
        self.table = _rows_of_batch(self.batch, *one, call.q.device) if call.table is None else call.table.contiguous()
        self.shifted = packed or call.k_begin > 0
        inputs = for_kernels(program, call.inputs, 0 if packed else call.positions, self.n)
        uses = [(own, use) for own in program.inputs for use in own.uses]
        self.inputs = tuple(inputs.values())
        self.forms = tuple(form_of(*use, x.shape) for use, x in zip(uses, self.inputs, strict=True))
        self.streams, self.dropped = None, (0, 1.0)
        if dropout := call.dropout:
            self.streams, self.dropped = as_contiguous(dropout.streams), (dropout.drop_below, dropout.kept_share)
        self.tensors = [as_readable(x) for x in (call.q, call.k, call.v, upstream.g)]
        delta = (upstream.out.float() * upstream.g.float()).sum(-1)
        self.delta = as_contiguous(delta if upstream.dlse is None else delta - upstream.dlse)
        lse = upstream.lse
        self.lse = as_contiguous(lse.masked_fill(lse == float("-inf"), float("inf")))  # such a row has no weights

    def add(self, total: Tensor, group: Group, regions: tuple[Region, ...], read: Read) -> None:
        """Adds what the pairs of a group's heads give the entries of a read; total [B, H or 1, entries and one]."""
        own = _head_numbers(tuple(range(self.heads)) if group.heads is None else tuple(group.heads), total.device)
        if read.by == "pair":
            for line in self._lines():
                self._add_pairs(total, line, own, regions, read)
            return
        sums = self._sums(read.by)
        if read.by == "whole":
            self._run(total, (sums.most_walks, len(own) if total.shape[1] > 1 else 1), sums, own, regions, read)
            return
        planes = 2 if read.by == "distance" else 1
        parts = total.new_zeros(self.heads, planes, sums.room, dtype=torch.float32)
        self._run(parts, (sums.most_walks, len(own)), sums, own, regions, read)
        place = torch.arange(sums.room, device=total.device)
        line = torch.searchsorted(sums.places[1:], place, right=True).clamp(max=len(self.table) - 1)
        of_place = self.table.long()[line]
        own_place, (_, _, _, _, k_begin, n, q_offset) = place - sums.places[line], of_place.unbind(1)
        zero = torch.zeros_like(place)
        where = {
            "row": (q_offset + own_place, zero),
            "column": (zero, k_begin + own_place),
            "distance": (own_place - (n - 1) + q_offset, zero),
        }[read.by]
        self._scatter(total, parts.sum(1)[own], of_place, *where, own, regions, read)

    def _lines(self) -> list[SequenceLine]:
        """The sequences of the call, one by one."""
        if self.call.table is not None:
            return known(self.table)
        one = 0, self.rows, 0, self.call.k_begin, self.n, self.call.q_offset
        return [SequenceLine(row, *one, row) for row in range(self.batch)]

    def _sums(self, by: str) -> _Sums:
        """Walks and sums of the sequences that have pairs."""
        rows, keys = self.table[:, 2], self.table[:, 5] - self.table[:, 4]
        some = ((rows > 0) & (keys > 0)).int()
        rows, keys = rows * some, keys * some
        of_rows, of_keys = ((x + (_READ_BLOCK - 1)) // _READ_BLOCK for x in (rows, keys))
        walks, count, room = {
            "column": (of_keys, keys, self.batch * self.keys),
            "distance": (of_rows + of_keys - some, rows + keys, self.batch * (self.rows + self.keys)),
        }.get(by, (of_rows, rows, self.batch * self.rows))
        ends = [torch.nn.functional.pad(x.cumsum(0, dtype=torch.int32), (1, 0)) for x in (walks, count)]
        return _Sums(ends[0], ends[1], min(room, cdiv(room, _READ_BLOCK) + 2 * len(self.table)), room)

    def _add_pairs(
        self, total: Tensor, line: SequenceLine, own: Tensor, regions: tuple[Region, ...], read: Read
    ) -> None:
        """Some queries of a sequence at a time: their gradients have room for each pair."""
        keys, device = line.n - line.k_begin, total.device
        at_once = max(1, _PAIRS_ROOM // (4 * self.heads * keys * _READ_BLOCK))
        k = torch.arange(keys, device=device) + line.k_begin
        for first in range(0, cdiv(line.n_q, _READ_BLOCK), at_once):
            tiles = min(at_once, cdiv(line.n_q, _READ_BLOCK) - first)
            begin, rows = first * _READ_BLOCK, min(tiles * _READ_BLOCK, line.n_q - first * _READ_BLOCK)
            parts = total.new_zeros(self.heads, tiles * _READ_BLOCK, keys, dtype=torch.float32)
            grid = tiles * cdiv(keys, _READ_BLOCK), len(own)
            self._run(parts, grid, None, own, regions, read, line.line, first)
            q = torch.arange(rows, device=device)[:, None] + (line.q_offset + begin)
            of_line = self.table[line.line].long()
            self._scatter(total, parts[own, :rows], of_line, q, k[None], own, regions, read)

    def _scatter(
        self, total: Tensor, sums: Tensor, lines: Tensor, q: Tensor, k: Tensor, own: Tensor,
        regions: tuple[Region, ...], read: Read,
    ) -> None:  # fmt: skip
        """Adds sums [heads, ..] to the entries that queries and keys read, in their order.

        lines [.., 7]: those of the table of sequences that they belong to.
        """
        declared, shape = self.program.inputs[read.input], sums.shape
        row, _, _, k_row, k_begin, n, _ = lines.unbind(-1)
        h = own.view(-1, *(1,) * (len(shape) - 1))
        head = h if total.shape[1] > 1 else h * 0
        if not declared.has_entries:
            self._add_numbers(total, sums, row, head)
            return
        given = ((self.program.inputs[number], self.call.inputs[number]) for number in read.inputs)
        inputs = [entries_in_sequences(*each, h, lines) for each in given]
        answer = read.indices(q[None], k[None], n, h, self.heads, *inputs, *regions[0].more)
        by_position, entries = declared.axes[-1] == "n", total.shape[2] - 1
        size = self.keys if by_position else entries
        place, inside = torch.zeros_like(h), torch.ones_like(h, dtype=torch.bool)
        for index in answer:
            least, stop = (k_begin, n) if by_position else (0, entries)
            inside = inside & (index >= least) & (index < stop)
            place = place * size + (index - k_begin + k_row if by_position else index)
        entry = (row * total.shape[1] + head) * total.shape[2] + torch.where(inside, place, entries)
        add_to_entries(total.view(-1), entry.expand(shape).flatten(1), sums.flatten(1))

    def _add_numbers(self, total: Tensor, sums: Tensor, row: Tensor, head: Tensor) -> None:
        """Adds sums to an input that has one number for a row of the batch and a head."""
        sums, row = sums.flatten(1), row.expand(sums.shape[1:]).flatten()
        for number in range(self.batch):
            some = torch.where(row == number, sums, 0.0) if self.batch > 1 else sums
            total[number, :, 0].index_put_((head.flatten(),), some.sum(1), accumulate=True)

    def _run(
        self, parts: Tensor, grid: tuple[int, int], sums: _Sums | None, own: Tensor, regions: tuple[Region, ...],
        read: Read, line: int = 0, first_tile: int = 0,
    ) -> None:  # fmt: skip
        """Launches the kernel for the walks of `sums`, or for tiles of one sequence."""
        (q, k, v, g), region, by = self.tensors, regions[0], read.by
        reads = region.reads
        assert reads is not None
        positions = max(self.rows, self.keys) if self.call.table is not None else self.n
        tables = [x for _, source in reads.tables for x in whole_table(source, positions, q.device)]
        strides = [stride // 8 for x in (q, k, v, g) for stride in x.stride()[:3]]
        spans, walks, places, near = None, None, None, not self.shifted and are_near(self.call.positions)
        if sums is not None:
            walks, places = sums.walks, sums.places
            if not self.shifted:
                walk = "row" if by == "whole" else by
                spans = spans_of(regions, walk, self.rows, self.n, self.call.q_offset, _READ_BLOCK, q.device)
        turns = len(own) if by == "whole" and grid[1] == 1 else 1
        with current(q.device):
            attach(q.device)
            launched(
                read_gradient_kernel, grid,
                q, k, v, g, self.lse, self.delta, parts, self.table, walks, places,
                own.int() if len(own) < self.heads else None, spans, self.streams, tuple(tables) or None, self.inputs,
                *strides, self.heads, turns, parts.shape[1], self.rows, self.keys,
                len(self.table), len(self.table).bit_length(), parts.shape[2], line, first_tile,
                self.call.scale, *self.dropped, reads.kept, region.answers.score, read.slope, region.numbers or None,
                self.forms, by, self.shifted, self.heads // k.shape[1], q.shape[3], _READ_BLOCK, padded(q.shape[3]),
                v.shape[3], padded(v.shape[3]), dot_precision(q.dtype), near,
                num_warps=_READ_WARPS,
            )  # fmt: skip


def add_to_entries(total: Tensor, entry: Tensor, sums: Tensor) -> None:
    """Adds sums to the entries of total [entries] that they belong to, in an order that nothing but `entry` decides.

    sums and entry [lines, count].  index_put_ sorts by entry, and then one thread adds up all that an entry gets: of a
    table whose last entry stands for all that is further, nearly everything.  So stretches of one entry are added up
    before, and what is left of them goes to places of its own, behind those of total.
    """
    more = -sums.shape[1] % _STRETCH
    sums, entry = (
        torch.nn.functional.pad(x, (0, more), value=value).unflatten(1, (-1, _STRETCH))
        for x, value in ((sums, 0), (entry, -1))
    )
    alike, begins = (entry == entry[..., :1]).all(-1, keepdim=True), torch.arange(_STRETCH, device=sums.device) == 0
    sums = torch.where(alike, torch.where(begins, sums.sum(-1, keepdim=True), 0.0), sums)
    behind = torch.arange(sums.numel(), device=sums.device).view(sums.shape) + len(total)
    place = torch.where((begins | ~alike) & (entry >= 0), entry, behind)
    found = torch.nn.functional.pad(total, (0, sums.numel()))
    found.index_put_((place.flatten(),), sums.flatten(), accumulate=True)
    total.copy_(found[: len(total)])


@lru_cache(maxsize=64)
def _rows_of_batch(
    batch: int, n_q: int, k_first: int, k_begin: int, n: int, q_offset: int, device: torch.device
) -> Tensor:
    """The rows of a batch as a table of sequences."""
    lines = [(row, 0, n_q, k_first, k_begin, n, q_offset) for row in range(batch)]
    return torch.tensor(lines, dtype=torch.int32, device=device)


@lru_cache(maxsize=64)
def _head_numbers(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, device=device)
