"""Kernels over keys that each query lists for itself: the forward pass, and the gradient of q.

Both go on where another kernel left a row.  Lists are LISTED, contiguous [B or 1, groups of heads, queries, listed], of
distinct keys; what is no key has a number beyond all of them.  A tile has rows of TOGETHER heads that share a key head
and its lists, for several queries, or of one head.  There are two ways to go over the lists of a tile:

APART: each row loads the keys of its own list, BLOCK_N at a time, and takes their products one by one.
Otherwise the lists of all queries of a tile stand side by side, as BLOCK_N keys at a time, in one product of matrices of
which each row keeps the columns of its own query.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.device import LN_2, RUN_TIME, kernel_name, tl, triton
from sparsec.kernels.loads import element_offset
from sparsec.kernels.regions import Rules, ask_keep
from sparsec.kernels.scored_tiles import ask_score, scale_of, through_score
from sparsec.kernels.softmax import softmax_continue, softmax_end, softmax_step
from sparsec.kernels.splits import load_carry, store_carry

NO_KEY = (1 << 31) - 1  # no position is so large
_NO_KEY = tl.constexpr(NO_KEY)


@triton.jit(do_not_specialize=["every_list", "listed", "n"])
def order_keys(LISTS, LISTED, every_list, listed, n, BLOCK: tl.constexpr, AT_ONCE: tl.constexpr):
    """LISTED: the keys of LISTS, both [lists, listed], in rising order; NO_KEY for what is no key, or was there before."""
    number = tl.cast(tl.program_id(0), tl.int64) * AT_ONCE + tl.arange(0, AT_ONCE)
    place = tl.arange(0, BLOCK)
    mask = (number < every_list)[:, None] & (place < listed)[None, :]
    at = number[:, None] * listed + place[None, :]
    key = tl.load(LISTS + at, mask=mask, other=-1)
    key = tl.sort(tl.where((key >= 0) & (key < n), key, _NO_KEY).to(tl.int32))
    before = tl.broadcast_to(tl.maximum(place - 1, 0)[None, :], key.shape)
    again = (tl.gather(key, before, 1) == key) & (place > 0)[None, :]
    tl.store(LISTED + at, tl.where(again, _NO_KEY, key), mask=mask)


class _Lists(NamedTuple):
    """The lists of a kernel, and what is known of their pairs."""

    LISTED: Any
    listed: Any
    lists: Any  # of a group of heads, and of a row of the batch
    lists_of_row: Any
    groups: Any
    rules: Any


class _Tile(NamedTuple):
    """The rows of a program, and what they are about."""

    batch: Any
    first_head: Any
    head: Any  # of each row
    kv_head: Any
    row: Any  # of Q
    there: Any
    query: Any  # the number of each row's query, and of the first one
    first_query: Any
    first_list: Any  # of the row of the batch and the heads
    n: Any
    at: Any  # as masks and scores are told
    q_offset: Any


class _Constants(NamedTuple):
    """Constants of a kernel."""

    GROUP: Any
    TOGETHER: Any
    ROWS_OF_QUERY: Any
    APART: Any
    BLOCK_M: Any
    BLOCK_N: Any
    HEAD_DIM: Any
    BLOCK_D: Any
    V_DIM: Any
    BLOCK_V: Any
    PRECISION: Any


@triton.jit
def _own_rows(HEADS, heads, n_q, n, q_offset, lists, sizes):
    """The rows of a program."""
    batch, first_head = tl.program_id(2), tl.program_id(1) * sizes.TOGETHER
    if HEADS is not None:
        first_head = tl.load(HEADS + first_head)
    ROWS: tl.constexpr = sizes.BLOCK_M // sizes.TOGETHER
    number = tl.arange(0, sizes.BLOCK_M)
    first_row = tl.program_id(0) * ROWS
    row = first_row + number // sizes.TOGETHER
    group = first_head * lists.groups // heads
    first_list = batch.to(tl.int64) * lists.lists_of_row + group * lists.lists
    at = batch, first_head, heads, q_offset, n_q // sizes.ROWS_OF_QUERY
    return _Tile(
        batch, first_head, first_head + number % sizes.TOGETHER, first_head // sizes.GROUP, row, row < n_q,
        row // sizes.ROWS_OF_QUERY, first_row // sizes.ROWS_OF_QUERY, first_list, n, at, q_offset,
    )  # fmt: skip


@triton.jit
def _row_ptrs(X, strides, own, BLOCK: tl.constexpr):
    """Pointers to the rows of a program in a tensor [B, H, n_q, BLOCK or fewer]."""
    offsets = element_offset(own.batch, strides[0]) + element_offset(own.head, strides[1])
    return X + ((offsets + element_offset(own.row, strides[2]))[:, None] + tl.arange(0, BLOCK)[None, :])


@triton.jit
def _row_mask(own, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    mask = own.there[:, None]
    if WIDTH != BLOCK:
        mask &= (tl.arange(0, BLOCK) < WIDTH)[None, :]
    return mask


@triton.jit
def _row_numbers(own, heads, n_rows):
    """Where the rows of a program are in a contiguous [B, H, n_rows]."""
    return (own.batch * heads + own.head).to(tl.int64) * n_rows + own.row


@triton.jit
def _load_keys(K, k_strides, V, v_strides, own, key, kept, sizes):
    """The keys and the values of a step: [rows, BLOCK_N, ..] where they are APART, otherwise [BLOCK_N, ..]."""
    if sizes.APART:
        some, at, columns, v_columns = (
            kept[:, :, None],
            key[:, :, None],
            _columns_3(sizes.BLOCK_D),
            _columns_3(sizes.BLOCK_V),
        )
    else:
        some, at = (key < own.n)[:, None], key[:, None]
        columns, v_columns = tl.arange(0, sizes.BLOCK_D)[None, :], tl.arange(0, sizes.BLOCK_V)[None, :]
    k_start = K + (element_offset(own.batch, k_strides[0]) + element_offset(own.kv_head, k_strides[1]))
    v_start = V + (element_offset(own.batch, v_strides[0]) + element_offset(own.kv_head, v_strides[1]))
    k_mask, v_mask = some, some
    if sizes.HEAD_DIM != sizes.BLOCK_D:
        k_mask = some & (columns < sizes.HEAD_DIM)
    if sizes.V_DIM != sizes.BLOCK_V:
        v_mask = some & (v_columns < sizes.V_DIM)
    k_tile = tl.load(k_start + (element_offset(at, k_strides[2]) + columns), mask=k_mask, other=0.0)
    v_tile = tl.load(v_start + (element_offset(at, v_strides[2]) + v_columns), mask=v_mask, other=0.0)
    return k_tile, v_tile


@triton.jit
def _columns_3(BLOCK: tl.constexpr):
    return tl.arange(0, BLOCK)[None, None, :]


@triton.constexpr_function
def _keys_of_step(apart, block_m, block_n, rows):
    return block_n if apart else block_n * rows // block_m


@triton.jit
def _keys_at_once(sizes):
    """How many keys of each list a step is about."""
    KEYS: tl.constexpr = _keys_of_step(sizes.APART, sizes.BLOCK_M, sizes.BLOCK_N, sizes.TOGETHER * sizes.ROWS_OF_QUERY)
    return KEYS


@triton.jit
def _keys_at(lists, own, first, sizes):
    """Keys from number `first` of the lists on, and which of them are counted.

    APART: [rows, BLOCK_N], of each row; otherwise [BLOCK_N], and [rows, BLOCK_N] are counted.
    """
    column = tl.arange(0, sizes.BLOCK_N)
    q = own.q_offset + own.query
    if sizes.APART:
        place = first + column
        line = own.first_list + own.query
        mask = own.there[:, None] & (place < lists.listed)[None, :]
        key = tl.load(lists.LISTED + (line[:, None] * lists.listed + place[None, :]), mask=mask, other=_NO_KEY)
        kept = key < own.n
        at_keys = key
    else:
        KEYS: tl.constexpr = _keys_at_once(sizes)
        query, place = own.first_query + column // KEYS, first + column % KEYS
        mask = (query < own.at[4]) & (place < lists.listed)
        key = tl.load(lists.LISTED + ((own.first_list + query) * lists.listed + place), mask=mask, other=_NO_KEY)
        kept = (own.query[:, None] == query[None, :]) & (key < own.n)[None, :]
        at_keys = key[None, :]
    if lists.rules.KEEP is not None:
        kept = kept & ask_keep(lists.rules, q[:, None], at_keys, own.n, own.at)
    return key, at_keys, kept


@triton.jit
def _scored(ANSWER: tl.constexpr, s, own, at_keys, rules, scale_log2):
    """What SCORE or SCORE_GRADIENT says of products s, not yet scaled."""
    q = (own.q_offset + own.query)[:, None]
    return ask_score(ANSWER, s * (scale_log2 * LN_2), q, at_keys, own.n, own.at, rules)


@triton.jit
def _products(x, keys, sizes):
    """Of each row with the keys or values of a step: [rows, BLOCK_N]."""
    if sizes.APART:
        found = tl.sum(x.to(tl.float32)[:, None, :] * keys.to(tl.float32), 2)
    else:
        found = tl.dot(x, tl.trans(keys), input_precision=sizes.PRECISION)
    return found


@triton.jit
def _weighed(weights, keys, sums, sizes):
    """Sums of each row, and of the keys or values of a step by weights [rows, BLOCK_N]."""
    if sizes.APART:
        sums += tl.sum(weights[:, :, None] * keys.to(tl.float32), 1)
    else:
        sums = tl.dot(weights.to(keys.dtype), keys, sums, input_precision=sizes.PRECISION)
    return sums


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
        _Lists(
            LISTED, listed, lists, lists_of_row, groups,
            Rules(KEEP, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE, None, False, NEAR),
        ),
        _Constants(
            GROUP, TOGETHER, ROWS_OF_QUERY, APART, BLOCK_M, BLOCK_N, HEAD_DIM, BLOCK_D, V_DIM, BLOCK_V, PRECISION
        ),
    )  # fmt: skip


@triton.jit
def _forward(
    Q, q_strides, K, k_strides, V, v_strides, OUT, out_strides, LSE, PARTIAL, PARTIAL_TOP,
    OUT_TOP, HEADS, heads, n_q, n, q_offset, scale_log2, lists, sizes,
):  # fmt: skip
    """What a program of `chosen_keys_forward` does."""
    own = _own_rows(HEADS, heads, n_q, n, q_offset, lists, sizes)
    numbers, mask = _row_numbers(own, heads, n_q), _row_mask(own, sizes.V_DIM, sizes.BLOCK_V)
    q_mask = _row_mask(own, sizes.HEAD_DIM, sizes.BLOCK_D)
    q_tile = tl.load(_row_ptrs(Q, q_strides, own, sizes.BLOCK_D), mask=q_mask, other=0.0)
    lse = tl.load(LSE + numbers, mask=own.there, other=float("-inf"))
    carried = numbers[:, None] * sizes.V_DIM + tl.arange(0, sizes.BLOCK_V)[None, :]
    m_i, l_i, acc = softmax_continue(lse, load_carry(PARTIAL + carried, PARTIAL_TOP + numbers, own.there, mask))
    for first in range(0, lists.listed, _keys_at_once(sizes)):
        key, at_keys, kept = _keys_at(lists, own, first, sizes)
        k_tile, v_tile = _load_keys(K, k_strides, V, v_strides, own, key, kept, sizes)
        s = _products(q_tile, k_tile, sizes)
        if lists.rules.SCORE is not None:
            s = _scored(lists.rules.SCORE, s, own, at_keys, lists.rules, scale_log2)
        s = tl.where(kept, s, float("-inf"))
        p, alpha, m_i, l_i = softmax_step(s, m_i, l_i, scale_of(lists.rules, scale_log2))
        acc = _weighed(p, v_tile, acc * alpha[:, None], sizes)
    out, lse = softmax_end(m_i, l_i, acc)
    tl.store(LSE + numbers, lse, mask=own.there)
    if OUT_TOP is None:
        tl.store(_row_ptrs(OUT, out_strides, own, sizes.BLOCK_V), out.to(OUT.dtype.element_ty), mask=mask)
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
        _Lists(
            LISTED, listed, lists, lists_of_row, groups,
            Rules(KEEP, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE, SCORE_GRADIENT, False, NEAR),
        ),
        _Constants(
            GROUP, TOGETHER, ROWS_OF_QUERY, APART, BLOCK_M, BLOCK_N, HEAD_DIM, BLOCK_D, V_DIM, BLOCK_V, PRECISION
        ),
    )  # fmt: skip


@triton.jit
def _dq(
    Q, q_strides, K, k_strides, V, v_strides, DO, do_strides, DQ, dq_strides, ROW_STATS, n_rows, PARTIAL, PARTIAL_TOP,
    DQ_TOP, HEADS, heads, n_q, n, q_offset, scale, scale_log2, lists, sizes,
):  # fmt: skip
    """What a program of `chosen_keys_dq` does."""
    own = _own_rows(HEADS, heads, n_q, n, q_offset, lists, sizes)
    numbers, mask = _row_numbers(own, heads, n_q), _row_mask(own, sizes.HEAD_DIM, sizes.BLOCK_D)
    do_mask = _row_mask(own, sizes.V_DIM, sizes.BLOCK_V)
    q_tile = tl.load(_row_ptrs(Q, q_strides, own, sizes.BLOCK_D), mask=mask, other=0.0)
    do_tile = tl.load(_row_ptrs(DO, do_strides, own, sizes.BLOCK_V), mask=do_mask, other=0.0)
    stats = ROW_STATS + _row_numbers(own, heads, n_rows)
    lse_2 = tl.load(stats, mask=own.there, other=float("inf"))
    delta = tl.load(stats + (heads * tl.num_programs(2)).to(tl.int64) * n_rows, mask=own.there, other=0.0)
    carried = numbers[:, None] * sizes.HEAD_DIM + tl.arange(0, sizes.BLOCK_D)[None, :]
    dq = load_carry(PARTIAL + carried, PARTIAL_TOP + numbers, own.there, mask)
    for first in range(0, lists.listed, _keys_at_once(sizes)):
        key, at_keys, kept = _keys_at(lists, own, first, sizes)
        k_tile, v_tile = _load_keys(K, k_strides, V, v_strides, own, key, kept, sizes)
        s = _products(q_tile, k_tile, sizes)
        if lists.rules.SCORE_GRADIENT is not None:
            slope = _scored(lists.rules.SCORE_GRADIENT, s, own, at_keys, lists.rules, scale_log2)
        if lists.rules.SCORE is not None:
            s = _scored(lists.rules.SCORE, s, own, at_keys, lists.rules, scale_log2)
        s = tl.where(kept, s, float("-inf"))
        p = tl.exp2(s * scale_of(lists.rules, scale_log2) - lse_2[:, None])
        if lists.rules.SCORE_GRADIENT is not None:
            p = through_score(p, slope)
        dp = _products(do_tile, v_tile, sizes)
        dq = _weighed(p * (dp - delta[:, None]), k_tile, dq, sizes)
    if DQ_TOP is None:
        tl.store(_row_ptrs(DQ, dq_strides, own, sizes.BLOCK_D), (dq * scale).to(DQ.dtype.element_ty), mask=mask)
    else:
        store_carry(DQ + carried, DQ_TOP + numbers, dq, own.there, mask)
