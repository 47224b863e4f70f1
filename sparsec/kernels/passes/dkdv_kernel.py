"""The kernel for the gradients of k and v."""

from __future__ import annotations

from sparsec.kernels.machine.device import RUN_TIME, Sizes, kernel_name, tl, triton
from sparsec.kernels.tiles.dropout import kept_by_hash
from sparsec.kernels.tiles.loads import (
    load_by_layout,
    load_gathered_sums,
    load_row_stats,
    ptrs_by_layout,
    tile_mask,
)
from sparsec.kernels.tiles.own_tiles import (
    carried_keys,
    key_ptrs,
    key_rows,
    loaded_keys,
    own_keys,
    query_rows_of,
    sequence_of,
)
from sparsec.kernels.tiles.query_regions import (
    last_queries,
    mask_queries,
    place_of_queries,
    queries_at,
    turn_of,
    walk_queries,
)
from sparsec.kernels.tiles.regions import Lists, Rules
from sparsec.kernels.tiles.scores import scale_of, score_tile, there_only, through_score
from sparsec.kernels.tiles.shares import Shares, is_idle
from sparsec.kernels.tiles.splits import load_carry, store_carry, store_split


@triton.jit(do_not_specialize=RUN_TIME, repr=kernel_name)
def dkdv_kernel(
    Q, K, V, ROW_STATS, DO, DK, DV, DKDV_TOP, PARTIAL_DK, PARTIAL_DV, PARTIAL_TOP, DK_SPLITS, DV_SPLITS,
    DK_SUMS_1, DV_SUMS_1, DK_SUMS_2, DV_SUMS_2, HEADS, KV_HEADS, FIRST_HEAD,
    TABLES, INPUTS, LIST_STARTS, LIST, SEEN, LIST_MASKS, MASKS, COUNTS, SHARES, TILES,
    q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_m, r_b, r_h, r_m, dv_b, dv_h, dv_m,
    heads, n_q, n_rows, n, q_offset, batches, scale, scale_log2, split_tiles, splits,
    batch_lines, head_lines, room, drop_below,
    NAME: tl.constexpr, KEEP: tl.constexpr, FULL: tl.constexpr, QUERIES: tl.constexpr, GATHERED: tl.constexpr,
    SUMS_1: tl.constexpr, SUMS_2: tl.constexpr, SHARED: tl.constexpr,
    NUMBERS: tl.constexpr, FORMS: tl.constexpr, WHOLE: tl.constexpr, LISTS_FILL: tl.constexpr, SCORE: tl.constexpr,
    SCORE_GRADIENT: tl.constexpr, NEAR: tl.constexpr, KEEP_STATIC: tl.constexpr,
    STRIDE: tl.constexpr, TOGETHER: tl.constexpr, LONGEST_FIRST: tl.constexpr,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr, TMA: tl.constexpr, OWN_TMA: tl.constexpr,
    ROWS_OF_QUERY: tl.constexpr, HEADS_LISTED: tl.constexpr, ROWS_LISTED: tl.constexpr,
):  # fmt: skip
    """Gradients of one tile of keys and values over the queries of a region, of all query heads that share them.

    GATHERED: K and V are keys of that kind side by side, and DK and DV sums that another kernel collects: from its
    DK_SUMS_1, .., of the gathered keys SUMS_1, ...  PARTIAL_DK: it goes on with what the kernel before left.  DKDV_TOP:
    another kernel goes on with them.  SHARED: other groups of heads add to these keys, in float32.  SHARES, TILES,
    drop_below: as in `forward_kernel`; None: nothing is dropped.  HEADS_LISTED: as in `list_tiles`; None: entries stand
    for all heads.  ROWS_LISTED: entries are about so many rows of Q; None: about tiles of these.  dv_b, ..: strides of
    DV, where V_DIM is HEAD_DIM those of DK.
    """
    if SHARES is not None:  # noqa: SIM102
        if is_idle(Shares(split_tiles, splits, SHARES, COUNTS, batch_lines, head_lines), KV_HEADS, LONGEST_FIRST):
            return
    _dkdv_tiles(
        TILES, LONGEST_FIRST,
        (
            KV_HEADS, FIRST_HEAD, heads, n_q, n, q_offset, batches,
            GROUP, BLOCK_N, STRIDE, TOGETHER, LONGEST_FIRST, GATHERED,
        ),
        Shares(split_tiles, splits, SHARES, COUNTS, batch_lines, head_lines),
        Q, (q_b, q_h, q_m), DO, (g_b, g_h, g_m), ROW_STATS, n_rows, HEADS,
        K, (k_b, k_h, k_n), V, (v_b, v_h, v_n), DK, DV, (r_b, r_h, r_m), (dv_b, dv_h, dv_m), DKDV_TOP,
        PARTIAL_DK, PARTIAL_DV, PARTIAL_TOP, DK_SUMS_1, DV_SUMS_1, SUMS_1, DK_SUMS_2, DV_SUMS_2, SUMS_2,
        DK_SPLITS, DV_SPLITS, scale, scale_log2, drop_below, SHARED, GATHERED is not None,
        Rules(
            KEEP, FULL, QUERIES, NUMBERS, INPUTS, FORMS, TABLES, WHOLE, LISTS_FILL, SCORE, SCORE_GRADIENT,
            GATHERED is not None, NEAR, None, KEEP_STATIC,
        ),
        Lists(
            LIST_STARTS, LIST, SEEN, LIST_MASKS, MASKS, COUNTS, batch_lines, head_lines, room, HEADS_LISTED, ROWS_LISTED
        ),
        Sizes(
            GROUP, HEAD_DIM, BLOCK_M, BLOCK_N, BLOCK_D, V_DIM, BLOCK_V, STRIDE, PRECISION, TMA, OWN_TMA,
            DK_SPLITS is not None, TILES is not None, ROWS_OF_QUERY,
        ),
    )  # fmt: skip


