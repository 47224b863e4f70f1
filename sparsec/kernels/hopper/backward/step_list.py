"""The kernels before the backward kernel of the Hopper tier in a call about several sequences.

They make on the device what `sparsec.kernels.hopper.backward_steps` makes for one length: what is needed of every
query, the steps of every tile of keys, and the order in which steps add to the same tile of dq, that of each sequence
alone.  Rows of results that no step is about become 0.
"""

from __future__ import annotations

from sparsec.kernels.hopper.backward.row_stats import store_row_stats
from sparsec.kernels.hopper.backward.tiles import ADDS, CLOSES, RAGGED_QUERIES, STEP_FLAGS, WHOLE_PART
from sparsec.kernels.machine.device import RUN_TIME, kernel_name, tl, triton
from sparsec.kernels.tiles.dropout import Dropping
from sparsec.kernels.tiles.loads import tile_mask
from sparsec.kernels.tiles.own_tiles import sequence_of
from sparsec.kernels.tiles.regions import Rules, ask
from sparsec.kernels.tiles.softmax import row_stats


@triton.jit
def visits_before(ranges, tile):
    """How many of the tiles that ranges name (`Walk.ranges`) stand before one."""
    LENGTH: tl.constexpr = len(ranges)
    first, begin, seen = 0, 0, 0
    if LENGTH > 1:
        first = ranges[1]
    for turn in tl.static_range(2, LENGTH + 2, 2):
        end = ranges[0]
        if turn < LENGTH:
            end = ranges[turn]
        seen += tl.minimum(tl.maximum(tile - first - begin, 0), end - begin)
        if turn < LENGTH:
            first += ranges[turn + 1]
            begin = end
    return seen


@triton.jit
def _key_tiles_of(own, keys, BLOCK_N: tl.constexpr):
    """The first tile of keys of a sequence, and the one behind the last that the list holds.

    `keys`: how many tiles of keys the list holds behind the first one of the sequence.
    """
    first = tl.minimum(own.k_begin, own.n) // BLOCK_N
    return first, tl.minimum(tl.cdiv(own.n, BLOCK_N), first + keys)


