"""Kernels over queries and keys that stand side by side with those of their groups: forward, dq, and dk and dv.

Orders and groups are those of `groups.tiles`.  What a tile of slots finds is stored for its slots alone, one line after
the other, and `groups.joins` puts together what a token has in several groups.
"""

from __future__ import annotations

from sparsec.kernels.groups.tiles import (
    GroupSizes,
    kept_in_groups,
    keys_of_groups,
    load_tokens,
    own_slots,
    place_of_slots,
    queries_of_groups,
    step_slots,
    store_slots,
)
from sparsec.kernels.machine.device import RUN_TIME, kernel_name, tl, triton
from sparsec.kernels.tiles.dropout import Dropping, kept_by_hash, row_words
from sparsec.kernels.tiles.regions import Rules
from sparsec.kernels.tiles.scores import scale_of, score_tile, there_only, through_score
from sparsec.kernels.tiles.softmax import softmax_end, softmax_start, softmax_step

GROUP_RUN_TIME = [*RUN_TIME, "slots_q", "slots_k", "size_q", "size_k", "firsts"]


@triton.jit(do_not_specialize=GROUP_RUN_TIME, repr=kernel_name)
def grouped_forward(
    Q, K, V, SLOT_OUT, SLOT_TOP, SLOT_LSE, ORDER_Q, ORDER_K, LABELS, HEADS, TABLES, INPUTS, STREAMS,
    q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n,
    heads, n_q, n, q_offset, scale_log2, slots_q, slots_k, size_q, size_k, drop_below,
    NAME: tl.constexpr, KEEP: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr, SCORE: tl.constexpr,
    BY_CHUNK: tl.constexpr, LINES: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The softmax of slots of queries over the keys of their groups: SLOT_OUT with SLOT_TOP, and SLOT_LSE."""
    _forward_slots(
        Q, (q_b, q_h, q_m), K, (k_b, k_h, k_n), V, (v_b, v_h, v_n), SLOT_OUT, SLOT_TOP, SLOT_LSE, ORDER_Q, ORDER_K,
        LABELS, HEADS, heads, n_q, n, q_offset, scale_log2, slots_q, slots_k, size_q, size_k,
        Dropping(STREAMS, drop_below, None),
        Rules(KEEP, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE),
        GroupSizes(BY_CHUNK, LINES, GROUP, HEAD_DIM, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION),
    )  # fmt: skip


@triton.jit
def _forward_slots(
    Q, q_strides, K, k_strides, V, v_strides, SLOT_OUT, SLOT_TOP, SLOT_LSE, ORDER_Q, ORDER_K, LABELS, HEADS,
    heads, n_q, n, q_offset, scale_log2, slots_q, slots_k, size_q, size_k, dropping, rules, sizes,
):  # fmt: skip
    """What a program of `grouped_forward` does."""
    own = own_slots(HEADS, LABELS, ORDER_Q, heads, n_q, n, q_offset, slots_q, size_q, True, sizes)
    q_tile = load_tokens(Q, q_strides, own, own.head, own.token, own.there, sizes)
    words = 0
    if dropping.STREAMS is not None:
        words = row_words(dropping, own.stream, own.q, own.head)
    m_i, l_i, acc = softmax_start(sizes.BLOCK_M, sizes.BLOCK_D)
    begin, end = keys_of_groups(own, slots_k, size_k, sizes)
    for start in range(begin, end, sizes.BLOCK_N):
        step = step_slots(ORDER_K, own, start, end, slots_k, size_k, True, sizes)
        k_tile = load_tokens(K, k_strides, own, own.head // sizes.GROUP, step.token, step.there, sizes)
        s = tl.dot(q_tile, tl.trans(k_tile), input_precision=sizes.PRECISION)
        if rules.SCORE is not None:
            s = score_tile(rules.SCORE, s, own.q, step.token, n, place_of_slots(own), rules, scale_log2, True)
        s = tl.where(kept_in_groups(rules, own, step, True, sizes), s, float("-inf"))
        v_tile = load_tokens(V, v_strides, own, own.head // sizes.GROUP, step.token, step.there, sizes)
        p, alpha, m_i, l_i = softmax_step(s, m_i, l_i, scale_of(rules, scale_log2))
        if dropping.STREAMS is not None:
            p = tl.where(kept_by_hash(words, step.token, 0, dropping.drop_below, False, sizes.BLOCK_N, True), p, 0.0)
        acc = tl.dot(p.to(v_tile.dtype), v_tile, acc * alpha[:, None], input_precision=sizes.PRECISION)
    out, lse = softmax_end(m_i, l_i, acc)
    store_slots(SLOT_OUT, SLOT_TOP, out, own, sizes.BLOCK_M, sizes)
    place = tl.arange(0, sizes.BLOCK_M)
    tl.store(SLOT_LSE + own.slot + place, lse, mask=own.first + place < own.end)


@triton.jit(do_not_specialize=GROUP_RUN_TIME, repr=kernel_name)
def grouped_dq(
    Q, K, V, DO, ROW_STATS, SLOT_DQ, SLOT_TOP, ORDER_Q, ORDER_K, LABELS, HEADS, TABLES, INPUTS, STREAMS,
    q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_m,
    heads, n_q, n_rows, n, q_offset, scale_log2, slots_q, slots_k, size_q, size_k, drop_below,
    NAME: tl.constexpr, KEEP: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr, SCORE: tl.constexpr,
    SCORE_GRADIENT: tl.constexpr, BY_CHUNK: tl.constexpr, LINES: tl.constexpr, GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """What slots of queries add to the gradient of q, not yet scaled: SLOT_DQ, with SLOT_TOP."""
    _dq_slots(
        Q, (q_b, q_h, q_m), K, (k_b, k_h, k_n), V, (v_b, v_h, v_n), DO, (g_b, g_h, g_m), ROW_STATS, n_rows,
        SLOT_DQ, SLOT_TOP, ORDER_Q, ORDER_K, LABELS, HEADS, heads, n_q, n, q_offset, scale_log2,
        slots_q, slots_k, size_q, size_k, Dropping(STREAMS, drop_below, None),
        Rules(KEEP, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE, SCORE_GRADIENT),
        GroupSizes(BY_CHUNK, LINES, GROUP, HEAD_DIM, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION),
    )  # fmt: skip


@triton.jit
def _dq_slots(
    Q, q_strides, K, k_strides, V, v_strides, DO, do_strides, ROW_STATS, n_rows, SLOT_DQ, SLOT_TOP,
    ORDER_Q, ORDER_K, LABELS, HEADS, heads, n_q, n, q_offset, scale_log2, slots_q, slots_k, size_q, size_k,
    dropping, rules, sizes,
):  # fmt: skip
    """What a program of `grouped_dq` does."""
    own = own_slots(HEADS, LABELS, ORDER_Q, heads, n_q, n, q_offset, slots_q, size_q, True, sizes)
    q_tile = load_tokens(Q, q_strides, own, own.head, own.token, own.there, sizes)
    do_tile = load_tokens(DO, do_strides, own, own.head, own.token, own.there, sizes)
    n_bh = (heads * tl.num_programs(2)).to(tl.int64)
    stats = ROW_STATS + (own.batch * heads + own.head).to(tl.int64) * n_rows + own.token
    lse_2 = tl.load(stats, mask=own.there, other=float("inf"))
    delta = tl.load(stats + n_bh * n_rows, mask=own.there, other=0.0)
    words = 0
    if dropping.STREAMS is not None:
        words = row_words(dropping, own.stream, own.q, own.head)
    dq = tl.zeros([sizes.BLOCK_M, sizes.BLOCK_D], tl.float32)
    begin, end = keys_of_groups(own, slots_k, size_k, sizes)
    for start in range(begin, end, sizes.BLOCK_N):
        step = step_slots(ORDER_K, own, start, end, slots_k, size_k, True, sizes)
        k_tile = load_tokens(K, k_strides, own, own.head // sizes.GROUP, step.token, step.there, sizes)
        v_tile = load_tokens(V, v_strides, own, own.head // sizes.GROUP, step.token, step.there, sizes)
        s = tl.dot(q_tile, tl.trans(k_tile), input_precision=sizes.PRECISION)
        if rules.SCORE is not None:
            pairs = own.q, step.token, n, place_of_slots(own)
            if rules.SCORE_GRADIENT is not None:
                slope = score_tile(rules.SCORE_GRADIENT, s, *pairs, rules, scale_log2, True)
            s = score_tile(rules.SCORE, s, *pairs, rules, scale_log2, True)
        s = tl.where(kept_in_groups(rules, own, step, True, sizes), s, float("-inf"))
        p = tl.exp2(s * scale_of(rules, scale_log2) - lse_2[:, None])
        if rules.SCORE_GRADIENT is not None:
            p = through_score(p, slope)
        dp = tl.dot(do_tile, tl.trans(v_tile), input_precision=sizes.PRECISION)
        if dropping.STREAMS is not None:
            dp = tl.where(kept_by_hash(words, step.token, 0, dropping.drop_below, False, sizes.BLOCK_N, True), dp, 0.0)
        ds = p * (dp - delta[:, None])
        dq = tl.dot(ds.to(k_tile.dtype), k_tile, dq, input_precision=sizes.PRECISION)
    store_slots(SLOT_DQ, SLOT_TOP, dq, own, sizes.BLOCK_M, sizes)


@triton.jit(do_not_specialize=GROUP_RUN_TIME, repr=kernel_name)
def grouped_dkdv(
    Q, K, V, DO, ROW_STATS, SLOT_DK, SLOT_DV, SLOT_DK_TOP, SLOT_DV_TOP, ORDER_Q, ORDER_K, FIRST_Q, LABELS, HEADS,
    TABLES, INPUTS, q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_m,
    heads, n_q, n_rows, n, q_offset, scale_log2, slots_q, slots_k, size_q, size_k, firsts, drop_below,
    NAME: tl.constexpr, KEEP: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr, SCORE: tl.constexpr,
    SCORE_GRADIENT: tl.constexpr, BY_CHUNK: tl.constexpr, LINES: tl.constexpr, GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """What slots of keys, of each query head, add to the gradients of k, not yet scaled, and of v."""
    _dkdv_slots(
        Q, (q_b, q_h, q_m), K, (k_b, k_h, k_n), V, (v_b, v_h, v_n), DO, (g_b, g_h, g_m), ROW_STATS, n_rows,
        SLOT_DK, SLOT_DV, SLOT_DK_TOP, SLOT_DV_TOP, ORDER_Q, ORDER_K, FIRST_Q, firsts, LABELS, HEADS,
        heads, n_q, n, q_offset, scale_log2, slots_q, slots_k, size_q, size_k, drop_below,
        Rules(KEEP, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE, SCORE_GRADIENT),
        GroupSizes(BY_CHUNK, LINES, GROUP, HEAD_DIM, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION),
    )  # fmt: skip


@triton.jit
def _dkdv_slots(
    Q, q_strides, K, k_strides, V, v_strides, DO, do_strides, ROW_STATS, n_rows,
    SLOT_DK, SLOT_DV, SLOT_DK_TOP, SLOT_DV_TOP, ORDER_Q, ORDER_K, FIRST_Q, firsts, LABELS, HEADS,
    heads, n_q, n, q_offset, scale_log2, slots_q, slots_k, size_q, size_k, drop_below, rules, sizes,
):  # fmt: skip
    """What a program of `grouped_dkdv` does."""
    own = own_slots(HEADS, LABELS, ORDER_K, heads, n_q, n, q_offset, slots_k, size_k, False, sizes)
    k_tile = load_tokens(K, k_strides, own, own.head // sizes.GROUP, own.token, own.there, sizes)
    v_tile = load_tokens(V, v_strides, own, own.head // sizes.GROUP, own.token, own.there, sizes)
    n_stats = (heads * tl.num_programs(2)).to(tl.int64) * n_rows
    dk = tl.zeros([sizes.BLOCK_N, sizes.BLOCK_D], tl.float32)
    dv = tl.zeros([sizes.BLOCK_N, sizes.BLOCK_D], tl.float32)
    begin, end = queries_of_groups(own, FIRST_Q, firsts, size_q, sizes)
    for start in range(begin, end, sizes.BLOCK_M):
        step = step_slots(ORDER_Q, own, start, end, slots_q, size_q, False, sizes)
        q_tile = load_tokens(Q, q_strides, own, own.head, step.token, step.there, sizes)
        stats = ROW_STATS + (own.batch * heads + own.head).to(tl.int64) * n_rows + step.token
        lse_2 = tl.load(stats, mask=step.there, other=float("inf"))
        s = tl.dot(k_tile, tl.trans(q_tile), input_precision=sizes.PRECISION)
        if rules.SCORE is not None:
            pairs = q_offset + step.token, own.token, n, place_of_slots(own)
            if rules.SCORE_GRADIENT is not None:
                slope = score_tile(rules.SCORE_GRADIENT, s, *pairs, rules, scale_log2, False)
            s = score_tile(rules.SCORE, s, *pairs, rules, scale_log2, False)
        s = tl.where(kept_in_groups(rules, own, step, False, sizes), s, float("-inf"))
        p = tl.exp2(s * scale_of(rules, scale_log2) - lse_2[None, :])
        if rules.SCORE is not None:
            p = there_only(p, lse_2)
        do_tile = load_tokens(DO, do_strides, own, own.head, step.token, step.there, sizes)
        weights = p
        if drop_below is not None:
            words = tl.load(stats + 2 * n_stats, mask=step.there, other=0.0).to(tl.uint32, bitcast=True)
            kept = kept_by_hash(words, own.token, 0, drop_below, False, sizes.BLOCK_N, False)
            weights = tl.where(kept, p, 0.0)
        dv = tl.dot(weights.to(do_tile.dtype), do_tile, dv, input_precision=sizes.PRECISION)
        if rules.SCORE_GRADIENT is not None:
            p = through_score(p, slope)
        dp = tl.dot(v_tile, tl.trans(do_tile), input_precision=sizes.PRECISION)
        delta = tl.load(stats + n_stats, mask=step.there, other=0.0)
        if drop_below is not None:
            dp = tl.where(kept, dp, 0.0)
        ds = p * (dp - delta[None, :])
        dk = tl.dot(ds.to(q_tile.dtype), q_tile, dk, input_precision=sizes.PRECISION)
    store_slots(SLOT_DK, SLOT_DK_TOP, dk, own, sizes.BLOCK_N, sizes)
    store_slots(SLOT_DV, SLOT_DV_TOP, dv, own, sizes.BLOCK_N, sizes)
