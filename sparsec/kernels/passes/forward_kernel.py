"""The kernel of the forward pass."""

from __future__ import annotations

from sparsec.kernels.machine.device import RUN_TIME, Sizes, kernel_name, tl, triton
from sparsec.kernels.tiles.dropout import Dropping, row_words
from sparsec.kernels.tiles.key_regions import (
    KeyRegion,
    kept_keys,
    keys_at,
    last_steps,
    load_keys,
    mask_keys,
    place_of_keys,
    steps_of_keys,
    walk_keys,
)
from sparsec.kernels.tiles.loads import load_by_layout, ptrs_by_layout, tile_mask
from sparsec.kernels.tiles.own_tiles import (
    carried_rows,
    loaded_queries,
    own_queries,
    query_ptrs,
    query_rows,
    sequence_of,
)
from sparsec.kernels.tiles.regions import Lists, Rules
from sparsec.kernels.tiles.scores import scale_of, score_tile
from sparsec.kernels.tiles.shares import Shares, is_idle
from sparsec.kernels.tiles.softmax import softmax_continue, softmax_end, softmax_sink, softmax_start, softmax_step
from sparsec.kernels.tiles.splits import load_carry, store_carry, store_split


@triton.jit(do_not_specialize=RUN_TIME, repr=kernel_name)
def forward_kernel(
    Q, K, V, K_1, V_1, K_2, V_2, OUT, LSE, SINKS, PARTIAL, PARTIAL_TOP, OUT_TOP, SPLITS, SPLITS_LSE, HEADS,
    TABLES, INPUTS, LIST_STARTS, LIST, SEEN, LIST_MASKS, MASKS, COUNTS, SHARES, TILES, STREAMS,
    q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n, r_b, r_h, r_m,
    heads, n_q, n, q_offset, batches, scale_log2, split_tiles, splits, batch_lines, head_lines, room, sinks_b,
    drop_below, kept_share,
    NAME: tl.constexpr, KEEP: tl.constexpr, FULL: tl.constexpr, KEYS: tl.constexpr, GATHERED: tl.constexpr,
    KEEP_1: tl.constexpr, FULL_1: tl.constexpr, KEYS_1: tl.constexpr, GATHERED_1: tl.constexpr,
    KEEP_2: tl.constexpr, FULL_2: tl.constexpr, KEYS_2: tl.constexpr, GATHERED_2: tl.constexpr,
    NUMBERS: tl.constexpr, FORMS: tl.constexpr, WHOLE: tl.constexpr, LISTS_FILL: tl.constexpr, SCORE: tl.constexpr,
    NEAR: tl.constexpr, KEEP_STATIC: tl.constexpr,
    STRIDE: tl.constexpr, TOGETHER: tl.constexpr, LONGEST_FIRST: tl.constexpr,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr, OWN_TMA: tl.constexpr,
    ROWS_OF_QUERY: tl.constexpr,
):  # fmt: skip
    """One tile of queries against the keys of up to three regions: out and log-sum-exp.

    SINKS [1 or B, H]: one score more for each row, without a value.  PARTIAL: the softmax goes on where the kernel
    before left it.  OUT_TOP: another kernel goes on with it.  SPLITS: programs that split a tile leave there what each
    of them found; SHARES says which do where data of the call decides it (`lists.long_lines`).  TILES: those
    of several sequences, n_q and n being the rows of Q and K; programs take turns where there are more tiles than
    programs.  STREAMS, drop_below, kept_share: `Dropping`.
    """
    if SHARES is not None:  # noqa: SIM102
        if is_idle(Shares(split_tiles, splits, SHARES, COUNTS, batch_lines, head_lines), HEADS, LONGEST_FIRST):
            return
    _forward_tiles(
        TILES, LONGEST_FIRST,
        (
            HEADS, heads, n_q, n, q_offset, batches,
            GROUP, BLOCK_M, STRIDE, TOGETHER, LONGEST_FIRST, ROWS_OF_QUERY,
        ),
        Shares(split_tiles, splits, SHARES, COUNTS, batch_lines, head_lines),
        Q, (q_b, q_h, q_m), OUT, (r_b, r_h, r_m), LSE, SINKS, sinks_b, PARTIAL, PARTIAL_TOP, OUT_TOP,
        SPLITS, SPLITS_LSE, scale_log2, Dropping(STREAMS, drop_below, kept_share),
        KeyRegion(
            K, V, (k_b, k_h, k_n), (v_b, v_h, v_n), GATHERED,
            Rules(
                KEEP, FULL, KEYS, NUMBERS, INPUTS, FORMS, TABLES, WHOLE, LISTS_FILL, SCORE, None, False, NEAR, None,
                KEEP_STATIC,
            ),
            Lists(LIST_STARTS, LIST, SEEN, LIST_MASKS, MASKS, COUNTS, batch_lines, head_lines, room),
        ),
        KeyRegion(
            K_1, V_1, None, None, GATHERED_1,
            Rules(KEEP_1, FULL_1, KEYS_1, NUMBERS, INPUTS, FORMS, None, False, False, SCORE, None, False, NEAR),
            Lists(),
        ),
        KeyRegion(
            K_2, V_2, None, None, GATHERED_2,
            Rules(KEEP_2, FULL_2, KEYS_2, NUMBERS, INPUTS, FORMS, None, False, False, SCORE, None, False, NEAR),
            Lists(),
        ),
        Sizes(
            GROUP, HEAD_DIM, BLOCK_M, BLOCK_N, BLOCK_D, V_DIM, BLOCK_V, STRIDE, PRECISION, TMA, OWN_TMA,
            SPLITS is not None, TILES is not None, ROWS_OF_QUERY,
        ),
    )  # fmt: skip