@triton.jit
def _dkdv_tiles(
    TILES, LONGEST_FIRST: tl.constexpr, place, shares,
    Q, q_strides, DO, do_strides, ROW_STATS, n_rows, HEADS, K, k_strides, V, v_strides, DK, DV, dk_strides,
    dv_strides, DKDV_TOP, PARTIAL_DK, PARTIAL_DV, PARTIAL_TOP, DK_SUMS_1, DV_SUMS_1, SUMS_1: tl.constexpr,
    DK_SUMS_2, DV_SUMS_2, SUMS_2: tl.constexpr, DK_SPLITS, DV_SPLITS, scale, scale_log2, drop_below,
    SHARED: tl.constexpr, IS_SUM: tl.constexpr, rules, lists, sizes,
):  # fmt: skip
    """What a program does for each of its tiles."""
    if TILES is None:
        _dkdv_tile(
            own_keys(*place, shares, None),
            Q, q_strides, DO, do_strides, ROW_STATS, n_rows, HEADS, K, k_strides, V, v_strides, DK, DV,
            dk_strides, dv_strides, DKDV_TOP, PARTIAL_DK, PARTIAL_DV, PARTIAL_TOP, DK_SUMS_1, DV_SUMS_1, SUMS_1,
            DK_SUMS_2, DV_SUMS_2, SUMS_2, DK_SPLITS, DV_SPLITS, scale, scale_log2, drop_below, SHARED, IS_SUM, rules,
            lists, sizes,
        )  # fmt: skip
    else:
        # Mostly one turn.  What is the same in all turns stays in the loop: before it, it would cost registers.
        for number in tl.range(tl.program_id(0), tl.load(TILES), tl.num_programs(0), num_stages=1, disable_licm=True):
            _dkdv_tile(
                own_keys(*place, shares, sequence_of(TILES, number, LONGEST_FIRST)),
                Q, q_strides, DO, do_strides, ROW_STATS, n_rows, HEADS, K, k_strides, V, v_strides, DK, DV,
                dk_strides, dv_strides, DKDV_TOP, PARTIAL_DK, PARTIAL_DV, PARTIAL_TOP, DK_SUMS_1, DV_SUMS_1,
                SUMS_1, DK_SUMS_2, DV_SUMS_2, SUMS_2, DK_SPLITS, DV_SPLITS, scale, scale_log2, drop_below, SHARED,
                IS_SUM, rules, lists, sizes,
            )  # fmt: skip


