"""Device functions: which tile a program works on, and which share of its steps where several programs split it."""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.tiles.ranges import split_first

SHARE_COLUMNS = tl.constexpr(8)  # row of the batch, number of the head, tile, part, parts, slot; two are unused


class Shares(NamedTuple):
    """Which tiles several programs of a kernel split; None: nothing of the kind.

    Either the first tiles, by `splits` programs each, or those with long lines in a list of the call: then SHARES says
    which, `splits` programs of each head work on these, and the COUNTS of their lines are negative.
    """

    split_tiles: Any
    splits: Any
    SHARES: Any
    COUNTS: Any
    batch_lines: Any
    head_lines: Any


class Share(NamedTuple):
    """A tile that several programs may split, its steps between them."""

    tile: Any
    split: Any  # whether they do
    part: Any  # this program's number among them, and how many they are; 0: others do all of it
    parts: Any
    slot: Any  # where in SPLITS it leaves what it finds, in tiles


@triton.jit
def share_of(shares, HEADS, heads, LONGEST_FIRST: tl.constexpr):
    """The number of a program's head, its row of the batch, and its tile, in layouts without classes.

    HEADS, where there is one, says which of `heads` heads a number stands for.
    """
    number, batch = tl.program_id(1), tl.program_id(2)
    tile, split, part, parts, slot = tl.program_id(0), False, 0, 1, 0
    if shares.SHARES is not None:
        number, batch, tile, part, parts, slot = _share_of_line(shares, HEADS, LONGEST_FIRST)
        split = parts > 1
    elif shares.splits is not None:
        tile, split, part, parts = split_first(shares.split_tiles, shares.splits)
        bh = batch * heads + _head_of(HEADS, number)
        slot = (part * heads * tl.num_programs(2) + bh) * shares.split_tiles + tile
    elif LONGEST_FIRST:  # those with more to do start first, so that none of them is left for the end
        tile = tl.num_programs(0) - 1 - tl.program_id(0)
    return number, batch, Share(tile, split, part, parts, slot)


@triton.jit
def is_idle(shares, HEADS, LONGEST_FIRST: tl.constexpr):
    """Whether there is nothing to do for a program of a kernel with SHARES."""
    _, _, _, _, parts, _ = _share_of_line(shares, HEADS, LONGEST_FIRST)
    return parts == 0


@triton.jit
def _share_of_line(shares, HEADS, LONGEST_FIRST: tl.constexpr):
    """Number of the head, row of the batch, tile, part, parts and slot of a program of a kernel with SHARES.

    Programs for shares of long lines start before all others, and without any order between heads: an entry of SHARES
    stands for all heads and rows that have a line in common, one program for each.
    """
    program = tl.program_id(0)
    first = program < shares.splits
    copies, head_copies = copies_of(shares.batch_lines, shares.head_lines, tl.num_programs(1), tl.num_programs(2))
    place = program + shares.splits * (tl.program_id(1) + tl.num_programs(1) * tl.program_id(2))
    entry, copy = place // copies, place % copies
    there = first & (entry < tl.load(shares.SHARES, mask=first, other=0))  # other programs do not wait for it
    row = shares.SHARES + (1 + entry) * SHARE_COLUMNS
    number = tl.where(first, tl.load(row + 1, mask=there, other=0) + copy % head_copies, tl.program_id(1))
    batch = tl.where(first, tl.load(row, mask=there, other=0) + copy // head_copies, tl.program_id(2))
    tile = program - shares.splits
    if LONGEST_FIRST:
        tile = tl.num_programs(0) - 1 - program
    tile = tl.where(first, tl.load(row + 2, mask=there, other=0), tile)
    line = line_of(batch, _head_of(HEADS, number), tile, shares.batch_lines, shares.head_lines)
    alone = tl.where(tl.load(shares.COUNTS + line, mask=program >= shares.splits, other=0) < 0, 0, 1)
    part = tl.load(row + 3, mask=there, other=0)
    parts = tl.where(first, tl.load(row + 4, mask=there, other=0), alone)
    return number, batch, tile, part, parts, tl.load(row + 5, mask=there, other=0) * copies + copy


@triton.jit
def _head_of(HEADS, number):
    """The head that a number stands for."""
    head = number
    if HEADS is not None:
        head = tl.load(HEADS + number)
    return head


@triton.jit
def line_of(batch, head, tile, batch_lines, head_lines):
    """The line of a tile in a list of the call."""
    return tl.cast(batch, tl.int64) * batch_lines + tl.cast(head, tl.int64) * head_lines + tile


@triton.jit
def copies_of(batch_lines, head_lines, heads, batches):
    """How many rows of the batch and heads have a line in common, and how many heads of a row."""
    head_copies = tl.where(head_lines == 0, heads, 1)
    return head_copies * tl.where(batch_lines == 0, batches, 1), head_copies