@triton.jit
def _forward_tiles(
    TILES, LONGEST_FIRST: tl.constexpr, place, shares,
    Q, q_strides, OUT, out_strides, LSE, SINKS, sinks_b, PARTIAL, PARTIAL_TOP, OUT_TOP, SPLITS, SPLITS_LSE,
    scale_log2, dropping, region, region_1, region_2, sizes,
):  # fmt: skip
    """What a program does for each of its tiles."""
    if TILES is None:
        _forward_tile(
            own_queries(*place, shares, None),
            Q, q_strides, OUT, out_strides, LSE, SINKS, sinks_b, PARTIAL, PARTIAL_TOP, OUT_TOP, SPLITS, SPLITS_LSE,
            scale_log2, dropping, region, region_1, region_2, sizes,
        )  # fmt: skip
    else:
        # Mostly one turn.  What is the same in all turns stays in the loop: before it, it would cost registers.
        for number in tl.range(tl.program_id(0), tl.load(TILES), tl.num_programs(0), num_stages=1, disable_licm=True):
            _forward_tile(
                own_queries(*place, shares, sequence_of(TILES, number, LONGEST_FIRST)),
                Q, q_strides, OUT, out_strides, LSE, SINKS, sinks_b, PARTIAL, PARTIAL_TOP, OUT_TOP, SPLITS, SPLITS_LSE,
                scale_log2, dropping, region, region_1, region_2, sizes,
            )  # fmt: skip


@triton.jit
def _forward_tile(
    own, Q, q_strides, OUT, out_strides, LSE, SINKS, sinks_b, PARTIAL, PARTIAL_TOP, OUT_TOP, SPLITS, SPLITS_LSE,
    scale_log2, dropping, region, region_1, region_2, sizes,
):  # fmt: skip
    """What a program of `forward_kernel` does."""
    rows = loaded_queries(own, sizes)
    q_tile = load_by_layout(
        Q, q_strides, rows, sizes, sizes.HEAD_DIM, sizes.BLOCK_M, sizes.BLOCK_D, False, sizes.OWN_TMA
    )
    bh = own.batch * own.heads + own.head
    out_row = bh.to(tl.int64) * own.q_rows + own.at
    mask = tile_mask(own.row, own.n_q, sizes.V_DIM, sizes.BLOCK_V)
    if PARTIAL is None:
        m_i, l_i, acc = softmax_start(sizes.BLOCK_M, sizes.BLOCK_V)
        if SINKS is not None:
            m_i, l_i = softmax_sink(m_i, l_i, SINKS, sinks_b, own, sizes)
    else:
        carried = carried_rows(own, sizes)
        lse = tl.load(LSE + out_row, mask=carried, other=float("-inf"))
        ptrs = query_ptrs(PARTIAL, bh, own, sizes, sizes.V_DIM, sizes.BLOCK_V)
        out = load_carry(ptrs, PARTIAL_TOP + out_row, carried, mask)
        m_i, l_i, acc = softmax_continue(lse, out)
    words = 0
    if dropping.STREAMS is not None:
        words = row_words(dropping, own.stream, own.q, own.head)
    m_i, l_i, acc = _attend(m_i, l_i, acc, q_tile, scale_log2, own, dropping, words, region, sizes)
    if region_1.K is not None:
        m_i, l_i, acc = _attend(m_i, l_i, acc, q_tile, scale_log2, own, dropping, words, region_1, sizes)
    if region_2.K is not None:
        m_i, l_i, acc = _attend(m_i, l_i, acc, q_tile, scale_log2, own, dropping, words, region_2, sizes)
    out, lse = softmax_end(m_i, l_i, acc)
    if dropping.STREAMS is not None and OUT_TOP is None:
        out /= dropping.kept_share
    if SPLITS is None:
        _store_out(out, lse, OUT, out_strides, OUT_TOP, LSE, bh, mask, own, sizes)
    elif own.share.split:
        store_split(SPLITS, out, own.share.slot, sizes.V_DIM, sizes.BLOCK_M, sizes.BLOCK_V)
        tl.store(SPLITS_LSE + own.share.slot.to(tl.int64) * sizes.BLOCK_M + tl.arange(0, sizes.BLOCK_M), lse)
    else:
        _store_out(out, lse, OUT, out_strides, OUT_TOP, LSE, bh, mask, own, sizes)


