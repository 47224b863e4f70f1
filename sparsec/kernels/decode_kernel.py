"""The kernels of a decoding step: the last rows of sequences against a cache of keys, and the merge of its parts.

Programs are (part, unit, sequence).  A unit is the query heads that share a key head and a condition: they and the rows
of the step are the rows of one product, so that keys are read once for all of them.  Programs share the steps of a
unit among them; each leaves its softmax, and `merge_parts_kernel` joins them in their order.  A sequence with few steps
gives them to the first parts, at least LEAST to each, and the others end at once.

Nothing depends on lengths but what the device reads of them: a launch serves all lengths that the cache has room for.
"""

from __future__ import annotations

from sparsec.kernels.decode_tiles import (
    StepKeys,
    StepSizes,
    kept_of_step,
    load_cached,
    rows_of_step,
    step_walk,
    steps_of_region,
)
from sparsec.kernels.device import LN_2, LOG2_E, kernel_name, tl, triton
from sparsec.kernels.loads import element_offset, gathered_key, row_ptrs, tile_mask
from sparsec.kernels.regions import Lists, Rules, ask, tile_of
from sparsec.kernels.scored_tiles import scale_of
from sparsec.kernels.softmax import softmax_end, softmax_start, softmax_step

STEP_RUN_TIME = ["q_b", "q_m", "q_h", "k_b", "k_h", "k_n", "v_b", "v_h", "v_n", "o_b", "o_m", "o_h"]
STEP_RUN_TIME += ["heads", "pages_b", "capacity"]


@triton.jit
def attend_cached(m_i, l_i, acc, q_tile, k, kept, seen, own, region, scale_log2, sizes):
    """The softmax after some keys."""
    k_tile = load_cached(region.K, region.k_strides, region, own, k, seen, sizes, sizes.HEAD_DIM, sizes.BLOCK_D)
    s = tl.dot(q_tile, tl.trans(k_tile), input_precision=sizes.PRECISION)
    if region.rules.SCORE is not None:
        q = own.q
        if sizes.ROWS > 1:
            q = own.q[:, None]
        scaled = s * (scale_log2 * LN_2)
        given = scaled, q, k[None, :], own.n, own.head[:, None], own.heads, region.rules.NEAR
        s = ask(region.rules.SCORE, given, (), region.rules.NUMBERS)
    if sizes.ROWS == 1:
        s = tl.where(kept[None, :], s, float("-inf"))
    else:
        s = tl.where(kept, s, float("-inf"))
    v_tile = load_cached(region.V, region.v_strides, region, own, k, seen, sizes, sizes.V_DIM, sizes.BLOCK_V)
    p, alpha, m_i, l_i = softmax_step(s, m_i, l_i, scale_of(region.rules, scale_log2))
    return m_i, l_i, tl.dot(p.to(v_tile.dtype), v_tile, acc * alpha[:, None], input_precision=sizes.PRECISION)


@triton.jit
def attend_region(m_i, l_i, acc, q_tile, done, first, last, own, region, scale_log2, sizes):
    """The softmax after steps first..last - 1 of all, of which those of this region begin at `done`; and their end."""
    CLASSES: tl.constexpr = region.STRIDE if region.STRIDE < sizes.ROWS else sizes.ROWS
    for CLASS in tl.static_range(CLASSES):
        walk, residue = step_walk(region, own, CLASS, sizes)
        begin, end = tl.maximum(first - done, 0), tl.minimum(last - done, walk.steps)
        for step in range(begin, end):
            tile, _ = tile_of(walk, Lists(), step)
            place = tile * sizes.BLOCK_N + tl.arange(0, sizes.BLOCK_N)
            if region.GATHERED is not None:
                k = gathered_key(place, region.GATHERED[0], region.GATHERED[1], region.GATHERED[2])
            else:
                k = place * region.STRIDE + residue
            kept, seen = kept_of_step(region, own, k, own.n, sizes)
            if region.HOLES:
                if tl.max(seen.to(tl.int32), 0) > 0:
                    m_i, l_i, acc = attend_cached(
                        m_i, l_i, acc, q_tile, k, kept, seen, own, region, scale_log2, sizes
                    )  # fmt: skip
            else:
                m_i, l_i, acc = attend_cached(m_i, l_i, acc, q_tile, k, kept, seen, own, region, scale_log2, sizes)
        done += walk.steps
    return m_i, l_i, acc, done


@triton.jit
def share_of_steps(steps, LEAST: tl.constexpr):
    """The steps first..last - 1 of a program, of those that the programs of a unit share."""
    each = tl.maximum(tl.cdiv(steps, tl.num_programs(0)), LEAST)
    first = tl.program_id(0) * each
    return first, tl.minimum(first + each, steps)


