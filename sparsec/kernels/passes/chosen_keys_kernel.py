"""Kernels over keys that each query lists for itself: the forward pass, and the gradient of q; and one for the lists.

Both go on where another kernel left a row, over what is kept beside the lists.
"""

from __future__ import annotations

from sparsec.kernels.machine.device import RUN_TIME, kernel_name, tl, triton
from sparsec.kernels.passes.chosen_keys_rows import (
    NOT_LISTED,
    KeyLists,
    RowSizes,
    listed_at_once,
    load_next_keys,
    mask_of_rows,
    next_keys,
    numbers_of_rows,
    own_rows,
    products_of_rows,
    rows_of_heads,
    score_of_listed,
    weighed_sum,
)
from sparsec.kernels.tiles.regions import Rules
from sparsec.kernels.tiles.scores import scale_of, through_score
from sparsec.kernels.tiles.softmax import softmax_continue, softmax_end, softmax_step
from sparsec.kernels.tiles.splits import load_carry, store_carry


@triton.jit(do_not_specialize=["every_list", "listed", "n"])
def order_keys(LISTS, LISTED, every_list, listed, n, BLOCK: tl.constexpr, AT_ONCE: tl.constexpr):
    """LISTED: the keys of LISTS [lists, listed] in rising order; NOT_LISTED for what is no key, or was there before."""
    number = tl.cast(tl.program_id(0), tl.int64) * AT_ONCE + tl.arange(0, AT_ONCE)
    place = tl.arange(0, BLOCK)
    mask = (number < every_list)[:, None] & (place < listed)[None, :]
    at = number[:, None] * listed + place[None, :]
    key = tl.load(LISTS + at, mask=mask, other=-1)
    key = tl.sort(tl.where((key >= 0) & (key < n), key, NOT_LISTED).to(tl.int32))
    before = tl.broadcast_to(tl.maximum(place - 1, 0)[None, :], key.shape)
    again = (tl.gather(key, before, 1) == key) & (place > 0)[None, :]
    tl.store(LISTED + at, tl.where(again, NOT_LISTED, key), mask=mask)


