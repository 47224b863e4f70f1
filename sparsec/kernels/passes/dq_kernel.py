"""The kernel for the gradient of q."""

from __future__ import annotations

from sparsec.kernels.machine.device import RUN_TIME, Sizes, kernel_name, tl, triton
from sparsec.kernels.tiles.dropout import Dropping, row_words, store_words
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
from sparsec.kernels.tiles.scores import scale_of, score_tile, through_score
from sparsec.kernels.tiles.shares import Shares, is_idle
from sparsec.kernels.tiles.softmax import row_stats
from sparsec.kernels.tiles.splits import load_carry, store_carry, store_split


@triton.jit(do_not_specialize=RUN_TIME, repr=kernel_name)
def dq_kernel(
    Q, K, V, K_1, V_1, K_2, V_2, OUT, LSE, DO, DLSE, ROW_STATS, CLASS_STATS, DQ, PARTIAL, PARTIAL_TOP, DQ_TOP, SPLITS,
    HEADS, TABLES, INPUTS, LIST_STARTS, LIST, SEEN, LIST_MASKS, MASKS, COUNTS, SHARES, TILES, STREAMS,
    q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_m, o_b, o_h, o_m, r_b, r_h, r_m,
    heads, n_q, n_rows, n_class_rows, n, q_offset, batches, scale, scale_log2, split_tiles, splits,
    batch_lines, head_lines, room, drop_below, kept_share,
    NAME: tl.constexpr, KEEP: tl.constexpr, FULL: tl.constexpr, KEYS: tl.constexpr, GATHERED: tl.constexpr,
    KEEP_1: tl.constexpr, FULL_1: tl.constexpr, KEYS_1: tl.constexpr, GATHERED_1: tl.constexpr,
    KEEP_2: tl.constexpr, FULL_2: tl.constexpr, KEYS_2: tl.constexpr, GATHERED_2: tl.constexpr,
    NUMBERS: tl.constexpr, FORMS: tl.constexpr, WHOLE: tl.constexpr, LISTS_FILL: tl.constexpr, SCORE: tl.constexpr,
    SCORE_GRADIENT: tl.constexpr, NEAR: tl.constexpr, KEEP_STATIC: tl.constexpr,
    STRIDE: tl.constexpr, TOGETHER: tl.constexpr, LONGEST_FIRST: tl.constexpr,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr, OWN_TMA: tl.constexpr,
    ROWS_OF_QUERY: tl.constexpr,
):  # fmt: skip
    """Gradient of one tile of queries over the keys of up to three regions.

    The first of these kernels also leaves what dk and dv need of every row, in whole tiles: [0] the log-sum-exp in base
    2, +inf for a row that has no weights; [1] delta = sum(o * do) - dlse.  PARTIAL, DQ_TOP, SPLITS: as in
    `forward_kernel`, with a sum in the place of a softmax; SHARES and TILES as there.

    STREAMS: weights are dropped, and others are divided by kept_share.  Both kernels get that from the two numbers,
    for all pairs at once: exponents are less log2(kept_share), and delta is times kept_share.  [2] and [3] then are
    the words of each row, as bits.
    """
    if SHARES is not None:  # noqa: SIM102
        if is_idle(Shares(split_tiles, splits, SHARES, COUNTS, batch_lines, head_lines), HEADS, LONGEST_FIRST):
            return
    _dq_tiles(
        TILES, LONGEST_FIRST,
        (
            HEADS, heads, n_q, n, q_offset, batches,
            GROUP, BLOCK_M, STRIDE, TOGETHER, LONGEST_FIRST, ROWS_OF_QUERY,
        ),
        Shares(split_tiles, splits, SHARES, COUNTS, batch_lines, head_lines),
        Q, (q_b, q_h, q_m), DO, (g_b, g_h, g_m), OUT, (o_b, o_h, o_m), DQ, (r_b, r_h, r_m), LSE, DLSE,
        ROW_STATS, CLASS_STATS, n_rows, n_class_rows, PARTIAL, PARTIAL_TOP, DQ_TOP, SPLITS,
        scale, scale_log2, Dropping(STREAMS, drop_below, kept_share),
        KeyRegion(
            K, V, (k_b, k_h, k_n), (v_b, v_h, v_n), GATHERED,
            Rules(
                KEEP, FULL, KEYS, NUMBERS, INPUTS, FORMS, TABLES, WHOLE, LISTS_FILL, SCORE, SCORE_GRADIENT, False, NEAR,
                None, KEEP_STATIC,
            ),
            Lists(LIST_STARTS, LIST, SEEN, LIST_MASKS, MASKS, COUNTS, batch_lines, head_lines, room),
        ),
        KeyRegion(
            K_1, V_1, None, None, GATHERED_1,
            Rules(
                KEEP_1, FULL_1, KEYS_1, NUMBERS, INPUTS, FORMS, None, False, False, SCORE, SCORE_GRADIENT, False, NEAR,
            ),
            Lists(),
        ),
        KeyRegion(
            K_2, V_2, None, None, GATHERED_2,
            Rules(
                KEEP_2, FULL_2, KEYS_2, NUMBERS, INPUTS, FORMS, None, False, False, SCORE, SCORE_GRADIENT, False, NEAR,
            ),
            Lists(),
        ),
        Sizes(
            GROUP, HEAD_DIM, BLOCK_M, BLOCK_N, BLOCK_D, V_DIM, BLOCK_V, STRIDE, PRECISION, TMA, OWN_TMA,
            SPLITS is not None, TILES is not None, ROWS_OF_QUERY,
        ),
    )  # fmt: skip