@triton.jit(do_not_specialize=STEP_RUN_TIME, repr=kernel_name)
def decode_kernel(
    Q, K, V, OUT, LSE, PARTS, PARTS_LSE, LENGTHS, PAGES, STARTS, SINKS, UNITS, TABLES, TABLES_1, TABLES_2,
    q_b, q_m, q_h, k_b, k_h, k_n, v_b, v_h, v_n, o_b, o_m, o_h, heads, pages_b, capacity, scale_log2,
    NAME: tl.constexpr, KEEP: tl.constexpr, KEYS: tl.constexpr, GATHERED: tl.constexpr, STRIDE: tl.constexpr,
    HOLES: tl.constexpr, KEEP_1: tl.constexpr, KEYS_1: tl.constexpr, GATHERED_1: tl.constexpr, STRIDE_1: tl.constexpr,
    HOLES_1: tl.constexpr, KEEP_2: tl.constexpr, KEYS_2: tl.constexpr, GATHERED_2: tl.constexpr,
    STRIDE_2: tl.constexpr, HOLES_2: tl.constexpr, NUMBERS: tl.constexpr, SCORE: tl.constexpr, NEAR: tl.constexpr,
    GROUP: tl.constexpr, ROWS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr, V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PAGE: tl.constexpr, PRECISION: tl.constexpr,
    LEAST: tl.constexpr,
):  # fmt: skip
    """A part of the keys that the rows of a unit see, in up to three regions: out and log-sum-exp, or PARTS of them.

    PARTS [B, units, parts, GROUP * ROWS, V_DIM], PARTS_LSE without V_DIM, in base 2: None where there is one part,
    which then takes SINKS.  K, V: with PAGES, [pages, PAGE, H_kv, ..]; else [B, H_kv, capacity, ..].
    """
    decode_unit(
        Q, (q_b, q_m, q_h), OUT, (o_b, o_m, o_h), LSE, PARTS, PARTS_LSE, LENGTHS, STARTS, SINKS, UNITS,
        heads, pages_b, capacity, scale_log2,
        StepKeys(
            K, V, (k_b, k_h, k_n), (v_b, v_h, v_n), PAGES, GATHERED, STRIDE, HOLES,
            Rules(KEEP, None, KEYS, NUMBERS, None, None, TABLES, False, False, SCORE, None, False, NEAR),
        ),
        StepKeys(
            K, V, (k_b, k_h, k_n), (v_b, v_h, v_n), PAGES, GATHERED_1, STRIDE_1, HOLES_1,
            Rules(KEEP_1, None, KEYS_1, NUMBERS, None, None, TABLES_1, False, False, SCORE, None, False, NEAR),
        ),
        StepKeys(
            K, V, (k_b, k_h, k_n), (v_b, v_h, v_n), PAGES, GATHERED_2, STRIDE_2, HOLES_2,
            Rules(KEEP_2, None, KEYS_2, NUMBERS, None, None, TABLES_2, False, False, SCORE, None, False, NEAR),
        ),
        StepSizes(GROUP, ROWS, HEAD_DIM, BLOCK_M, BLOCK_N, BLOCK_D, V_DIM, BLOCK_V, PAGE, PRECISION), LEAST,
    )  # fmt: skip


@triton.jit
def decode_unit(
    Q, q_strides, OUT, out_strides, LSE, PARTS, PARTS_LSE, LENGTHS, STARTS, SINKS, UNITS,
    heads, pages_b, capacity, scale_log2, region, region_1, region_2, sizes, LEAST: tl.constexpr,
):  # fmt: skip
    """What a program of `decode_kernel` does."""
    own = rows_of_step(LENGTHS, UNITS, STARTS, heads, pages_b, capacity, sizes)
    steps = 0
    if region.rules.VISITS is not None:
        steps += steps_of_region(region, own, sizes)
    if region_1.rules.VISITS is not None:
        steps += steps_of_region(region_1, own, sizes)
    if region_2.rules.VISITS is not None:
        steps += steps_of_region(region_2, own, sizes)
    first, last = share_of_steps(steps, LEAST)
    if PARTS is None:
        m_i, l_i, acc = attend_share(Q, q_strides, scale_log2, first, last, own, region, region_1, region_2, sizes)
        if SINKS is not None:
            m_i, l_i, acc = with_sink(m_i, l_i, acc, tl.load(SINKS + own.head, mask=own.there, other=float("-inf")))
        store_step(m_i, l_i, acc, OUT, out_strides, LSE, own, sizes)
    else:
        part = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
        if first < last:
            m_i, l_i, acc = attend_share(Q, q_strides, scale_log2, first, last, own, region, region_1, region_2, sizes)
            store_part(m_i, l_i, acc, PARTS, PARTS_LSE, part, sizes)
        else:
            number = tl.arange(0, sizes.BLOCK_M)
            at = part.to(tl.int64) * (sizes.GROUP * sizes.ROWS) + number
            nothing = tl.full([sizes.BLOCK_M], float("-inf"), tl.float32)
            tl.store(PARTS_LSE + at, nothing, mask=number < sizes.GROUP * sizes.ROWS)


