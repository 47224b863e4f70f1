"""The tiles of the sequences of a call: which tile of which sequence each program of a kernel works on.

Small kernels make the list on the device, from the table of sequences (`sequences.sequences`), so that no launch
waits for a number; the host knows how many tiles there can be at most.
"""

from __future__ import annotations

import torch

from sparsec.kernels.launches.launch import Environment, Pass, Slot
from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.program.program import cdiv
from sparsec.kernels.tiles.own_tiles import TILE_COLUMNS, TILES_TAKEN

_TILES_AT_ONCE = 256
_FEW_SEQUENCES, _MANY_SEQUENCES = 1024, 8192  # sequences at once
_PROGRAMS_MORE = 1024
_TILE_COLUMNS = getattr(TILE_COLUMNS, "value", TILE_COLUMNS)


def most_tiles(sequences: int, rows: int, block: int, stride: int) -> int:
    """How many tiles sequences of `rows` rows together have at most."""
    return min(rows + sequences, cdiv(rows, block) + 2 * sequences * stride)


def programs_for(most: int, rows: int, block: int) -> int:
    """Programs that work on `most` tiles at most: one for each of so many as long sequences have, and some more.

    To start a program without a tile costs about a nanosecond, and there may be as many sequences as rows.
    """
    return min(most, cdiv(rows, block) + _PROGRAMS_MORE)


def stats_rows(sequences: int, rows: int) -> int:
    """How long a row of ROW_STATS is: numbers of each sequence begin at a multiple of 4, as descriptors want it."""
    return rows + 4 * sequences


def lay_tiles(run: Pass, by_key: bool, rows: int, block: int, stride: int, other: int = 0) -> tuple[str, int]:
    """Makes the list of tiles of queries, or of keys, of a pass.  Its name, and how many programs work on them.

    The list is int32 [1 + most, TILE_COLUMNS]: how many tiles there are, and
    how many programs have taken, 0 between launches; then for each the numbers of its sequence,
    which of its tiles it is, where the numbers of its rows of Q begin in ROW_STATS, where its entries begin in a list
    of the call, which has room for all tiles of `other` positions on the other side, and the line of its sequence.
    """
    name = f"TILES_{'K' if by_key else 'Q'}_{block}_{stride}_{other}"
    lines = run.metas["SEQUENCES"].shape[0]
    most = most_tiles(lines, rows, block, stride)
    if name not in run.metas:
        run.scratch(name, (1 + most, _TILE_COLUMNS), torch.int32)
        run.scratch(f"{name}_ENDS", (2 * (1 + lines),), torch.int32)
        values: Environment = {"SEQUENCES": Slot("SEQUENCES"), "ENDS": Slot(f"{name}_ENDS"), "TILES": Slot(name)}
        values["OTHER"] = other
        values |= {"lines": lines, "halvings": lines.bit_length(), "most": most, "AT_ONCE": _TILES_AT_ONCE}
        values |= {"BY_KEY": by_key, "BLOCK": block, "STRIDE": stride}
        grid = cdiv(most, _TILES_AT_ONCE), 1, 1
        if lines <= _FEW_SEQUENCES:
            run.launch(write_tiles_of_few, grid, values | {"LINES_AT_ONCE": _FEW_SEQUENCES})
        else:
            run.launch(sum_tiles, (1, 1, 1), values | {"AT_ONCE": _MANY_SEQUENCES}, {"num_warps": 16})
            run.launch(write_tiles, grid, values)
    return name, programs_for(most, rows, block)


@triton.jit
def _first_and_count(SEQUENCES, line, there, BY_KEY: tl.constexpr, BLOCK: tl.constexpr, STRIDE: tl.constexpr):
    """The first tile in each class of some sequences, their classes, and how many tiles they have.

    Tiles of keys that are all gone do not count.
    """
    if BY_KEY:
        rows = tl.load(SEQUENCES + line * 7 + 5, mask=there, other=0)
        begin = tl.load(SEQUENCES + line * 7 + 4, mask=there, other=0)
        first = tl.minimum(begin, rows) // (STRIDE * BLOCK)
    else:
        rows = tl.load(SEQUENCES + line * 7 + 2, mask=there, other=0)
        first = rows * 0
    classes = tl.minimum(rows, STRIDE)
    return first, classes, classes * (tl.cdiv(tl.cdiv(rows, STRIDE), BLOCK) - first)


@triton.jit
def _others(SEQUENCES, line, there, BY_KEY: tl.constexpr, OTHER: tl.constexpr):
    """How many tiles of OTHER positions sequences have on the other side: of queries, or of keys that are there."""
    if BY_KEY:
        others = tl.cdiv(tl.load(SEQUENCES + line * 7 + 2, mask=there, other=0), OTHER)
    else:
        keys = tl.load(SEQUENCES + line * 7 + 5, mask=there, other=0)
        begin = tl.load(SEQUENCES + line * 7 + 4, mask=there, other=0)
        others = tl.cdiv(keys, OTHER) - tl.minimum(begin, keys) // OTHER
    return others