@triton.jit
def _dkdv_tile(
    own, Q, q_strides, DO, do_strides, ROW_STATS, n_rows, HEADS, K, k_strides, V, v_strides, DK, DV, dk_strides,
    dv_strides, DKDV_TOP, PARTIAL_DK, PARTIAL_DV, PARTIAL_TOP, DK_SUMS_1, DV_SUMS_1, SUMS_1: tl.constexpr,
    DK_SUMS_2, DV_SUMS_2, SUMS_2: tl.constexpr, DK_SPLITS, DV_SPLITS, scale, scale_log2, drop_below,
    SHARED: tl.constexpr, IS_SUM: tl.constexpr, rules, lists, sizes,
):  # fmt: skip
    """What a program of `dkdv_kernel` does."""
    mask = tile_mask(own.k, own.n, sizes.HEAD_DIM, sizes.BLOCK_D)
    v_mask = tile_mask(own.k, own.n, sizes.V_DIM, sizes.BLOCK_V)
    if sizes.PACKED:
        mask &= own.there[:, None]
        v_mask &= own.there[:, None]
    rows = loaded_keys(own, sizes)
    k_tile = load_by_layout(
        K, k_strides, rows, sizes, sizes.HEAD_DIM, sizes.BLOCK_N, sizes.BLOCK_D, False, sizes.OWN_TMA
    )
    v_tile = load_by_layout(V, v_strides, rows, sizes, sizes.V_DIM, sizes.BLOCK_N, sizes.BLOCK_V, False, sizes.OWN_TMA)
    n_kv_bh = own.kv_heads * own.batches
    kv_bh = own.batch * own.kv_heads + own.kv_head
    dk = tl.zeros([sizes.BLOCK_N, sizes.BLOCK_D], tl.float32)
    dv = tl.zeros([sizes.BLOCK_N, sizes.BLOCK_V], tl.float32)
    carried = carried_keys(own, sizes)  # of what kernels before this one found
    if SUMS_1 is not None:
        dk += load_gathered_sums(DK_SUMS_1, kv_bh, own.k, carried, own.n, SUMS_1, sizes.HEAD_DIM, sizes.BLOCK_D)
        dv += load_gathered_sums(DV_SUMS_1, kv_bh, own.k, carried, own.n, SUMS_1, sizes.V_DIM, sizes.BLOCK_V)
    if SUMS_2 is not None:
        dk += load_gathered_sums(DK_SUMS_2, kv_bh, own.k, carried, own.n, SUMS_2, sizes.HEAD_DIM, sizes.BLOCK_D)
        dv += load_gathered_sums(DV_SUMS_2, kv_bh, own.k, carried, own.n, SUMS_2, sizes.V_DIM, sizes.BLOCK_V)
    if PARTIAL_DK is not None:
        tops = PARTIAL_TOP + kv_bh.to(tl.int64) * own.k_rows + own.at
        dk += load_carry(key_ptrs(PARTIAL_DK, kv_bh, own, sizes, sizes.HEAD_DIM, sizes.BLOCK_D), tops, carried, mask)
        tops += n_kv_bh.to(tl.int64) * own.k_rows
        dv += load_carry(key_ptrs(PARTIAL_DV, kv_bh, own, sizes, sizes.V_DIM, sizes.BLOCK_V), tops, carried, v_mask)
    if SHARED:
        dk_ptrs, dv_ptrs = _dkdv_ptrs(DK, DV, dk_strides, dv_strides, own, sizes)
        dk += tl.load(dk_ptrs, mask=mask & carried[:, None], other=0.0)
        dv += tl.load(dv_ptrs, mask=v_mask & carried[:, None], other=0.0)
    dk, dv = _add_dkdv(
        dk, dv, k_tile, v_tile, Q, q_strides, DO, do_strides, ROW_STATS, n_rows, HEADS, scale_log2, drop_below,
        own, rules, lists, sizes,
    )  # fmt: skip
    if DKDV_TOP is None and not IS_SUM and not SHARED:
        dk *= scale
    if DK_SPLITS is None:
        _store_dkdv(dk, dv, DK, DV, dk_strides, dv_strides, DKDV_TOP, kv_bh, n_kv_bh, mask, v_mask, own, sizes)
    elif own.share.split:
        store_split(DK_SPLITS, dk, own.share.slot, sizes.HEAD_DIM, sizes.BLOCK_N, sizes.BLOCK_D)
        store_split(DV_SPLITS, dv, own.share.slot, sizes.V_DIM, sizes.BLOCK_N, sizes.BLOCK_V)
    else:
        _store_dkdv(dk, dv, DK, DV, dk_strides, dv_strides, DKDV_TOP, kv_bh, n_kv_bh, mask, v_mask, own, sizes)