@triton.jit
def _store_out(out, lse, OUT, out_strides, OUT_TOP, LSE, bh, mask, own, sizes):
    """Stores out and log-sum-exp of a tile of queries, or what the next kernel goes on with."""
    out_row = bh.to(tl.int64) * own.q_rows + own.at
    tl.store(LSE + out_row, lse, mask=own.row < own.n_q)
    if OUT_TOP is None:
        ptrs = ptrs_by_layout(OUT, out_strides, query_rows(own), sizes, sizes.BLOCK_M, sizes.BLOCK_V)
        tl.store(ptrs, out.to(OUT.dtype.element_ty), mask=mask)
    else:
        ptrs = query_ptrs(OUT, bh, own, sizes, sizes.V_DIM, sizes.BLOCK_V)
        store_carry(ptrs, OUT_TOP + out_row, out, own.row < own.n_q, mask)


@triton.jit
def _attend(m_i, l_i, acc, q_tile, scale_log2, own, dropping, words, region, sizes):
    """The softmax after the keys of a region."""
    walk = walk_keys(region, own, sizes)
    begin, end = steps_of_keys(region, own, walk, sizes)
    AT_ONCE: tl.constexpr = 1 if region.lists.SEEN is None else sizes.BLOCK_N
    last = last_steps(region, walk, end, sizes)
    for step in range(begin, last, AT_ONCE):
        m_i, l_i, acc = _attend_keys(
            m_i, l_i, acc, q_tile, scale_log2, own, dropping, words, region, walk, step, False, sizes
        )
    if sizes.PACKED and sizes.TMA:
        for step in tl.range(last, end, num_stages=1):
            m_i, l_i, acc = _attend_keys(
                m_i, l_i, acc, q_tile, scale_log2, own, dropping, words, region, walk, step, True, sizes
            )
    return m_i, l_i, acc


@triton.jit
def _attend_keys(
    m_i, l_i, acc, q_tile, scale_log2, own, dropping, words, region, walk, step, LAST: tl.constexpr, sizes
):  # fmt: skip
    """The softmax after the keys of a step."""
    stop = keys_at(region, own, walk, step, sizes)
    k_tile = load_keys(  # masks hide what is behind
        region.K, region.k_strides, region, own, walk, stop, sizes, sizes.HEAD_DIM, sizes.BLOCK_D, False
    )
    s = tl.dot(q_tile, tl.trans(k_tile), input_precision=sizes.PRECISION)
    at = place_of_keys(region, own, stop, sizes)
    if region.rules.SCORE is not None:
        s = score_tile(region.rules.SCORE, s, own.q, stop.position, own.n, at, region.rules, scale_log2, True)
    s = mask_keys(s, region, own, walk, stop, at, sizes)
    v_tile = load_keys(region.V, region.v_strides, region, own, walk, stop, sizes, sizes.V_DIM, sizes.BLOCK_V, LAST)
    p, alpha, m_i, l_i = softmax_step(s, m_i, l_i, scale_of(region.rules, scale_log2))
    if dropping.STREAMS is not None:  # the sum is that of all weights
        p = tl.where(kept_keys(dropping, words, region, stop, sizes), p, 0.0)
    acc = tl.dot(p.to(v_tile.dtype), v_tile, acc * alpha[:, None], input_precision=sizes.PRECISION)
    return m_i, l_i, acc