@triton.jit(do_not_specialize=["lines", "most"])
def sum_tiles(
    SEQUENCES, ENDS, TILES, lines, most,
    BY_KEY: tl.constexpr, BLOCK: tl.constexpr, STRIDE: tl.constexpr, OTHER: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """ENDS, by one program, as `_sum_tiles` says."""
    _sum_tiles(SEQUENCES, ENDS, TILES, lines, most, BY_KEY, BLOCK, STRIDE, OTHER, AT_ONCE)


@triton.jit(do_not_specialize=["lines", "halvings", "most"])
def write_tiles(
    SEQUENCES, ENDS, TILES, lines, halvings, most,
    BY_KEY: tl.constexpr, BLOCK: tl.constexpr, STRIDE: tl.constexpr, OTHER: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """TILES [1 + most, TILE_COLUMNS], as `lay_tiles` describes it, from ENDS."""
    _write_tiles(SEQUENCES, ENDS, TILES, lines, halvings, most, BY_KEY, BLOCK, STRIDE, OTHER, AT_ONCE)


@triton.jit(do_not_specialize=["lines", "halvings", "most"])
def write_tiles_of_few(
    SEQUENCES, ENDS, TILES, lines, halvings, most,
    BY_KEY: tl.constexpr, BLOCK: tl.constexpr, STRIDE: tl.constexpr, OTHER: tl.constexpr, AT_ONCE: tl.constexpr,
    LINES_AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Both in one launch: each program sums all lines and leaves the same in ENDS, so that none waits for another."""
    _sum_tiles(SEQUENCES, ENDS, TILES, lines, most, BY_KEY, BLOCK, STRIDE, OTHER, LINES_AT_ONCE)
    tl.debug_barrier()  # what other threads of the program have left there
    _write_tiles(SEQUENCES, ENDS, TILES, lines, halvings, most, BY_KEY, BLOCK, STRIDE, OTHER, AT_ONCE)


@triton.jit
def _sum_tiles(
    SEQUENCES, ENDS, TILES, lines, most,
    BY_KEY: tl.constexpr, BLOCK: tl.constexpr, STRIDE: tl.constexpr, OTHER: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """ENDS [2, lines + 1]: 0, then how many tiles there are up to each sequence; the same of entries of a list of the
    call, where OTHER is the length of the tiles that it names.  TILES begins with how many tiles there are in all.

    No more than `most`, of sequences that overlap too: programs must not look behind the list.
    """
    total, listed = 0, 0
    tl.store(ENDS, 0)
    tl.store(ENDS + lines + 1, 0)
    for begin in range(0, lines, AT_ONCE):
        line = begin + tl.arange(0, AT_ONCE)
        _, _, count = _first_and_count(SEQUENCES, line, line < lines, BY_KEY, BLOCK, STRIDE)
        tl.store(ENDS + 1 + line, total + tl.cumsum(count, 0), mask=line < lines)
        total += tl.sum(count, 0)
        if OTHER > 0:
            entries = count * _others(SEQUENCES, line, line < lines, BY_KEY, OTHER)
            tl.store(ENDS + lines + 2 + line, listed + tl.cumsum(entries, 0), mask=line < lines)
            listed += tl.sum(entries, 0)
    tl.store(TILES, tl.minimum(total, most))
    tl.store(TILES + TILES_TAKEN, 0)


@triton.jit
def _write_tiles(
    SEQUENCES, ENDS, TILES, lines, halvings, most,
    BY_KEY: tl.constexpr, BLOCK: tl.constexpr, STRIDE: tl.constexpr, OTHER: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """TILES, from ENDS."""
    number = tl.program_id(0) * AT_ONCE + tl.arange(0, AT_ONCE)
    there = number < tl.minimum(most, tl.load(ENDS + lines))
    low = tl.zeros([AT_ONCE], tl.int32)  # the sequence is one of low .. high
    high = low + lines - 1
    for _ in range(halvings):
        middle = (low + high) // 2
        beyond = tl.load(ENDS + 1 + middle) <= number
        low, high = tl.where(there & beyond, middle + 1, low), tl.where(there & beyond, high, middle)
    line = tl.where(there, low, 0)
    first, classes, _ = _first_and_count(SEQUENCES, line, there, BY_KEY, BLOCK, STRIDE)
    for column in range(7):
        x = tl.load(SEQUENCES + line * 7 + column, mask=there, other=0)
        tl.store(TILES + (1 + number) * TILE_COLUMNS + column, x, mask=there)
    nth = number - tl.load(ENDS + line, mask=there, other=0)
    tl.store(TILES + (1 + number) * TILE_COLUMNS + 7, nth + first * classes, mask=there)
    stats_first = (tl.load(SEQUENCES + line * 7 + 1, mask=there, other=0) + 3) // 4 + line
    tl.store(TILES + (1 + number) * TILE_COLUMNS + 8, 4 * stats_first, mask=there)
    list_first = nth * 0
    if OTHER > 0:
        others = _others(SEQUENCES, line, there, BY_KEY, OTHER)
        list_first = tl.load(ENDS + lines + 1 + line, mask=there, other=0) + nth * others
    # Of sequences that overlap there may be any number; what lists them looks where their room ends.
    tl.store(TILES + (1 + number) * TILE_COLUMNS + 9, tl.maximum(list_first, 0), mask=there)
    tl.store(TILES + (1 + number) * TILE_COLUMNS + 10, line, mask=there)