@triton.jit
def _dq_tiles(
    TILES, LONGEST_FIRST: tl.constexpr, place, shares,
    Q, q_strides, DO, do_strides, OUT, out_strides, DQ, dq_strides, LSE, DLSE,
    ROW_STATS, CLASS_STATS, n_rows, n_class_rows, PARTIAL, PARTIAL_TOP, DQ_TOP, SPLITS,
    scale, scale_log2, dropping, region, region_1, region_2, sizes,
):  # fmt: skip
    """What a program does for each of its tiles."""
    if TILES is None:
        _dq_tile(
            own_queries(*place, shares, None),
            Q, q_strides, DO, do_strides, OUT, out_strides, DQ, dq_strides, LSE, DLSE, ROW_STATS, CLASS_STATS,
            n_rows, n_class_rows, PARTIAL, PARTIAL_TOP, DQ_TOP, SPLITS, scale, scale_log2, dropping, region,
            region_1, region_2, sizes,
        )  # fmt: skip
    else:
        # Mostly one turn.  What is the same in all turns stays in the loop: before it, it would cost registers.
        for number in tl.range(tl.program_id(0), tl.load(TILES), tl.num_programs(0), num_stages=1, disable_licm=True):
            _dq_tile(
                own_queries(*place, shares, sequence_of(TILES, number, LONGEST_FIRST)),
                Q, q_strides, DO, do_strides, OUT, out_strides, DQ, dq_strides, LSE, DLSE, ROW_STATS, CLASS_STATS,
                n_rows, n_class_rows, PARTIAL, PARTIAL_TOP, DQ_TOP, SPLITS, scale, scale_log2, dropping, region,
                region_1, region_2, sizes,
            )  # fmt: skip


