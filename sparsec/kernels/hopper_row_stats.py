"""The kernel before the backward kernel of the Hopper tier: what it needs of every query, and counters at 0."""

from __future__ import annotations

from sparsec.kernels.device import RUN_TIME, kernel_name, tl, triton
from sparsec.kernels.loads import tile_mask
from sparsec.kernels.softmax import row_stats


@triton.jit(do_not_specialize=RUN_TIME, repr=kernel_name)
def hopper_row_stats(
    OUT, DO, LSE, DLSE, STATS, TICKETS, VISITS, g_b, g_h, g_m, o_b, o_h, o_m, heads, n_q,
    NAME: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """STATS [tiles of queries of all heads, 2, BLOCK_M]: log-sum-exps in base 2, +inf of rows that have no weights or
    are not there, and deltas, as of `row_stats`.
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
    place = bh * tl.num_programs(0) + tile
    tl.store(STATS + place * 2 * BLOCK_M + tl.arange(0, BLOCK_M), lse_2)
    tl.store(STATS + (place * 2 + 1) * BLOCK_M + tl.arange(0, BLOCK_M), delta)
    tl.store(VISITS + place * 2 + tl.arange(0, 2), tl.zeros([2], tl.int32))
    if (tile == 0) & (bh == 0):
        tl.store(TICKETS, 0)
