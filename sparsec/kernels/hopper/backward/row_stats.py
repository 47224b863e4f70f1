"""The kernels before and after the backward kernel of the Hopper tier.

Before: what it needs of every query, and counters at 0.  After: the gradients of queries that have several sums.
"""

from __future__ import annotations

from sparsec.kernels.machine.device import RUN_TIME, kernel_name, tl, triton
from sparsec.kernels.tiles.dropout import Dropping, row_words, store_words
from sparsec.kernels.tiles.loads import tile_mask
from sparsec.kernels.tiles.softmax import row_stats


@triton.jit(do_not_specialize=[*RUN_TIME, "sums"], repr=kernel_name)
def hopper_row_stats(
    OUT, DO, LSE, DLSE, STATS, TICKETS, VISITS, STREAMS, g_b, g_h, g_m, o_b, o_h, o_m, heads, n_q, q_offset, sums,
    drop_below, kept_share,
    NAME: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """STATS [tiles of queries of all heads, 2, BLOCK_M]: log-sum-exps in base 2, +inf of rows that have no weights or
    are not there, and deltas, as of `row_stats`.  [.., 3, BLOCK_M] where STREAMS are given, as of `Dropping`: weights
    are then divided by `kept_share`, and a word of each row follows.
    """
    tile, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    bh = batch * heads + head
    row, column = tile * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    mask = tile_mask(row, n_q, HEAD_DIM, BLOCK_D)
    o_first, g_first = (batch * o_b + head.to(tl.int64) * o_h) * 8, (batch * g_b + head.to(tl.int64) * g_h) * 8
    rows = row.to(tl.int64)[:, None] * 8
    o_tile = tl.load(OUT + o_first + rows * o_m + column[None, :], mask=mask, other=0.0)
    do_tile = tl.load(DO + g_first + rows * g_m + column[None, :], mask=mask, other=0.0)
    lse_2, delta = row_stats(o_tile, do_tile, LSE, DLSE, bh * n_q, row, row < n_q)
    place, dropping = bh * tl.num_programs(0) + tile, Dropping(STREAMS, drop_below, kept_share)
    store_row_stats(STATS, place, lse_2, delta, dropping, batch, q_offset + row, head, BLOCK_M)
    for first in range(2 * tile, 2 * sums, 2 * tl.num_programs(0)):
        tl.store(VISITS + bh * 2 * sums + first + tl.arange(0, 2), tl.zeros([2], tl.int32))
    if (tile == 0) & (bh == 0):
        tl.store(TICKETS, 0)


@triton.jit
def store_row_stats(STATS, place, lse_2, delta, dropping, stream, q, head, BLOCK_M: tl.constexpr):
    """Stores the numbers of a tile of queries at positions q, as of `hopper_row_stats`; `stream` as of `row_words`."""
    NUMBERS: tl.constexpr = 2 if dropping.STREAMS is None else 3
    own = STATS + place * NUMBERS * BLOCK_M + tl.arange(0, BLOCK_M)
    if dropping.STREAMS is not None:
        lse_2 += tl.log2(dropping.kept_share)
        delta *= dropping.kept_share
        store_words(own + 2 * BLOCK_M, row_words(dropping, stream, q, head))
    tl.store(own, lse_2)
    tl.store(own + BLOCK_M, delta)


@triton.jit(do_not_specialize=[*RUN_TIME, "sums"], repr=kernel_name)
def hopper_join_sums(
    SUMS, JOINED, DQ, scale, r_b, r_h, r_m, heads, n_q, sums,
    NAME: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rows of DQ from several sums, which are added in order; SUMS: half by half, in the order of registers."""
    CHUNKS: tl.constexpr = BLOCK_M * BLOCK_D // BLOCK
    chunk, head, batch = tl.program_id(0) % CHUNKS, tl.program_id(1), tl.program_id(2).to(tl.int64)
    entry = JOINED + tl.program_id(0) // CHUNKS * 3
    tile, first, count = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2)
    place = chunk * BLOCK + tl.arange(0, BLOCK)
    ptrs = SUMS + ((batch * heads + head) * sums + first) * BLOCK_M * BLOCK_D + place
    total = tl.zeros([BLOCK], tl.float32)
    for _ in range(count):
        total += tl.load(ptrs)
        ptrs += BLOCK_M * BLOCK_D
    # As `_as_runs` of the backward kernel: from the last, pairs of columns, rows 8 apart, columns, rows, columns, rows.
    # A half has 64 rows, of 128 all columns, and of 64 half of them.
    EIGHTS: tl.constexpr = BLOCK_M * BLOCK_D // 1024
    half, run = place // (BLOCK_M * BLOCK_D // 2), place % (BLOCK_M * BLOCK_D // 2)
    row = run // (EIGHTS * 128) * 16 + run // 2 % 2 * 8 + run // 16 % 8
    column = run // 128 % EIGHTS * 8 + run // 4 % 4 * 2 + run % 2
    if BLOCK_M == 128:
        row += half * 64
    else:
        column += half * (BLOCK_D // 2)
    row += tile * BLOCK_M
    to = DQ + (batch * r_b + head.to(tl.int64) * r_h + row.to(tl.int64) * r_m) * 8 + column
    tl.store(to, (total * scale).to(DQ.dtype.element_ty), mask=(row < n_q) & (column < HEAD_DIM))