@triton.jit
def _dq_tile(
    own, Q, q_strides, DO, do_strides, OUT, out_strides, DQ, dq_strides, LSE, DLSE,
    ROW_STATS, CLASS_STATS, n_rows, n_class_rows, PARTIAL, PARTIAL_TOP, DQ_TOP, SPLITS,
    scale, scale_log2, dropping, region, region_1, region_2, sizes,
):  # fmt: skip
    """What a program of `dq_kernel` does."""
    mask = tile_mask(own.row, own.n_q, sizes.HEAD_DIM, sizes.BLOCK_D)
    loaded = loaded_queries(own, sizes)
    q_tile = load_by_layout(
        Q, q_strides, loaded, sizes, sizes.HEAD_DIM, sizes.BLOCK_M, sizes.BLOCK_D, False, sizes.OWN_TMA
    )
    do_tile = load_by_layout(
        DO, do_strides, loaded, sizes, sizes.V_DIM, sizes.BLOCK_M, sizes.BLOCK_V, False, sizes.OWN_TMA
    )
    bh = (own.batch * own.heads + own.head).to(tl.int64)
    n_bh = (own.heads * own.batches).to(tl.int64)
    delta_bh = bh + n_bh
    words = 0
    if dropping.STREAMS is not None:
        words = row_words(dropping, own.stream, own.q, own.head)
    stats = own.stats_first + own.row
    n_stats = n_rows  # rows that get a number: whole tiles, but of the sequence alone where there are several
    if sizes.PACKED:
        n_stats = own.n_q
    if PARTIAL is None:
        o_ptrs = ptrs_by_layout(OUT, out_strides, query_rows(own), sizes, sizes.BLOCK_M, sizes.BLOCK_V)
        o_tile = tl.load(o_ptrs, mask=tile_mask(own.row, loaded.length, sizes.V_DIM, sizes.BLOCK_V), other=0.0)
        lse_2, delta = row_stats(o_tile, do_tile, LSE, DLSE, bh * own.q_rows, own.at, own.row < own.n_q)
        if dropping.STREAMS is not None:
            lse_2 += tl.log2(dropping.kept_share)
            delta *= dropping.kept_share
        if ROW_STATS is not None:
            tl.store(ROW_STATS + bh * n_rows + stats, lse_2, mask=own.row < n_stats)
            tl.store(ROW_STATS + delta_bh * n_rows + stats, delta, mask=own.row < n_stats)
            if dropping.STREAMS is not None:
                store_words(ROW_STATS + (delta_bh + n_bh) * n_rows + stats, words, own.row < n_stats)
        dq = tl.zeros([sizes.BLOCK_M, sizes.BLOCK_D], tl.float32)
    else:
        lse_2 = tl.load(ROW_STATS + bh * n_rows + stats, mask=own.row < n_stats, other=float("inf"))
        delta = tl.load(ROW_STATS + delta_bh * n_rows + stats, mask=own.row < n_stats, other=0.0)
        tops = PARTIAL_TOP + bh * own.q_rows + own.at
        ptrs = query_ptrs(PARTIAL, bh, own, sizes, sizes.HEAD_DIM, sizes.BLOCK_D)
        dq = load_carry(ptrs, tops, carried_rows(own, sizes), mask)
    if CLASS_STATS is not None:
        # For dk and dv, each residue class side by side; what lies beyond n_q has been filled in.
        place = own.class_row * n_class_rows + own.place + tl.arange(0, sizes.BLOCK_M)
        tl.store(CLASS_STATS + bh * sizes.STRIDE * n_class_rows + place, lse_2, mask=own.row < own.n_q)
        tl.store(CLASS_STATS + delta_bh * sizes.STRIDE * n_class_rows + place, delta, mask=own.row < own.n_q)
        if dropping.STREAMS is not None:
            first = CLASS_STATS + (delta_bh + n_bh) * sizes.STRIDE * n_class_rows + place
            store_words(first, words, own.row < own.n_q)
    dq = _add_dq(dq, q_tile, do_tile, lse_2, delta, scale_log2, own, dropping, words, region, sizes)
    if region_1.K is not None:
        dq = _add_dq(dq, q_tile, do_tile, lse_2, delta, scale_log2, own, dropping, words, region_1, sizes)
    if region_2.K is not None:
        dq = _add_dq(dq, q_tile, do_tile, lse_2, delta, scale_log2, own, dropping, words, region_2, sizes)
    if DQ_TOP is None:
        dq *= scale
    if SPLITS is None:
        _store_dq(dq, DQ, dq_strides, DQ_TOP, bh, mask, own, sizes)
    elif own.share.split:
        store_split(SPLITS, dq, own.share.slot, sizes.HEAD_DIM, sizes.BLOCK_M, sizes.BLOCK_D)
    else:
        _store_dq(dq, DQ, dq_strides, DQ_TOP, bh, mask, own, sizes)