@triton.jit
def _store_dkdv(dk, dv, DK, DV, dk_strides, dv_strides, DKDV_TOP, kv_bh, n_kv_bh, mask, v_mask, own, sizes):
    """Stores the gradients of a tile of keys, or what the next kernel goes on with."""
    if DKDV_TOP is None:
        dk_ptrs, dv_ptrs = _dkdv_ptrs(DK, DV, dk_strides, dv_strides, own, sizes)
        tl.store(dk_ptrs, dk.to(DK.dtype.element_ty), mask=mask)
        tl.store(dv_ptrs, dv.to(DV.dtype.element_ty), mask=v_mask)
    else:
        tops = DKDV_TOP + kv_bh.to(tl.int64) * own.k_rows + own.at
        store_carry(key_ptrs(DK, kv_bh, own, sizes, sizes.HEAD_DIM, sizes.BLOCK_D), tops, dk, own.there, mask)
        tops += n_kv_bh.to(tl.int64) * own.k_rows
        store_carry(key_ptrs(DV, kv_bh, own, sizes, sizes.V_DIM, sizes.BLOCK_V), tops, dv, own.there, v_mask)


@triton.jit
def _dkdv_ptrs(DK, DV, dk_strides, dv_strides, own, sizes):
    """Pointers to the keys of a program in DK and DV, which share their offsets where they lie alike."""
    rows = key_rows(own)
    dk_ptrs = ptrs_by_layout(DK, dk_strides, rows, sizes, sizes.BLOCK_N, sizes.BLOCK_D)
    if sizes.V_DIM == sizes.HEAD_DIM:
        dv_ptrs = ptrs_by_layout(DV, dk_strides, rows, sizes, sizes.BLOCK_N, sizes.BLOCK_V)
    else:
        dv_ptrs = ptrs_by_layout(DV, dv_strides, rows, sizes, sizes.BLOCK_N, sizes.BLOCK_V)
    return dk_ptrs, dv_ptrs


@triton.jit
def _add_dkdv(
    dk, dv, k_tile, v_tile, Q, q_strides, DO, do_strides, ROW_STATS, n_rows, HEADS, scale_log2, drop_below,
    own, rules, lists, sizes,
):  # fmt: skip
    """The sums after the queries of a region."""
    walk, steps, begin, end = walk_queries(rules, lists, own, sizes)
    steps, end, last_end = last_queries(walk, lists, own, steps, end, sizes)
    for turn in range(begin, end):
        step, head = turn_of(walk, lists, own, turn, steps, sizes)
        dk, dv = _add_queries(
            dk, dv, k_tile, v_tile, Q, q_strides, DO, do_strides, ROW_STATS, n_rows, HEADS, scale_log2, drop_below,
            own, rules, lists, walk, step, head, False, sizes,
        )  # fmt: skip
    if sizes.PACKED and sizes.TMA:  # noqa: SIM102
        # As a for loop it has the products of the loop above wait for one another: accumulators change registers.
        if last_end > 0:
            turn = 0
            while turn < last_end:
                dk, dv = _add_queries(
                    dk, dv, k_tile, v_tile, Q, q_strides, DO, do_strides, ROW_STATS, n_rows, HEADS, scale_log2,
                    drop_below, own, rules, lists, walk, steps, own.first_head + turn, True, sizes,
                )  # fmt: skip
                turn += 1
    return dk, dv


