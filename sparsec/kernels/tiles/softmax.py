"""Device functions: the running softmax, in base 2."""

from __future__ import annotations

from sparsec.kernels.machine.device import LN_2, LOG2_E, tl, triton


@triton.jit
def softmax_start(BLOCK_M: tl.constexpr, BLOCK_V: tl.constexpr):
    """Maximum, sum and output of a row that has seen no key; finite, so that exp2(-inf - m_i) is 0 and never NaN."""
    m_i = tl.full([BLOCK_M], -1.0e30, tl.float32)
    return m_i, tl.zeros([BLOCK_M], tl.float32), tl.zeros([BLOCK_M, BLOCK_V], tl.float32)


@triton.jit
def softmax_sink(m_i, l_i, SINKS, sinks_b, own, sizes):
    """The start of rows with a sink, a score without a value (natural logarithm): a maximum of it, and a sum of 1.

    Of the programs that split a tile the first has it, and a sequence without keys has none.
    """
    sink = tl.load(SINKS + own.batch * sinks_b + own.head) * LOG2_E
    there = own.n > 0
    if sizes.SPLIT:
        there = there & (own.share.part == 0)
    top = tl.maximum(sink, -1.0e30)  # finite, as in `softmax_start`
    return tl.where(there, top, m_i), tl.where(there, tl.exp2(sink - top), l_i)


@triton.jit
def softmax_continue(lse, out):
    """The state behind a log-sum-exp (natural logarithm) and an output: lse is the maximum of a sum of 1."""
    m_i = tl.maximum(lse * LOG2_E, -1.0e30)  # finite, as in `softmax_start`
    return m_i, tl.where(lse == float("-inf"), 0.0, 1.0), out


@triton.jit
def softmax_step(s, m_i, l_i, scale_log2):
    """Weights p of the scores s [rows, keys], not yet scaled, -inf where masked; then what the accumulator so far is
    multiplied with, and the maximum and the sum with them.
    """
    m_new = tl.maximum(m_i, tl.max(s, 1) * scale_log2)
    p = tl.exp2(s * scale_log2 - m_new[:, None])
    alpha = tl.exp2(m_i - m_new)
    return p, alpha, m_new, l_i * alpha + tl.sum(p, 1)


@triton.jit
def row_stats(o_tile, do_tile, LSE, DLSE, first, row, row_mask):
    """What gradients need of every row: the log-sum-exp in base 2, +inf for a row that has no weights, and
    delta = sum(o * do) - dlse, where there is one.  `first`: where row 0 stands in LSE and DLSE.
    """
    delta = tl.sum(o_tile.to(tl.float32) * do_tile.to(tl.float32), 1)
    if DLSE is not None:
        delta -= tl.load(DLSE + first + row, mask=row_mask, other=0.0)
    lse = tl.load(LSE + first + row, mask=row_mask, other=float("-inf"))
    return tl.where(lse == float("-inf"), float("inf"), lse * LOG2_E), delta


@triton.jit
def softmax_end(m_i, l_i, acc):
    """Output and log-sum-exp; a row without a key gives 0 and -inf."""
    some = l_i != 0  # not a number stays one
    l_safe = tl.where(some, l_i, 1.0)
    lse = tl.where(some, (m_i + tl.log2(l_safe)) * LN_2, float("-inf"))
    return acc / l_safe[:, None], lse
