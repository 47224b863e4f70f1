"""Kernels that put together what a token has in several groups, in the order of its groups.

Slots are those of `sparsec.kernels.groups.tiles`.  SLOTS says which of them a token has: with STARTS [B, H, tokens
+ 1] those from one entry to before another, of [B, H, slots]; without, one in each of LINES lines [B, H, LINES,
tokens].
"""

from __future__ import annotations

from sparsec.kernels.machine.device import LOG2_E, RUN_TIME, kernel_name, tl, triton
from sparsec.kernels.tiles.dropout import Dropping, row_words, store_words
from sparsec.kernels.tiles.loads import row_ptrs, rows_ptrs, tile_mask, tile_ptrs
from sparsec.kernels.tiles.softmax import row_stats, softmax_continue, softmax_end, softmax_start
from sparsec.kernels.tiles.splits import load_carry, store_carry

JOIN_RUN_TIME = [*RUN_TIME, "slots", "length"]


@triton.jit
def _slots_of_tokens(STARTS, bh, length, token, LINES: tl.constexpr):
    """Where the slots of tokens begin in SLOTS, and how many each has."""
    there = token < length
    if STARTS is None:
        begin, count = token * 0, tl.where(there, LINES, 0)
    else:
        own = STARTS + bh * (length + 1) + token
        begin = tl.load(own, mask=there, other=0)
        count = tl.load(own + 1, mask=there, other=0) - begin
    return begin, count


@triton.jit
def _slot_of_token(SLOTS, STARTS, bh, length, slots, token, begin, number, wanted, LINES: tl.constexpr):
    """Slot `number` of tokens, among those of all lines and heads."""
    if STARTS is None:
        line = bh * LINES + number
        slot = line * slots + tl.load(SLOTS + line * length + token, mask=wanted, other=0)
    else:
        slot = bh * slots + tl.load(SLOTS + bh * slots + begin + number, mask=wanted, other=0)
    return slot


