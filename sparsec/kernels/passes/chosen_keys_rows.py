"""Device functions: rows of several heads and queries, and the keys that lists of their queries name.

Lists are LISTED, contiguous [B or 1, groups of heads, queries, listed], of distinct keys; what is no key has a number
beyond all of them.  A tile has rows of TOGETHER heads that share a key head and its lists, for several queries, or of
one head.  There are two ways to go over the lists of a tile:

APART: each row loads the keys of its own list, BLOCK_N at a time, and takes their products one by one.
Otherwise the lists of all queries of a tile stand side by side, BLOCK_N keys at a time, in one product of matrices, of
which each row keeps the columns of its own query.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import LN_2, tl, triton
from sparsec.kernels.tiles.loads import element_offset
from sparsec.kernels.tiles.regions import ask_keep
from sparsec.kernels.tiles.scores import ask_score

NOT_LISTED = tl.constexpr((1 << 31) - 1)  # no position is so large


class KeyLists(NamedTuple):
    """The lists of a kernel, and what is known of their pairs."""

    LISTED: Any
    listed: Any
    lists: Any  # of a group of heads, and of a row of the batch
    lists_of_row: Any
    groups: Any
    rules: Any


class RowTile(NamedTuple):
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


class RowSizes(NamedTuple):
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
def own_rows(HEADS, heads, n_q, n, q_offset, lists, sizes):
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
    return RowTile(
        batch, first_head, first_head + number % sizes.TOGETHER, first_head // sizes.GROUP, row, row < n_q,
        row // sizes.ROWS_OF_QUERY, first_row // sizes.ROWS_OF_QUERY, first_list, n, at, q_offset,
    )  # fmt: skip


@triton.jit
def rows_of_heads(X, strides, own, BLOCK: tl.constexpr):
    """Pointers to the rows of a program in a tensor [B, H, n_q, BLOCK or fewer]."""
    offsets = element_offset(own.batch, strides[0]) + element_offset(own.head, strides[1])
    return X + ((offsets + element_offset(own.row, strides[2]))[:, None] + tl.arange(0, BLOCK)[None, :])


@triton.jit
def mask_of_rows(own, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    mask = own.there[:, None]
    if WIDTH != BLOCK:
        mask &= (tl.arange(0, BLOCK) < WIDTH)[None, :]
    return mask


@triton.jit
def numbers_of_rows(own, heads, n_rows):
    """Where the rows of a program are in a contiguous [B, H, n_rows]."""
    return (own.batch * heads + own.head).to(tl.int64) * n_rows + own.row


@triton.jit
def load_next_keys(K, k_strides, V, v_strides, own, key, kept, sizes):
    """The keys and the values of a step: [rows, BLOCK_N, ..] where they are APART, otherwise [BLOCK_N, ..]."""
    if sizes.APART:
        some, at, columns, v_columns = (
            kept[:, :, None],
            key[:, :, None],
            _third_axis(sizes.BLOCK_D),
            _third_axis(sizes.BLOCK_V),
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
def _third_axis(BLOCK: tl.constexpr):
    return tl.arange(0, BLOCK)[None, None, :]


@triton.constexpr_function
def _keys_of_list(apart, block_m, block_n, rows):
    return block_n if apart else block_n * rows // block_m


@triton.jit
def listed_at_once(sizes):
    """How many keys of each list a step is about."""
    KEYS: tl.constexpr = _keys_of_list(sizes.APART, sizes.BLOCK_M, sizes.BLOCK_N, sizes.TOGETHER * sizes.ROWS_OF_QUERY)
    return KEYS


@triton.jit
def next_keys(lists, own, first, sizes):
    """Keys from number `first` of the lists on, and which of them are counted.

    APART: [rows, BLOCK_N], of each row; otherwise [BLOCK_N], and [rows, BLOCK_N] are counted.
    """
    column = tl.arange(0, sizes.BLOCK_N)
    q = own.q_offset + own.query
    if sizes.APART:
        place = first + column
        line = own.first_list + own.query
        mask = own.there[:, None] & (place < lists.listed)[None, :]
        key = tl.load(lists.LISTED + (line[:, None] * lists.listed + place[None, :]), mask=mask, other=NOT_LISTED)
        kept = key < own.n
        at_keys = key
    else:
        KEYS: tl.constexpr = listed_at_once(sizes)
        query, place = own.first_query + column // KEYS, first + column % KEYS
        mask = (query < own.at[4]) & (place < lists.listed)
        key = tl.load(lists.LISTED + ((own.first_list + query) * lists.listed + place), mask=mask, other=NOT_LISTED)
        kept = (own.query[:, None] == query[None, :]) & (key < own.n)[None, :]
        at_keys = key[None, :]
    if lists.rules.KEEP is not None:
        kept = kept & ask_keep(lists.rules, q[:, None], at_keys, own.n, own.at)
    return key, at_keys, kept


@triton.jit
def score_of_listed(ANSWER: tl.constexpr, s, own, at_keys, rules, scale_log2):
    """What SCORE or SCORE_GRADIENT says of products s, not yet scaled."""
    q = (own.q_offset + own.query)[:, None]
    return ask_score(ANSWER, s * (scale_log2 * LN_2), q, at_keys, own.n, own.at, rules)


@triton.jit
def products_of_rows(x, keys, sizes):
    """Of each row with the keys or values of a step: [rows, BLOCK_N]."""
    if sizes.APART:
        found = tl.sum(x.to(tl.float32)[:, None, :] * keys.to(tl.float32), 2)
    else:
        found = tl.dot(x, tl.trans(keys), input_precision=sizes.PRECISION)
    return found


@triton.jit
def weighed_sum(weights, keys, sums, sizes):
    """Sums of each row, and of the keys or values of a step by weights [rows, BLOCK_N]."""
    if sizes.APART:
        sums += tl.sum(weights[:, :, None] * keys.to(tl.float32), 1)
    else:
        sums = tl.dot(weights.to(keys.dtype), keys, sums, input_precision=sizes.PRECISION)
    return sums
