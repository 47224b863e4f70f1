"""Lists of the tiles that sequences of a call visit where tables name some: made on the device at every call.

A table whose rows are the same at every length serves sequences of any length: each reads as many rows as it has.
"""

from __future__ import annotations

import torch

from sparsec.kernels.launches.launch import Environment, Tables
from sparsec.kernels.lists.tables import Source
from sparsec.kernels.machine.device import RUN_TIME, tl, triton
from sparsec.kernels.program.program import Region, cdiv
from sparsec.kernels.tiles.own_tiles import sequence_of
from sparsec.kernels.tiles.regions import ask


def tables_of_masks(region: Region, positions: int, device: torch.device) -> Environment:
    """The tables that masks of a region read, for so many positions, by name."""
    found = [x for _, source in region.tables for x in whole_table(source, positions, device)]
    return {"TABLES": Tables(found)} if found else {}


def tables_of_tiles(sources: tuple[Source, ...], positions: int, device: torch.device) -> Environment:
    """What `list_named_tiles` reads of the tables that name tiles, by name."""
    named = Tables(x for source in sources for x in whole_table(source, positions, device))
    sizes, steps = (source.size for source in sources), (source.width.bit_length() for source in sources)
    return {"SOURCES": named, "SIZES": tuple(sizes), "STEPS": tuple(steps)}


def whole_table(source: Source, positions: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Where rows begin, one for each block of positions and one more, and their entries.

    All rows that are listed are there: masks ask about queries behind the last one of a tile, too.
    """
    blocks = cdiv(positions, source.size)
    _, starts, entries = source.rows(positions, 0, None, device)
    more = blocks + 1 - len(starts)  # rows that list nothing
    return torch.cat([starts, starts[-1:].expand(more)]) if more > 0 else starts, entries


@triton.jit(do_not_specialize=[*RUN_TIME, "most"])
def list_named_tiles(
    DATA_LIST, COUNTS, TILES, SOURCES, most,
    VISITS: tl.constexpr, NUMBERS: tl.constexpr, SIZES: tl.constexpr, STEPS: tl.constexpr,
    FILL: tl.constexpr, FULL_NAMED: tl.constexpr,
    BY_QUERY: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """DATA_LIST [most]: 2 * tile + whether all of its pairs are kept, of the tiles that those of TILES visit.

    They are those in ranges and those in which a table names a pair, rising.  A line of TILES says where its entries
    begin, COUNTS how many it has.  SOURCES: where rows begin and entries of each table, of blocks of SIZES positions;
    no row has 2 ** STEPS entries.  FILL: a tile of which a table has all pairs is kept whole, where FULL_NAMED says so.
    """
    for number in range(tl.program_id(0), tl.load(TILES), tl.num_programs(0)):
        own = sequence_of(TILES, number, False)
        ranges = (0,)
        if BY_QUERY:
            first, others = own.q_offset + own.tile * BLOCK_M, tl.cdiv(own.n, BLOCK_N)
            if VISITS is not None:
                ranges = ask(VISITS, (first, first + BLOCK_M - 1, own.n, own.n, BLOCK_N), (), NUMBERS)
        else:
            first, others = own.tile * BLOCK_N, tl.cdiv(own.n_q, BLOCK_M)
            if VISITS is not None:
                ranges = ask(VISITS, (first, first + BLOCK_N - 1, own.n, own.n_q, own.q_offset, BLOCK_M), (), NUMBERS)
        room = tl.maximum(most - own.list_first, 0)
        listed = 0
        for begin in range(0, others, AT_ONCE):
            other = begin + tl.arange(0, AT_ONCE)
            if BY_QUERY:
                tile_m, tile_n = own.tile + 0 * other, other
            else:
                tile_m, tile_n = other, own.tile + 0 * other
            q_lo, q_hi = tile_m * BLOCK_M, tl.minimum(tile_m * BLOCK_M + BLOCK_M, own.n_q) - 1
            k_lo, k_hi = tile_n * BLOCK_N, tl.minimum(tile_n * BLOCK_N + BLOCK_N, own.n) - 1
            there = (q_lo <= q_hi) & (k_lo <= k_hi)
            named, filled = _named(
                SOURCES, SIZES, STEPS, FILL, own.q_offset + q_lo, own.q_offset + q_hi, k_lo, k_hi, there, BLOCK_M
            )
            if FULL_NAMED is not None:
                q_first, k_first = own.q_offset + q_lo, k_lo
                edges = q_first, q_first + BLOCK_M - 1, k_first, k_first + BLOCK_N - 1, own.n
                filled &= ask(FULL_NAMED, edges, (), NUMBERS)
            some = there & (named | _in_ranges(ranges, other))
            place = listed + tl.cumsum(some.to(tl.int32), 0) - 1
            entry = 4 * other + filled.to(tl.int32)
            tl.store(DATA_LIST + own.list_first + place, entry, mask=some & (place < room))
            listed += tl.sum(some.to(tl.int32), 0)
        tl.store(COUNTS + number, tl.minimum(listed, room))


@triton.jit
def _in_ranges(ranges, tile):
    """Whether a walk through ranges, as KEYS and QUERIES say them, comes to some tiles."""
    LENGTH: tl.constexpr = len(ranges)
    found = tile < 0
    if LENGTH > 1:
        shift, before = ranges[1], 0
        for turn in tl.static_range(2, LENGTH, 2):
            found |= (tile >= shift + before) & (tile < shift + ranges[turn])
            shift, before = shift + ranges[turn + 1], ranges[turn]
        found |= (tile >= shift + before) & (tile < shift + ranges[0])
    return found


@triton.jit
def _named(
    SOURCES, SIZES: tl.constexpr, STEPS: tl.constexpr, FILL: tl.constexpr, q_lo, q_hi, k_lo, k_hi, there,
    BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Of tiles q_lo..q_hi by k_lo..k_hi whether tables name a pair, and with FILL whether one of them has all."""
    named, filled = there & False, there & False
    for table in tl.static_range(len(SIZES)):
        every = there
        for number in range((BLOCK_M - 1) // SIZES[table] + 2):  # rows that meet a tile
            row = q_lo // SIZES[table] + number
            inside = there & (row <= q_hi // SIZES[table])
            first = tl.load(SOURCES[2 * table] + row, mask=inside, other=0)
            stop = tl.load(SOURCES[2 * table] + row + 1, mask=inside, other=0)
            low = _first_from(SOURCES[2 * table + 1], first, stop, k_lo // SIZES[table], STEPS[table])
            seen = inside & (low < stop)
            last = k_hi // SIZES[table]
            named |= seen & (tl.load(SOURCES[2 * table + 1] + low, mask=seen, other=0) <= last)
            if FILL:
                high = _first_from(SOURCES[2 * table + 1], first, stop, last + 1, STEPS[table])
                every &= (not inside) | (high - low == last + 1 - k_lo // SIZES[table])
        filled |= every & FILL
    return named, filled


@triton.jit
def _first_from(ENTRIES, first, stop, value, STEPS: tl.constexpr):
    """Where in rising entries first..stop - 1 the first one stands that is `value` or more; `stop`: none is."""
    for _ in tl.static_range(STEPS):
        middle = (first + stop) // 2
        less = (first < stop) & (tl.load(ENTRIES + middle, mask=first < stop, other=0) < value)
        first, stop = tl.where(less, middle + 1, first), tl.where(less, stop, middle)
    return first
