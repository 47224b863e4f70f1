"""Device functions of a decoding step: what becomes of the softmax of a part, and how parts become one.

A sequence whose tiles several programs share has a part in each of them.  A program has two at most, at the begin and
at the end of its run; what lies between are whole sequences.  PARTS [units, programs, 2, GROUP * ROWS, V_DIM] and
PARTS_LSE without V_DIM, in base 2, hold them.  Of the programs of a sequence the last one to arrive joins all parts, in
the order of programs: results do not depend on who that is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.device import LOG2_E, tl, triton
from sparsec.kernels.loads import element_offset, row_ptrs, tile_mask
from sparsec.kernels.softmax import softmax_end, softmax_start


class PartsOfSequence(NamedTuple):
    """The parts of a sequence of a unit."""

    first: Any  # the program that has the first of them
    count: Any
    second: Any  # 1: that is the second part of its program
    line: Any  # where programs of the unit begin among those of all


@triton.jit
def parts_of(begin, end, each, line):
    """The parts of tiles begin..end - 1, where programs have `each` tiles."""
    first = begin // each
    return PartsOfSequence(first, (end - 1) // each - first + 1, tl.where(begin > first * each, 1, 0), line)


@triton.jit
def place_of_part(parts, number):
    """Where a part, by its number among those of the sequence, stands in PARTS."""
    return (parts.line + parts.first + number).to(tl.int64) * 2 + tl.where(number == 0, parts.second, 0)


@triton.jit
def store_part(m_i, l_i, acc, PARTS, PARTS_LSE, place, sizes):
    """Stores the softmax of a part: out, and the log-sum-exp."""
    number = tl.arange(0, sizes.BLOCK_M)
    rows: tl.constexpr = sizes.GROUP * sizes.ROWS
    some = l_i != 0
    l_safe = tl.where(some, l_i, 1.0)
    lse_2 = tl.where(some, m_i + tl.log2(l_safe), float("-inf"))
    tl.store(PARTS_LSE + place * rows + number, lse_2, mask=number < rows)
    ptrs = row_ptrs(PARTS, place, rows, 0, 1, sizes.V_DIM, sizes.BLOCK_M, sizes.BLOCK_V)
    tl.store(ptrs, acc / l_safe[:, None], mask=tile_mask(number, rows, sizes.V_DIM, sizes.BLOCK_V))


@triton.jit
def is_last_part(ARRIVED, count):
    """Whether all other parts are stored; the counter is 0 again then."""
    tl.debug_barrier()  # the stores of all threads come before
    last = tl.atomic_add(ARRIVED, 1, sem="acq_rel", scope="gpu") == count - 1
    if last:
        tl.store(ARRIVED, 0)
    return last


@triton.jit
def joined_parts(PARTS, PARTS_LSE, parts, sizes, BLOCK_P: tl.constexpr):
    """The softmax of all parts in their order, BLOCK_P at a time."""
    rows: tl.constexpr = sizes.GROUP * sizes.ROWS
    row, column = tl.arange(0, sizes.BLOCK_M), tl.arange(0, sizes.BLOCK_V)
    inside = tile_mask(row, rows, sizes.V_DIM, sizes.BLOCK_V)
    m_i, l_i, acc = softmax_start(sizes.BLOCK_M, sizes.BLOCK_V)
    for begin in range(0, parts.count, BLOCK_P):
        number = begin + tl.arange(0, BLOCK_P)
        there = number < parts.count
        at = place_of_part(parts, number)[:, None] * rows + row[None, :]
        lse_2 = tl.load(
            PARTS_LSE + at, mask=there[:, None] & (row < rows)[None, :], other=float("-inf"), cache_modifier=".cg"
        )
        ptrs = PARTS + at[:, :, None] * sizes.V_DIM + column[None, None, :]
        out = tl.load(ptrs, mask=there[:, None, None] & inside[None, :, :], other=0.0, cache_modifier=".cg")
        m_new = tl.maximum(m_i, tl.max(lse_2, 0))
        weight, alpha = tl.exp2(lse_2 - m_new[None, :]), tl.exp2(m_i - m_new)
        l_i = l_i * alpha + tl.sum(weight, 0)
        acc = acc * alpha[:, None] + tl.sum(out * weight[:, :, None], 0)
        m_i = m_new
    return m_i, l_i, acc


@triton.jit
def with_sink(m_i, l_i, acc, sink):
    """The softmax of rows with one score more (natural logarithm), which has no value."""
    m_new = tl.maximum(m_i, sink * LOG2_E)
    alpha = tl.exp2(m_i - m_new)
    return m_new, l_i * alpha + tl.exp2(sink * LOG2_E - m_new), acc * alpha[:, None]


@triton.jit
def store_step(m_i, l_i, acc, OUT, strides, LSE, SINKS, own, sizes):
    """Stores rows of a unit, with their sinks, in OUT and, where there is one, LSE [B, ROWS, H]; 0 for no row."""
    if SINKS is not None:
        m_i, l_i, acc = with_sink(m_i, l_i, acc, tl.load(SINKS + own.head, mask=own.there, other=float("-inf")))
    out, lse = softmax_end(m_i, l_i, acc)
    out, lse = tl.where(own.there[:, None], out, 0.0), tl.where(own.there, lse, float("-inf"))
    stored = (tl.arange(0, sizes.BLOCK_M) < sizes.GROUP * sizes.ROWS) & (own.head >= 0)
    start = element_offset(own.batch, strides[0]) + element_offset(own.row, strides[1])
    start += element_offset(own.head, strides[2])
    mask = tile_mask(tl.where(stored, 0, 1), 1, sizes.V_DIM, sizes.BLOCK_V)
    ptrs = OUT + start[:, None] + tl.arange(0, sizes.BLOCK_V)[None, :]
    tl.store(ptrs, out.to(OUT.dtype.element_ty), mask=mask)
    if LSE is not None:
        tl.store(LSE + (own.batch.to(tl.int64) * sizes.ROWS + own.row) * own.heads + own.head, lse, mask=stored)
