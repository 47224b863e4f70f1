"""Kernels of an indexer (DSA): scores of keys by heads of their own, and for each query the best keys."""

from __future__ import annotations

from sparsec.kernels.chosen.cluster_kernel import codes_of, with_a_digit_more
from sparsec.kernels.machine.device import tl, triton

_NUMBERS = ["q_b", "q_h", "q_m", "k_b", "k_n", "w_b", "w_h", "w_m", "heads", "first", "rows", "n_q", "n", "q_offset"]


@triton.jit(do_not_specialize=_NUMBERS)
def score_keys(
    Q, K, WEIGHTS, STARTS, SCORES, q_b, q_h, q_m, k_b, k_n, w_b, w_h, w_m, heads, first, rows, n_q, n, q_offset,
    CAUSAL: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """SCORES float32 [B, rows, n] of queries first .. first + rows - 1: over heads, the sum of WEIGHTS * relu(Q K^T).

    Q [B, heads, n_q, HEAD_DIM] and K [B, n, HEAD_DIM] with strides in units of 8 elements; WEIGHTS [B, heads, n_q].
    CAUSAL: tiles of keys that come after all of their queries are left as they are, and those before the first of
    STARTS int32 [B, n_q], the first key of each query's document; None: 0.
    """
    batch = tl.program_id(2)
    row = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    key, channel = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    last = first + tl.minimum(tl.program_id(1) * BLOCK_M + BLOCK_M, rows) - 1
    asked = row < rows
    query = tl.where(asked, first + row, 0).to(tl.int64)
    wanted = (not CAUSAL) or tl.program_id(0) * BLOCK_N <= q_offset + last
    if STARTS is not None:
        starts = tl.load(STARTS + batch.to(tl.int64) * n_q + query, mask=asked, other=(1 << 31) - 1)
        wanted = wanted and (tl.program_id(0) + 1) * BLOCK_N > tl.min(starts, 0)
    if wanted:
        channels = (channel < HEAD_DIM)[None, :]
        k_ptrs = K + (batch.to(tl.int64) * k_b + key.to(tl.int64) * k_n)[:, None] * 8 + channel[None, :]
        k_tile = tl.load(k_ptrs, mask=(key < n)[:, None] & channels, other=0.0)
        q_ptrs = Q + (batch.to(tl.int64) * q_b + query * q_m)[:, None] * 8 + channel[None, :]
        w_ptrs = WEIGHTS + batch.to(tl.int64) * w_b + query * w_m
        total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for _ in range(heads):
            q_tile = tl.load(q_ptrs, mask=asked[:, None] & channels, other=0.0)
            weight = tl.load(w_ptrs, mask=asked, other=0.0).to(tl.float32)
            products = tl.dot(q_tile, tl.trans(k_tile), input_precision=PRECISION)
            total += tl.maximum(products, 0.0) * weight[:, None]
            q_ptrs += tl.cast(q_h, tl.int64) * 8
            w_ptrs += w_h
        place = (batch.to(tl.int64) * rows + row)[:, None] * n + key[None, :]
        tl.store(SCORES + place, total, mask=asked[:, None] & (key < n)[None, :])


@triton.jit(do_not_specialize=["first", "rows", "all_rows", "n", "q_offset", "taken"])
def list_best_keys(
    SCORES, STARTS, LISTS, first, rows, all_rows, n, q_offset, taken, CAUSAL: tl.constexpr, BLOCK: tl.constexpr
):
    """LISTS int32 [B, all_rows, taken], rows first .. first + rows - 1: the keys with the best of SCORES float32
    [B, rows, n], ascending, ties to the lowest; fewer where there are fewer.

    CAUSAL: of the keys up to the query, whose position is its row and q_offset.  STARTS int32 [B, all_rows]: of those
    from there on, and lists count from there.  What is behind the keys of a list stays as it is.
    """
    row, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
    scores = SCORES + (batch * rows + row) * n
    lists = LISTS + (batch * all_rows + first + row) * taken
    keys = tl.cast(n, tl.int32)
    if CAUSAL:
        keys = tl.minimum(keys, tl.maximum(q_offset + first + row + 1, 0))
    if STARTS is not None:
        start = tl.load(STARTS + batch * all_rows + first + row)
        scores += start
        keys = tl.maximum(keys - start, 0)
    if keys <= taken:
        for begin in range(0, keys, BLOCK):
            key = begin + tl.arange(0, BLOCK)
            tl.store(lists + key, key, mask=key < keys)
    else:
        above, wanted = with_a_digit_more(scores, keys, 0, taken, 24, BLOCK)
        above, wanted = with_a_digit_more(scores, keys, above, wanted, 16, BLOCK)
        above, wanted = with_a_digit_more(scores, keys, above, wanted, 8, BLOCK)
        above, wanted = with_a_digit_more(scores, keys, above, wanted, 0, BLOCK)
        least = above.to(tl.uint32, bitcast=True)  # the code of the last of them
        listed, ties = 0, 0
        for begin in range(0, keys, BLOCK):
            key = begin + tl.arange(0, BLOCK)
            codes = codes_of(scores, key, key < keys)
            tie = ((key < keys) & (codes == least)).to(tl.int32)
            chosen = ((key < keys) & (codes > least)) | ((tie != 0) & (ties + tl.cumsum(tie, 0) <= wanted))
            ties += tl.sum(tie, 0)
            counted = chosen.to(tl.int32)
            tl.store(lists + listed + tl.cumsum(counted, 0) - 1, key, mask=chosen)
            listed += tl.sum(counted, 0)