@triton.jit
def _add_queries(
    dk, dv, k_tile, v_tile, Q, q_strides, DO, do_strides, ROW_STATS, n_rows, HEADS, scale_log2, drop_below,
    own, rules, lists, walk, step, head, LAST: tl.constexpr, sizes,
):  # fmt: skip
    """The sums after the queries of a step of one head."""
    LISTED: tl.constexpr = lists.SEEN is not None or lists.ROWS is not None
    if HEADS is not None:
        head = tl.load(HEADS + head)
    stop = queries_at(walk, lists, own, step, sizes)
    bh = own.batch * own.heads + head
    n_bh = own.heads * own.batches
    delta_bh = bh + n_bh
    if sizes.STRIDE > 1 and not sizes.PACKED:
        n_bh = n_bh * sizes.STRIDE
        bh, delta_bh = bh * sizes.STRIDE + own.class_row, delta_bh * sizes.STRIDE + own.class_row
    rows = query_rows_of(own, head, stop)
    q_tile = load_by_layout(
        Q, q_strides, rows, sizes, sizes.HEAD_DIM, sizes.BLOCK_M, sizes.BLOCK_D, LISTED, sizes.TMA, LAST
    )
    lse_2 = load_row_stats(
        ROW_STATS, bh, n_rows, own.stats_first, rows, sizes, sizes.BLOCK_M, LISTED, sizes.TMA, float("inf"), LAST
    )
    s = tl.dot(k_tile, tl.trans(q_tile), input_precision=sizes.PRECISION)
    at = place_of_queries(rules, lists, own, head, sizes)
    if rules.SCORE is not None:
        q = own.q_offset + stop.position
        if rules.SCORE_GRADIENT is not None:
            slope = score_tile(rules.SCORE_GRADIENT, s, q, own.k, own.n, at, rules, scale_log2, False)
        s = score_tile(rules.SCORE, s, q, own.k, own.n, at, rules, scale_log2, False)
    s = mask_queries(s, rules, lists, walk, own, stop, at, sizes)
    p = tl.exp2(s * scale_of(rules, scale_log2) - lse_2[None, :])
    if rules.SCORE is not None:
        p = there_only(p, lse_2)
    do_tile = load_by_layout(
        DO, do_strides, rows, sizes, sizes.V_DIM, sizes.BLOCK_M, sizes.BLOCK_V, LISTED, sizes.TMA, LAST
    )
    weights = p
    if drop_below is not None:
        words = load_row_stats(
            ROW_STATS, delta_bh + n_bh, n_rows, own.stats_first, rows, sizes, sizes.BLOCK_M, LISTED, sizes.TMA, 0.0,
            LAST,
        ).to(tl.uint32, bitcast=True)  # fmt: skip
        side_by_side: tl.constexpr = sizes.STRIDE == 1 and not rules.GATHERED and not LISTED and sizes.BLOCK_N % 32 == 0
        k = own.k
        if side_by_side:
            k = tl.arange(0, sizes.BLOCK_N)
        kept = kept_by_hash(words, k, own.k_lo, drop_below, side_by_side, sizes.BLOCK_N, False)
        weights = tl.where(kept, p, 0.0)
    dv = tl.dot(weights.to(do_tile.dtype), do_tile, dv, input_precision=sizes.PRECISION)
    if rules.SCORE_GRADIENT is not None:
        p = through_score(p, slope)
    dp = tl.dot(v_tile, tl.trans(do_tile), input_precision=sizes.PRECISION)
    delta = load_row_stats(
        ROW_STATS, delta_bh, n_rows, own.stats_first, rows, sizes, sizes.BLOCK_M, LISTED, sizes.TMA, 0.0, LAST
    )
    if drop_below is not None:
        dp = tl.where(kept, dp, 0.0)
    ds = p * (dp - delta[None, :])
    return tl.dot(ds.to(q_tile.dtype), q_tile, dk, input_precision=sizes.PRECISION), dv