@triton.jit
def _slot_ptrs(X, slot, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    return X + slot[:, None] * HEAD_DIM + tl.arange(0, BLOCK_D)[None, :]


@triton.jit(do_not_specialize=JOIN_RUN_TIME, repr=kernel_name)
def join_softmaxes(
    SLOT_OUT, SLOT_TOP, SLOT_LSE, SLOTS, STARTS, PARTIAL, PARTIAL_TOP, SINKS, OUT, OUT_TOP, LSE, HEADS,
    r_b, r_h, r_m, heads, length, n, slots, sinks_b, kept_share,
    NAME: tl.constexpr, LINES: tl.constexpr, DROPS: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """OUT and LSE of rows of queries: those of their slots, after what the kernel before left (PARTIAL) or a sink.

    OUT_TOP: another kernel goes on with it.  DROPS: weights have been dropped; others are divided by kept_share.
    """
    head, batch = tl.program_id(1), tl.program_id(2)
    if HEADS is not None:
        head = tl.load(HEADS + head)
    bh = (batch * heads + head).to(tl.int64)
    first = tl.program_id(0) * BLOCK
    row = first + tl.arange(0, BLOCK)
    there, mask = row < length, tile_mask(row, length, HEAD_DIM, BLOCK_D)
    own = bh * length + row
    if PARTIAL is None:
        m_i, l_i, acc = softmax_start(BLOCK, BLOCK_D)
        if SINKS is not None:
            sink = tl.load(SINKS + batch * sinks_b + head) * LOG2_E
            top = tl.maximum(sink, -1.0e30)  # finite, as in `softmax_start`
            m_i, l_i = m_i * 0.0 + top, l_i + tl.exp2(sink - top)
    else:
        lse = tl.load(LSE + own, mask=there, other=float("-inf"))
        out = load_carry(
            row_ptrs(PARTIAL, bh, length, first, 1, HEAD_DIM, BLOCK, BLOCK_D), PARTIAL_TOP + own, there, mask
        )
        m_i, l_i, acc = softmax_continue(lse, out)
    begin, count = _slots_of_tokens(STARTS, bh, length, row, LINES)
    for number in tl.range(0, tl.max(count, 0), num_stages=3):
        wanted = number < count
        slot = _slot_of_token(SLOTS, STARTS, bh, length, slots, row, begin, number, wanted, LINES)
        lse_2 = LOG2_E * tl.load(SLOT_LSE + slot, mask=wanted, other=float("-inf"))
        out = load_carry(_slot_ptrs(SLOT_OUT, slot, HEAD_DIM, BLOCK_D), SLOT_TOP + slot, wanted, mask)
        m_new = tl.maximum(m_i, lse_2)
        alpha, weight = tl.exp2(m_i - m_new), tl.exp2(lse_2 - m_new)
        l_i = l_i * alpha + weight
        acc = acc * alpha[:, None] + out * weight[:, None]
        m_i = m_new
    out, lse = softmax_end(m_i, l_i, acc)
    tl.store(LSE + own, lse, mask=there)
    if OUT_TOP is None:
        if DROPS:
            out /= kept_share
        ptrs = tile_ptrs(OUT, r_b, r_h, r_m, batch, head, first, BLOCK, BLOCK_D)
        tl.store(ptrs, out.to(OUT.dtype.element_ty), mask=mask)
    else:
        ptrs = row_ptrs(OUT, bh, length, first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        store_carry(ptrs, OUT_TOP + own, out, there, mask)


@triton.jit(do_not_specialize=JOIN_RUN_TIME, repr=kernel_name)
def join_sums(
    SLOT_SUM, SLOT_TOP, SLOTS, STARTS, PARTIAL, PARTIAL_TOP, OUT, OUT_TOP, HEADS, KV_HEADS, FIRST_HEAD,
    r_b, r_h, r_m, heads, length, slots, scale,
    NAME: tl.constexpr, LINES: tl.constexpr, GROUP: tl.constexpr, BY_QUERY: tl.constexpr, SHARED: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradients of rows of q (BY_QUERY), or of k or v, those of all query heads that share them: sums over slots.

    They go on with PARTIAL, and are stored times `scale`, or for a kernel that goes on with them (OUT_TOP).  SHARED:
    other groups of heads add to these keys, in float32.
    """
    head, batch, first_head, count_heads = tl.program_id(1), tl.program_id(2), tl.program_id(1), 1
    rows_of_heads = heads
    if BY_QUERY:
        if HEADS is not None:
            head = tl.load(HEADS + head)
            first_head = tl.program_id(1)
    else:
        rows_of_heads = heads // GROUP
        first_head, count_heads = head * GROUP, GROUP
        if KV_HEADS is not None:
            first_head = tl.load(FIRST_HEAD + head)
            count_heads = tl.load(FIRST_HEAD + head + 1) - first_head
            head = tl.load(KV_HEADS + head)
    first = tl.program_id(0) * BLOCK
    row = first + tl.arange(0, BLOCK)
    there, mask = row < length, tile_mask(row, length, HEAD_DIM, BLOCK_D)
    out_bh = (batch * rows_of_heads + head).to(tl.int64)
    own = out_bh * length + row
    total = tl.zeros([BLOCK, BLOCK_D], tl.float32)
    if PARTIAL is not None:
        ptrs = row_ptrs(PARTIAL, out_bh, length, first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        total += load_carry(ptrs, PARTIAL_TOP + own, there, mask)
    out_ptrs = tile_ptrs(OUT, r_b, r_h, r_m, batch, head, first, BLOCK, BLOCK_D)
    if SHARED:
        total += tl.load(out_ptrs, mask=mask, other=0.0)
    for turn in range(count_heads):
        query_head = first_head + turn
        if HEADS is not None:
            query_head = tl.load(HEADS + query_head)
        bh = (batch * heads + query_head).to(tl.int64)
        begin, count = _slots_of_tokens(STARTS, bh, length, row, LINES)
        for number in tl.range(0, tl.max(count, 0), num_stages=3):
            wanted = number < count
            slot = _slot_of_token(SLOTS, STARTS, bh, length, slots, row, begin, number, wanted, LINES)
            total += load_carry(_slot_ptrs(SLOT_SUM, slot, HEAD_DIM, BLOCK_D), SLOT_TOP + slot, wanted, mask)
    if OUT_TOP is None:
        tl.store(out_ptrs, (total * scale).to(OUT.dtype.element_ty), mask=mask)
    else:
        carry_ptrs = row_ptrs(OUT, out_bh, length, first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        store_carry(carry_ptrs, OUT_TOP + own, total, there, mask)


@triton.jit(do_not_specialize=JOIN_RUN_TIME, repr=kernel_name)
def grouped_stats(
    OUT, DO, LSE, DLSE, ROW_STATS, HEADS, STREAMS, g_b, g_h, g_m, o_b, o_h, o_m, heads, n_q, n_rows, q_offset,
    drop_below, kept_share,
    NAME: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """What gradients need of every row, where no kernel over positions leaves it: ROW_STATS as of `dq_kernel`."""
    head, batch = tl.program_id(1), tl.program_id(2)
    if HEADS is not None:
        head = tl.load(HEADS + head)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = tile_mask(row, n_q, HEAD_DIM, BLOCK_D)
    o_tile = tl.load(rows_ptrs(OUT, o_b, o_h, o_m, batch, head, row, BLOCK_D), mask=mask, other=0.0)
    do_tile = tl.load(rows_ptrs(DO, g_b, g_h, g_m, batch, head, row, BLOCK_D), mask=mask, other=0.0)
    bh = (batch * heads + head).to(tl.int64)
    lse_2, delta = row_stats(o_tile, do_tile, LSE, DLSE, bh * n_q, row, row < n_q)
    n_stats = (heads * tl.num_programs(2)).to(tl.int64) * n_rows
    stats = ROW_STATS + bh * n_rows + row
    if STREAMS is not None:
        lse_2 += tl.log2(kept_share)
        delta *= kept_share
        words = row_words(Dropping(STREAMS, drop_below, kept_share), batch, q_offset + row, head)
        store_words(stats + 2 * n_stats, words, row < n_rows)
    tl.store(stats, lse_2, mask=row < n_rows)
    tl.store(stats + n_stats, delta, mask=row < n_rows)
