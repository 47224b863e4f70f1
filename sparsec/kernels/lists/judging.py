"""Kernels that list the tiles that hold a kept pair where data of the call decides, for `lists.data_tiles`."""

from __future__ import annotations

from sparsec.kernels.machine.device import RUN_TIME, tl, triton
from sparsec.kernels.tiles.own_tiles import sequence_of
from sparsec.kernels.tiles.regions import Lists, Rules, ask_data, tile_of, walk_of
from sparsec.kernels.tiles.shares import line_of
from sparsec.kernels.tiles.spans import span

ROOM_UNIT = 1024  # entries that room is counted in: all of them may be more than fit 32 bits
_ROOM_UNIT = tl.constexpr(ROOM_UNIT)


@triton.jit
def _query_heads_of(head, HEADS, KV_HEADS, FIRST_HEAD, BY_QUERY: tl.constexpr, GROUP: tl.constexpr):
    """Of a number of a head with lines of its own the head, the first query head, and how many these are."""
    first, count = head, 1
    if BY_QUERY:
        if HEADS is not None:
            head = tl.load(HEADS + head)
            first = head
    else:
        first, count = head * GROUP, GROUP
        if KV_HEADS is not None:
            first, stop = tl.load(FIRST_HEAD + head), tl.load(FIRST_HEAD + head + 1)
            count = stop - first
            head = tl.load(KV_HEADS + head)
    return head, first, count