@triton.jit
def _visits_of(rules, own, tile, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The ranges of tiles of keys that tiles of queries visit."""
    q_lo = own.q_offset + tile * BLOCK_M
    return ask(rules.VISITS, (q_lo, q_lo + BLOCK_M - 1, own.n, own.n, BLOCK_N), (), rules.NUMBERS)


@triton.jit(do_not_specialize=[*RUN_TIME, "sums"], repr=kernel_name)
def hopper_sequence_stats(
    TILES, KEY_TILES, KEY_ENDS, OUT, DO, LSE, DLSE, STATS, TICKETS, VISITS, DQ, STREAMS,
    g_b, g_h, g_m, o_b, o_h, o_m, r_b, r_h, r_m, heads, n_q, sums, drop_below, kept_share,
    NAME: tl.constexpr, KEYS: tl.constexpr, NUMBERS: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """As `hopper_row_stats`, of the tiles of queries in the list TILES; `sums`: how many it has room for.

    STATS, VISITS: in the order of the list, head after head.  KEY_TILES, KEY_ENDS: the list of tiles of keys, and how
    many there are up to each sequence.  DQ becomes 0 where no step adds to it.
    """
    head, column = tl.program_id(1), tl.arange(0, BLOCK_D)
    if (tl.program_id(0) == 0) & (head == 0):
        tl.store(TICKETS + tl.arange(0, 2), tl.zeros([2], tl.int32))
    for number in range(tl.program_id(0), tl.load(TILES), tl.num_programs(0)):
        own = sequence_of(TILES, number, False)
        batch, place = own.batch.to(tl.int64), own.tile * BLOCK_M
        row = own.q_first + place + tl.arange(0, BLOCK_M)
        stop = own.q_first + own.n_q
        mask = tile_mask(row, stop, HEAD_DIM, BLOCK_D)
        rows = row.to(tl.int64)[:, None] * 8
        o_first, g_first = (batch * o_b + head.to(tl.int64) * o_h) * 8, (batch * g_b + head.to(tl.int64) * g_h) * 8
        o_tile = tl.load(OUT + o_first + rows * o_m + column[None, :], mask=mask, other=0.0)
        do_tile = tl.load(DO + g_first + rows * g_m + column[None, :], mask=mask, other=0.0)
        lse_2, delta = row_stats(o_tile, do_tile, LSE, DLSE, (batch * heads + head) * n_q, row, row < stop)
        at = head.to(tl.int64) * sums + number
        dropping = Dropping(STREAMS, drop_below, kept_share)
        q = own.q_offset + place + tl.arange(0, BLOCK_M)
        store_row_stats(STATS, at, lse_2, delta, dropping, own.stream, q, head, BLOCK_M)
        tl.store(VISITS + 2 * at + tl.arange(0, 2), tl.zeros([2], tl.int32))
        first, last = _key_tiles_of(own, tl.load(KEY_TILES) - tl.load(KEY_ENDS + own.stream), BLOCK_N)
        ranges = _visits_of(Rules(None, None, KEYS, NUMBERS), own, own.tile, BLOCK_M, BLOCK_N)
        if visits_before(ranges, last) <= visits_before(ranges, first):
            ptrs = DQ + (batch * r_b + head.to(tl.int64) * r_h) * 8 + rows * r_m + column[None, :]
            tl.store(ptrs, tl.zeros([BLOCK_M, BLOCK_D], DQ.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=[*RUN_TIME, "kv_heads"], repr=kernel_name)
def hopper_list_steps(
    TILES, QUERY_TILES, QUERY_ENDS, RANGES, STEPS, TICKETS, DK, DV, k_b, k_h, k_n, kv_heads,
    NAME: tl.constexpr, KEEP: tl.constexpr, FULL: tl.constexpr, KEYS: tl.constexpr, NUMBERS: tl.constexpr,
    BACKWARDS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """RANGES: where the steps of each tile of keys in the list TILES begin, and how many there are.

    STEPS [.., 3]: tile of queries of the sequence, from the last to the first, what `hopper.backward.tiles` says of the
    step, and the place of the tile in the list QUERY_TILES.  TICKETS[1]: how many steps have their place.
    BACKWARDS: the last tile of keys of a sequence adds first.  DK and DV become 0 where there are no steps.
    """
    for number in range(tl.program_id(0), tl.load(TILES), tl.num_programs(0)):
        own = sequence_of(TILES, number, False)
        q_number = tl.load(QUERY_ENDS + own.stream)
        tiles = tl.minimum(tl.cdiv(own.n_q, BLOCK_M), tl.load(QUERY_TILES) - q_number)
        first = tl.minimum(own.k_begin, own.n) // BLOCK_N
        first, last = _key_tiles_of(own, tl.load(TILES) - (number - (own.tile - first)), BLOCK_N)
        count = 0
        for begin in range(0, tiles, AT_ONCE):
            tile = tiles - 1 - begin - tl.arange(0, AT_ONCE)
            visited, _ = _visits_to(
                Rules(KEEP, FULL, KEYS, NUMBERS), own, tile, first, last, BACKWARDS, BLOCK_M, BLOCK_N
            )
            count += tl.sum(visited.to(tl.int32), 0)
        start = tl.atomic_add(TICKETS + 1, count)  # steps may lie anywhere: their order is that of tickets
        tl.store(RANGES + 2 * number, start)
        tl.store(RANGES + 2 * number + 1, count)
        listed = 0
        for begin in range(0, tiles, AT_ONCE):
            tile = tiles - 1 - begin - tl.arange(0, AT_ONCE)
            visited, said = _visits_to(
                Rules(KEEP, FULL, KEYS, NUMBERS), own, tile, first, last, BACKWARDS, BLOCK_M, BLOCK_N
            )
            place = STEPS + (start + listed + tl.cumsum(visited.to(tl.int32), 0) - 1).to(tl.int64) * 3
            tl.store(place, tile, mask=visited)
            tl.store(place + 1, said, mask=visited)
            tl.store(place + 2, q_number + tile, mask=visited)
            listed += tl.sum(visited.to(tl.int32), 0)
        if count == 0:
            row, column = own.tile * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
            mask = tile_mask(row, own.n, HEAD_DIM, BLOCK_D) & (row >= own.k_begin)[:, None]
            rows = (own.k_first + row).to(tl.int64)[:, None] * 8 * k_n + column[None, :]
            zeros = tl.zeros([BLOCK_N, BLOCK_D], DK.dtype.element_ty)
            to = own.batch.to(tl.int64) * k_b
            for _ in range(kv_heads):
                tl.store(DK + to * 8 + rows, zeros, mask=mask)
                tl.store(DV + to * 8 + rows, zeros, mask=mask)
                to += k_h


@triton.jit
def _visits_to(rules, own, tile, first, last, BACKWARDS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Which of some tiles of queries visit a program's tile of keys, and what is said of these steps."""
    ranges = _visits_of(rules, own, tile, BLOCK_M, BLOCK_N)
    earlier = visits_before(ranges, first)
    rank, total = visits_before(ranges, own.tile) - earlier, visits_before(ranges, last) - earlier
    visited = (tile >= 0) & (visits_before(ranges, own.tile + 1) - earlier > rank)
    if BACKWARDS:
        rank = total - 1 - rank
    said = (rank << STEP_FLAGS) + tl.where(rank == total - 1, CLOSES, 0) + tl.where(rank > 0, ADDS, 0)
    said += tl.where((tile + 1) * BLOCK_M > own.n_q, RAGGED_QUERIES, 0)
    HALF: tl.constexpr = BLOCK_N // 2
    ROWS: tl.constexpr = 64
    for part in tl.static_range(2 * (BLOCK_M // ROWS)):
        q_lo = own.q_offset + tile * BLOCK_M + part // 2 * ROWS
        k_lo = own.tile * BLOCK_N + part % 2 * HALF
        whole = (k_lo >= own.k_begin) & (k_lo + HALF <= own.n)
        if rules.FULL is not None:
            whole = whole & ask(rules.FULL, (q_lo, q_lo + ROWS - 1, k_lo, k_lo + HALF - 1), (own.n,), rules.NUMBERS)
        elif rules.KEEP is not None:
            whole = whole & (k_lo < k_lo)
        said += tl.where(whole, WHOLE_PART << part, 0)
    return visited, said