@triton.jit
def attend_share(Q, strides, scale_log2, first, last, own, region, region_1, region_2, sizes):
    """The softmax of the rows of a program after steps first..last - 1 of all regions."""
    q_rows = element_offset(own.batch, strides[0]) + element_offset(own.row, strides[1])
    q_rows += element_offset(own.head, strides[2])
    mask = tile_mask(tl.where(own.there, 0, 1), 1, sizes.HEAD_DIM, sizes.BLOCK_D)  # 0 is inside a length of 1
    q_tile = tl.load(Q + q_rows[:, None] + tl.arange(0, sizes.BLOCK_D)[None, :], mask=mask, other=0.0)
    m_i, l_i, acc = softmax_start(sizes.BLOCK_M, sizes.BLOCK_V)
    done = 0
    if region.rules.VISITS is not None:
        m_i, l_i, acc, done = attend_region(
            m_i, l_i, acc, q_tile, done, first, last, own, region, scale_log2, sizes
        )  # fmt: skip
    if region_1.rules.VISITS is not None:
        m_i, l_i, acc, done = attend_region(
            m_i, l_i, acc, q_tile, done, first, last, own, region_1, scale_log2, sizes
        )  # fmt: skip
    if region_2.rules.VISITS is not None:
        m_i, l_i, acc, done = attend_region(
            m_i, l_i, acc, q_tile, done, first, last, own, region_2, scale_log2, sizes
        )  # fmt: skip
    return m_i, l_i, acc


@triton.jit
def store_part(m_i, l_i, acc, PARTS, PARTS_LSE, part, sizes):
    """Stores the softmax of a program for `merge_parts_kernel`: out, and the log-sum-exp in base 2."""
    number = tl.arange(0, sizes.BLOCK_M)
    rows: tl.constexpr = sizes.GROUP * sizes.ROWS
    some = l_i != 0
    l_safe = tl.where(some, l_i, 1.0)
    at = part.to(tl.int64) * rows + number
    tl.store(PARTS_LSE + at, tl.where(some, m_i + tl.log2(l_safe), float("-inf")), mask=number < rows)
    ptrs = row_ptrs(PARTS, part, rows, 0, 1, sizes.V_DIM, sizes.BLOCK_M, sizes.BLOCK_V)
    mask = tile_mask(number, rows, sizes.V_DIM, sizes.BLOCK_V)
    tl.store(ptrs, acc / l_safe[:, None], mask=mask)


@triton.jit
def with_sink(m_i, l_i, acc, sink):
    """The softmax of rows with one score more (natural logarithm), which has no value."""
    m_new = tl.maximum(m_i, sink * LOG2_E)
    alpha = tl.exp2(m_i - m_new)
    return m_new, l_i * alpha + tl.exp2(sink * LOG2_E - m_new), acc * alpha[:, None]


@triton.jit
def store_step(m_i, l_i, acc, OUT, strides, LSE, own, sizes):
    """Stores the rows of a program in OUT, and in LSE [B, ROWS, H], where there is one; 0 where there is no row."""
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


@triton.jit(do_not_specialize=["o_b", "o_m", "o_h", "heads", "parts"])
def merge_parts_kernel(
    PARTS, PARTS_LSE, OUT, LSE, LENGTHS, SINKS, UNITS, o_b, o_m, o_h, heads, parts,
    GROUP: tl.constexpr, ROWS: tl.constexpr, V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """One row of a unit: the softmaxes of all `parts` joined in their order, in blocks of BLOCK_P, with its sink."""
    number, unit, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    member, row = number // ROWS, number % ROWS
    head = unit * GROUP + member
    if UNITS is not None:
        head = tl.load(UNITS + unit * (1 + GROUP) + 1 + member)
        if head < 0:
            return
    first = (batch * tl.num_programs(1) + unit).to(tl.int64) * parts
    m_i, l_i, acc = softmax_start(1, BLOCK_V)
    for begin in range(0, parts, BLOCK_P):
        part = begin + tl.arange(0, BLOCK_P)
        at = (first + part) * (GROUP * ROWS) + number
        lse_2 = tl.load(PARTS_LSE + at, mask=part < parts, other=float("-inf"))
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