@triton.jit
def _static_walk(
    rules, lists, tile, n_q, n, q_offset, BY_QUERY: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    """The tiles of a line that may hold a pair whatever the data."""
    if BY_QUERY:
        first = q_offset + tile * BLOCK_M
        walk = walk_of(rules, lists, tile, 0, 0, 0, n, (first, first + BLOCK_M - 1, n, n, BLOCK_N), (), False)
    else:
        first = tile * BLOCK_N
        last = first + BLOCK_N - 1
        walk = walk_of(rules, lists, tile, 0, 0, 0, n_q, (first, last, n, n_q, q_offset, BLOCK_M), (), False)
    return walk


@triton.jit
def begin_lists(CURSOR):
    """Nothing is listed yet."""
    tl.store(CURSOR, tl.cast(0, tl.int64))


@triton.jit(do_not_specialize=[*RUN_TIME, "own"])
def list_tiles(
    DATA_LIST, COUNTS, STARTS, CURSOR, BESIDE, INPUTS, LIST_STARTS, LIST, HEADS, KV_HEADS, FIRST_HEAD,
    n_q, n, q_offset, heads, own, batch_lines, head_lines, room,
    JUDGE: tl.constexpr, VISITS: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr,
    BY_QUERY: tl.constexpr, GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
    ROWS_OF_QUERY: tl.constexpr, HEADS_LISTED: tl.constexpr, NAMED: tl.constexpr, RANGES: tl.constexpr,
):  # fmt: skip
    """DATA_LIST [room * ROOM_UNIT]: entries, as `Lists` has them, of the COUNTS [lines] tiles of each line.

    STARTS: where the entries of lines begin.  With a CURSOR, 0 at first, that is found here, as soon as a line is
    counted, and which line comes first may differ from call to call; else it is given, with the end of the last line.
    BESIDE int32 [tiles, RANGES, 2]: ranges of a line, besides which it has only tiles that lists name, as NAMED says.
    Of several heads that share a tile of keys one entry stands for all; but with HEADS_LISTED above 1, at least as many
    as these, an entry is about one of them, number h: 4 * (tile * HEADS_LISTED + h) + ..
    """
    batch, number = tl.program_id(2) // own, tl.program_id(2) % own
    head, first, count = _query_heads_of(number, HEADS, KV_HEADS, FIRST_HEAD, BY_QUERY, GROUP)
    line = line_of(batch, head, tl.program_id(0), batch_lines, head_lines)
    tile, at = tl.program_id(0), (batch, first, heads)
    if CURSOR is None:
        begin = tl.load(STARTS + line)
        most = tl.load(STARTS + line + 1) - begin
    else:
        wanted = _list_line(
            None, 0, BESIDE, Rules(None, None, VISITS, NUMBERS, INPUTS, FORMS), Lists(LIST_STARTS, LIST), HEADS,
            tile, n_q, n, q_offset, 0, first, count, at,
            JUDGE, BY_QUERY, BLOCK_M, BLOCK_N, AT_ONCE, ROWS_OF_QUERY, HEADS_LISTED, NAMED, RANGES,
        )  # fmt: skip
        begin = tl.atomic_add(CURSOR, tl.cast(wanted, tl.int64), sem="relaxed")
        most = tl.minimum(wanted, tl.maximum(tl.cast(room, tl.int64) * _ROOM_UNIT - begin, 0))
        tl.store(STARTS + line, begin)
    listed = _list_line(
        DATA_LIST + begin, most, BESIDE, Rules(None, None, VISITS, NUMBERS, INPUTS, FORMS), Lists(LIST_STARTS, LIST),
        HEADS, tile, n_q, n, q_offset, 0, first, count, at,
        JUDGE, BY_QUERY, BLOCK_M, BLOCK_N, AT_ONCE, ROWS_OF_QUERY, HEADS_LISTED, NAMED, RANGES,
    )  # fmt: skip
    tl.store(COUNTS + line, tl.minimum(listed, most).to(tl.int32))


@triton.jit(do_not_specialize=[*RUN_TIME, "most"])
def list_tiles_of_sequences(
    DATA_LIST, COUNTS, INPUTS, HEADS, KV_HEADS, FIRST_HEAD, TILES, n, heads, head_lines, room, most,
    JUDGE: tl.constexpr, VISITS: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr,
    BY_QUERY: tl.constexpr, GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """As `list_tiles`, of the tiles of several sequences, where a line of TILES says that its entries begin.

    DATA_LIST has room for `most` entries of a head; K has n rows.
    """
    head, first, count = _query_heads_of(tl.program_id(1), HEADS, KV_HEADS, FIRST_HEAD, BY_QUERY, GROUP)
    for number in range(tl.program_id(0), tl.load(TILES), tl.num_programs(0)):
        own = sequence_of(TILES, number, False)
        at = own.batch, first, heads, own.k_first, own.k_begin, n
        behind = tl.maximum(most - own.list_first, 0)
        listed = _list_line(
            DATA_LIST + line_of(0, head, own.list_first, 0, room), behind, None,
            Rules(None, None, VISITS, NUMBERS, INPUTS, FORMS), Lists(), HEADS,
            own.tile, own.n_q, own.n, own.q_offset, own.k_begin, first, count, at,
            JUDGE, BY_QUERY, BLOCK_M, BLOCK_N, AT_ONCE, 1, 1, None, 0,
        )  # fmt: skip
        tl.store(COUNTS + line_of(0, head, number, 0, head_lines), tl.minimum(listed, behind))


@triton.jit
def _list_line(
    ENTRIES, room, BESIDE, rules, lists, HEADS, tile, n_q, n, q_offset, k_begin, first, count, at,
    JUDGE: tl.constexpr, BY_QUERY: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
    ROWS_OF_QUERY: tl.constexpr, HEADS_LISTED: tl.constexpr, NAMED: tl.constexpr, RANGES: tl.constexpr,
):  # fmt: skip
    """Lists a line for query heads number first .. first + count - 1; `at`: as of the first of them.

    ENTRIES has room for some; None: nothing is stored.  How many there are.
    """
    walk = _static_walk(rules, lists, tile, n_q, n, q_offset, BY_QUERY, BLOCK_M, BLOCK_N)
    listed = 0
    if HEADS_LISTED > 1:
        for number in range(count):
            listed = _list_heads(
                ENTRIES, listed, room, BESIDE, rules, lists, walk, HEADS, tile, n_q, n, q_offset, k_begin,
                first + number, 1, number, at,
                JUDGE, BY_QUERY, BLOCK_M, BLOCK_N, AT_ONCE, ROWS_OF_QUERY, HEADS_LISTED, NAMED, RANGES,
            )  # fmt: skip
    else:
        listed = _list_heads(
            ENTRIES, listed, room, BESIDE, rules, lists, walk, HEADS, tile, n_q, n, q_offset, k_begin,
            first, count, 0, at,
            JUDGE, BY_QUERY, BLOCK_M, BLOCK_N, AT_ONCE, ROWS_OF_QUERY, HEADS_LISTED, NAMED, RANGES,
        )  # fmt: skip
    return listed


@triton.jit
def _list_heads(
    ENTRIES, listed, room, BESIDE, rules, lists, walk, HEADS, tile, n_q, n, q_offset, k_begin, first, count, own_head,
    at,
    JUDGE: tl.constexpr, BY_QUERY: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, AT_ONCE: tl.constexpr,
    ROWS_OF_QUERY: tl.constexpr, HEADS_LISTED: tl.constexpr, NAMED: tl.constexpr, RANGES: tl.constexpr,
):  # fmt: skip
    """Goes on with a line that has `listed` entries; these are about some heads, and name `own_head`."""
    LENGTH: tl.constexpr = len(at)
    own = tile + tl.zeros([1], tl.int32)
    for begin in range(0, walk.steps, AT_ONCE):
        step = begin + tl.arange(0, AT_ONCE)
        there = step < walk.steps
        other, _ = tile_of(walk, lists, tl.where(there, step, 0))
        if BY_QUERY:
            queries = _tile_positions(own, BLOCK_M, 0, n_q, q_offset)
            keys = _tile_positions(other, BLOCK_N, k_begin, n, 0)
        else:
            queries = _tile_positions(other, BLOCK_M, 0, n_q, q_offset)
            keys = _tile_positions(own, BLOCK_N, k_begin, n, 0)
        there &= (queries[0] <= queries[1]) & (keys[0] <= keys[1])
        some, every, none = there & (step < 0), there, there
        beside = step >= walk.ranges[0]  # tables name it
        for place_of_range in tl.static_range(RANGES):
            ends = BESIDE + (tile * RANGES + place_of_range) * 2
            beside |= (other >= tl.load(ends)) & (other < tl.load(ends + 1))
        for number in range(first, first + count):
            head = number
            if (not BY_QUERY) and (HEADS is not None):
                head = tl.load(HEADS + number)
            may = there
            if LENGTH == 3:
                verdict = ask_data(
                    JUDGE, (queries, keys, n, (at[0], head, at[2], q_offset, n_q, ROWS_OF_QUERY, 0)), (), rules
                )
                if NAMED is not None:
                    named = ask_data(
                        NAMED, (queries, keys, n, (at[0], head, at[2], q_offset, n_q, ROWS_OF_QUERY, 0)), (), rules
                    )
                    may = there & (beside | named[0])
            else:
                place = at[0], head, at[2], at[3], at[4], at[5]
                verdict = ask_data(JUDGE, (queries, keys, n, place), (), rules)
            some, every = some | (may & verdict[0]), every & verdict[1]
            none &= verdict[2]
        kept = some.to(tl.int32)
        if ENTRIES is not None:
            place_of = listed + tl.cumsum(kept, 0) - 1
            known = tl.where(every, 1, tl.where(none, 2, 0))
            entry = 4 * (other * HEADS_LISTED + own_head) + known
            tl.store(ENTRIES + place_of, entry, mask=(kept > 0) & (place_of < room))
        listed += tl.sum(kept, 0)
    return listed


@triton.jit
def _tile_positions(tile, BLOCK: tl.constexpr, begin, length, shift):
    """The positions of tiles, those of rows begin .. length - 1 that there are, as spans."""
    first, last = tl.maximum(tile * BLOCK, begin), tl.minimum(tile * BLOCK + BLOCK, length) - 1
    return span(shift + first, shift + last)