@triton.jit
def _store_dq(dq, DQ, dq_strides, DQ_TOP, bh, mask, own, sizes):
    """Stores the gradient of a tile of queries, or what the next kernel goes on with."""
    if DQ_TOP is None:
        ptrs = ptrs_by_layout(DQ, dq_strides, query_rows(own), sizes, sizes.BLOCK_M, sizes.BLOCK_D)
        tl.store(ptrs, dq.to(DQ.dtype.element_ty), mask=mask)
    else:
        tops = DQ_TOP + bh * own.q_rows + own.at
        ptrs = query_ptrs(DQ, bh, own, sizes, sizes.HEAD_DIM, sizes.BLOCK_D)
        store_carry(ptrs, tops, dq, own.row < own.n_q, mask)


@triton.jit
def _add_dq(dq, q_tile, do_tile, lse_2, delta, scale_log2, own, dropping, words, region, sizes):
    """The sum after the keys of a region."""
    walk = walk_keys(region, own, sizes)
    begin, end = steps_of_keys(region, own, walk, sizes)
    AT_ONCE: tl.constexpr = 1 if region.lists.SEEN is None else sizes.BLOCK_N
    last = last_steps(region, walk, end, sizes)
    for step in range(begin, last, AT_ONCE):
        dq = _add_keys(
            dq, q_tile, do_tile, lse_2, delta, scale_log2, own, dropping, words, region, walk, step, False, sizes
        )
    if sizes.PACKED and sizes.TMA:
        for step in tl.range(last, end, num_stages=1):
            dq = _add_keys(
                dq, q_tile, do_tile, lse_2, delta, scale_log2, own, dropping, words, region, walk, step, True, sizes
            )
    return dq


@triton.jit
def _add_keys(
    dq, q_tile, do_tile, lse_2, delta, scale_log2, own, dropping, words, region, walk, step, LAST: tl.constexpr, sizes
):  # fmt: skip
    """The sum after the keys of a step."""
    stop = keys_at(region, own, walk, step, sizes)
    k_tile = load_keys(region.K, region.k_strides, region, own, walk, stop, sizes, sizes.HEAD_DIM, sizes.BLOCK_D, LAST)
    v_tile = load_keys(region.V, region.v_strides, region, own, walk, stop, sizes, sizes.V_DIM, sizes.BLOCK_V, LAST)
    s = tl.dot(q_tile, tl.trans(k_tile), input_precision=sizes.PRECISION)
    at = place_of_keys(region, own, stop, sizes)
    if region.rules.SCORE is not None:
        pairs = own.q, stop.position, own.n, at
        if region.rules.SCORE_GRADIENT is not None:
            slope = score_tile(region.rules.SCORE_GRADIENT, s, *pairs, region.rules, scale_log2, True)
        s = score_tile(region.rules.SCORE, s, *pairs, region.rules, scale_log2, True)
    s = mask_keys(s, region, own, walk, stop, at, sizes)
    p = tl.exp2(s * scale_of(region.rules, scale_log2) - lse_2[:, None])
    if region.rules.SCORE_GRADIENT is not None:
        p = through_score(p, slope)
    dp = tl.dot(do_tile, tl.trans(v_tile), input_precision=sizes.PRECISION)
    if dropping.STREAMS is not None:
        dp = tl.where(kept_keys(dropping, words, region, stop, sizes), dp, 0.0)
    ds = p * (dp - delta[:, None])
    return tl.dot(ds.to(k_tile.dtype), k_tile, dq, input_precision=sizes.PRECISION)
