"""Device functions of a decoding step: what becomes of the softmax of a part, and how parts become one.

PARTS [.., GROUP * ROWS, V_DIM] and PARTS_LSE without V_DIM, in base 2, hold the softmaxes of programs; the kernel that
joins them does so in the order of the keys.  Where programs take runs of tiles (`decode.work`), a program has two parts
at most, at the begin and at the end of its run: what lies between are whole sequences, which it stores itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import LOG2_E, tl, triton
from sparsec.kernels.tiles.loads import element_offset, row_ptrs, tile_mask
from sparsec.kernels.tiles.softmax import softmax_end, softmax_start


class PartsOfSequence(NamedTuple):
    """The parts of a unit of a sequence, one behind the other."""

    first: Any  # where the first of them stands in PARTS, if it is the first one of its program
    count: Any
    second: Any  # 1: it is the second one
    each: Any  # parts of a program that there is room for


@triton.jit
def parts_in_runs(WORK, sequence, batches, unit, programs):
    """The parts of a sequence where each of the `programs` of a unit takes a run of tiles."""
    each = tl.cdiv(tl.load(WORK + batches), programs)
    return parts_of_span(tl.load(WORK + sequence), tl.load(WORK + sequence + 1), each, unit * programs)


@triton.jit
def parts_of_span(begin, end, each, program):
    """The parts of tiles begin..end - 1, where programs from number `program` on have `each` tiles."""
    first = begin // each
    second = tl.where(begin > first * each, 1, 0)
    return PartsOfSequence((program + first).to(tl.int64) * 2, (end - 1) // each - first + 1, second, 2)


@triton.jit
def place_of_part(parts, number):
    """Where a part, by its number among those of the sequence, stands in PARTS."""
    return parts.first + number * parts.each + tl.where(number == 0, parts.second, 0)


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


@triton.jit(do_not_specialize=["o_b", "o_m", "o_h", "heads", "parts", "batches", "work_at"])
def merge_parts_kernel(
    PARTS, PARTS_LSE, OUT, LSE, LENGTHS, WORK, SINKS, UNITS, o_b, o_m, o_h, heads, parts, batches, work_at,
    GROUP: tl.constexpr, ROWS: tl.constexpr, V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """One row of a unit: the softmaxes of its parts joined in their order, in blocks of BLOCK_P, with its sink.

    `parts`: of each unit of a sequence; with WORK, how many programs each unit has, for all `batches`.
    """
    number, unit, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    member, row = number // ROWS, number % ROWS
    head = unit * GROUP + member
    if UNITS is not None:
        head = tl.load(UNITS + unit * (1 + GROUP) + 1 + member)
        if head < 0:
            return
    if WORK is None:
        own = PartsOfSequence((batch * tl.num_programs(1) + unit).to(tl.int64) * parts, parts, 0, 1)
    else:
        own = parts_in_runs(WORK + work_at, batch, batches, unit, parts)
        if own.count == 1:
            return
    m_i, l_i, acc = softmax_start(1, BLOCK_V)
    for begin in range(0, own.count, BLOCK_P):
        part = begin + tl.arange(0, BLOCK_P)
        at = place_of_part(own, part) * (GROUP * ROWS) + number
        lse_2 = tl.load(PARTS_LSE + at, mask=part < own.count, other=float("-inf"))
        mask = (lse_2 > float("-inf"))[:, None] & (tl.arange(0, BLOCK_V) < V_DIM)[None, :]
        out = tl.load(PARTS + at[:, None] * V_DIM + tl.arange(0, BLOCK_V)[None, :], mask=mask, other=0.0)
        m_new = tl.maximum(m_i, tl.max(lse_2, 0))
        weight, alpha = tl.exp2(lse_2 - m_new), tl.exp2(m_i - m_new)
        l_i = l_i * alpha + tl.sum(weight, 0)
        acc = acc * alpha[:, None] + tl.sum(out * weight[:, None], 0)[None, :]
        m_i = m_new
    there = tl.load(LENGTHS + batch) - ROWS + row >= 0
    if SINKS is not None:
        sink = tl.load(SINKS + head + tl.arange(0, 1))
        m_i, l_i, acc = with_sink(m_i, l_i, acc, tl.where(there, sink, float("-inf")))
    out, lse = softmax_end(m_i, l_i, acc)
    start = element_offset(batch, o_b) + element_offset(row, o_m) + element_offset(head, o_h)
    ptrs = OUT + start + tl.arange(0, BLOCK_V)[None, :]
    tl.store(ptrs, out.to(OUT.dtype.element_ty), mask=(tl.arange(0, BLOCK_V) < V_DIM)[None, :])
    if LSE is not None:
        tl.store(LSE + (batch.to(tl.int64) * ROWS + row) * heads + head + tl.arange(0, 1), lse)