@triton.jit(do_not_specialize=[*RUN_TIME, "listed", "lists", "lists_of_row", "groups"], repr=kernel_name)
def chosen_keys_forward(
    Q, K, V, OUT, LSE, PARTIAL, PARTIAL_TOP, OUT_TOP, HEADS, LISTED, TABLES, INPUTS,
    q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n, r_b, r_h, r_m,
    heads, n_q, n, q_offset, scale_log2, listed, lists, lists_of_row, groups,
    NAME: tl.constexpr, KEEP: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr, SCORE: tl.constexpr,
    NEAR: tl.constexpr, APART: tl.constexpr, TOGETHER: tl.constexpr, ROWS_OF_QUERY: tl.constexpr,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """OUT and LSE of rows with the keys of their lists, from PARTIAL and LSE of those of all other keys.

    OUT_TOP: another kernel goes on with them.
    """
    _forward(
        Q, (q_b, q_h, q_m), K, (k_b, k_h, k_n), V, (v_b, v_h, v_n), OUT, (r_b, r_h, r_m), LSE, PARTIAL, PARTIAL_TOP,
        OUT_TOP, HEADS, heads, n_q, n, q_offset, scale_log2,
        KeyLists(
            LISTED, listed, lists, lists_of_row, groups,
            Rules(KEEP, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE, None, False, NEAR),
        ),
        RowSizes(
            GROUP, TOGETHER, ROWS_OF_QUERY, APART, BLOCK_M, BLOCK_N, HEAD_DIM, BLOCK_D, V_DIM, BLOCK_V, PRECISION
        ),
    )  # fmt: skip


@triton.jit
def _forward(
    Q, q_strides, K, k_strides, V, v_strides, OUT, out_strides, LSE, PARTIAL, PARTIAL_TOP,
    OUT_TOP, HEADS, heads, n_q, n, q_offset, scale_log2, lists, sizes,
):  # fmt: skip
    """What a program of `chosen_keys_forward` does."""
    own = own_rows(HEADS, heads, n_q, n, q_offset, lists, sizes)
    numbers, mask = numbers_of_rows(own, heads, n_q), mask_of_rows(own, sizes.V_DIM, sizes.BLOCK_V)
    q_mask = mask_of_rows(own, sizes.HEAD_DIM, sizes.BLOCK_D)
    q_tile = tl.load(rows_of_heads(Q, q_strides, own, sizes.BLOCK_D), mask=q_mask, other=0.0)
    lse = tl.load(LSE + numbers, mask=own.there, other=float("-inf"))
    carried = numbers[:, None] * sizes.V_DIM + tl.arange(0, sizes.BLOCK_V)[None, :]
    m_i, l_i, acc = softmax_continue(lse, load_carry(PARTIAL + carried, PARTIAL_TOP + numbers, own.there, mask))
    for first in range(0, lists.listed, listed_at_once(sizes)):
        key, at_keys, kept = next_keys(lists, own, first, sizes)
        k_tile, v_tile = load_next_keys(K, k_strides, V, v_strides, own, key, kept, sizes)
        s = products_of_rows(q_tile, k_tile, sizes)
        if lists.rules.SCORE is not None:
            s = score_of_listed(lists.rules.SCORE, s, own, at_keys, lists.rules, scale_log2)
        s = tl.where(kept, s, float("-inf"))
        p, alpha, m_i, l_i = softmax_step(s, m_i, l_i, scale_of(lists.rules, scale_log2))
        acc = weighed_sum(p, v_tile, acc * alpha[:, None], sizes)
    out, lse = softmax_end(m_i, l_i, acc)
    tl.store(LSE + numbers, lse, mask=own.there)
    if OUT_TOP is None:
        tl.store(rows_of_heads(OUT, out_strides, own, sizes.BLOCK_V), out.to(OUT.dtype.element_ty), mask=mask)
    else:
        store_carry(OUT + carried, OUT_TOP + numbers, out, own.there, mask)


@triton.jit(do_not_specialize=[*RUN_TIME, "listed", "lists", "lists_of_row", "groups"], repr=kernel_name)
def chosen_keys_dq(
    Q, K, V, DO, ROW_STATS, DQ, PARTIAL, PARTIAL_TOP, DQ_TOP, HEADS, LISTED, TABLES, INPUTS,
    q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_m, r_b, r_h, r_m,
    heads, n_q, n_rows, n, q_offset, scale, scale_log2, listed, lists, lists_of_row, groups,
    NAME: tl.constexpr, KEEP: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr, SCORE: tl.constexpr,
    SCORE_GRADIENT: tl.constexpr, NEAR: tl.constexpr, APART: tl.constexpr, TOGETHER: tl.constexpr,
    ROWS_OF_QUERY: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """DQ of rows with the keys of their lists, from PARTIAL, the sum over all other keys; DQ_TOP: as OUT_TOP."""
    _dq(
        Q, (q_b, q_h, q_m), K, (k_b, k_h, k_n), V, (v_b, v_h, v_n), DO, (g_b, g_h, g_m), DQ, (r_b, r_h, r_m),
        ROW_STATS, n_rows, PARTIAL, PARTIAL_TOP, DQ_TOP, HEADS, heads, n_q, n, q_offset, scale, scale_log2,
        KeyLists(
            LISTED, listed, lists, lists_of_row, groups,
            Rules(KEEP, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE, SCORE_GRADIENT, False, NEAR),
        ),
        RowSizes(
            GROUP, TOGETHER, ROWS_OF_QUERY, APART, BLOCK_M, BLOCK_N, HEAD_DIM, BLOCK_D, V_DIM, BLOCK_V, PRECISION
        ),
    )  # fmt: skip


@triton.jit
def _dq(
    Q, q_strides, K, k_strides, V, v_strides, DO, do_strides, DQ, dq_strides, ROW_STATS, n_rows, PARTIAL, PARTIAL_TOP,
    DQ_TOP, HEADS, heads, n_q, n, q_offset, scale, scale_log2, lists, sizes,
):  # fmt: skip
    """What a program of `chosen_keys_dq` does."""
    own = own_rows(HEADS, heads, n_q, n, q_offset, lists, sizes)
    numbers, mask = numbers_of_rows(own, heads, n_q), mask_of_rows(own, sizes.HEAD_DIM, sizes.BLOCK_D)
    do_mask = mask_of_rows(own, sizes.V_DIM, sizes.BLOCK_V)
    q_tile = tl.load(rows_of_heads(Q, q_strides, own, sizes.BLOCK_D), mask=mask, other=0.0)
    do_tile = tl.load(rows_of_heads(DO, do_strides, own, sizes.BLOCK_V), mask=do_mask, other=0.0)
    stats = ROW_STATS + numbers_of_rows(own, heads, n_rows)
    lse_2 = tl.load(stats, mask=own.there, other=float("inf"))
    delta = tl.load(stats + (heads * tl.num_programs(2)).to(tl.int64) * n_rows, mask=own.there, other=0.0)
    carried = numbers[:, None] * sizes.HEAD_DIM + tl.arange(0, sizes.BLOCK_D)[None, :]
    dq = load_carry(PARTIAL + carried, PARTIAL_TOP + numbers, own.there, mask)
    for first in range(0, lists.listed, listed_at_once(sizes)):
        key, at_keys, kept = next_keys(lists, own, first, sizes)
        k_tile, v_tile = load_next_keys(K, k_strides, V, v_strides, own, key, kept, sizes)
        s = products_of_rows(q_tile, k_tile, sizes)
        if lists.rules.SCORE_GRADIENT is not None:
            slope = score_of_listed(lists.rules.SCORE_GRADIENT, s, own, at_keys, lists.rules, scale_log2)
        if lists.rules.SCORE is not None:
            s = score_of_listed(lists.rules.SCORE, s, own, at_keys, lists.rules, scale_log2)
        s = tl.where(kept, s, float("-inf"))
        p = tl.exp2(s * scale_of(lists.rules, scale_log2) - lse_2[:, None])
        if lists.rules.SCORE_GRADIENT is not None:
            p = through_score(p, slope)
        dp = products_of_rows(do_tile, v_tile, sizes)
        dq = weighed_sum(p * (dp - delta[:, None]), k_tile, dq, sizes)
    if DQ_TOP is None:
        tl.store(rows_of_heads(DQ, dq_strides, own, sizes.BLOCK_D), (dq * scale).to(DQ.dtype.element_ty), mask=mask)
    else:
        store_carry(DQ + carried, DQ_TOP + numbers, dq, own.there, mask)
