"""The kernel of a decoding step: the last rows of sequences against a cache of keys.

A unit is the query heads that share a key head and a condition: they and the rows of the step are the rows of one
product, so that keys are read once for all of them.  Several programs share the tiles of a unit; each leaves its
softmax, and `merge_parts_kernel` joins them in their order.

Programs are (part, unit, sequence): a sequence with few tiles gives them to the first parts, at least LEAST to each,
and the others end at once.  Or, with WORK, (run, unit): equal runs of the tiles of all sequences (`decode.work`).
Nothing depends on lengths but what the device reads of them: a launch serves all lengths that the cache has room for.
"""

from __future__ import annotations

from sparsec.kernels.decode.parts import parts_of_span, place_of_part, store_part, store_step
from sparsec.kernels.decode.tiles import (
    StepKeys,
    StepSizes,
    cache_offset,
    cache_rows,
    kept_of_step,
    keys_of_step,
    load_cached,
    rows_of_step,
    step_walk,
    steps_of_region,
)
from sparsec.kernels.decode.work import sequence_at
from sparsec.kernels.machine.device import LN_2, kernel_name, tl, triton
from sparsec.kernels.tiles.loads import element_offset, tile_mask
from sparsec.kernels.tiles.regions import Rules, ask
from sparsec.kernels.tiles.scores import scale_of
from sparsec.kernels.tiles.softmax import softmax_start, softmax_step

STEP_RUN_TIME = ["q_b", "q_m", "q_h", "k_b", "k_h", "k_n", "v_b", "v_h", "v_n", "o_b", "o_m", "o_h"]
STEP_RUN_TIME += ["heads", "pages_b", "capacity", "batches", "work_at"]


@triton.jit
def attend_cached(m_i, l_i, acc, q_tile, k, row, kept, seen, own, region, scale_log2, sizes):
    """The softmax after some keys, which stand in those rows of the cache."""
    offset = cache_offset(region.k_strides, row, k, own, sizes)
    k_tile = load_cached(region.K, offset, seen, sizes.HEAD_DIM, sizes.BLOCK_D)
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
    if region.v_strides is not None:
        offset = cache_offset(region.v_strides, row, k, own, sizes)
    v_tile = load_cached(region.V, offset, seen, sizes.V_DIM, sizes.BLOCK_V)
    p, alpha, m_i, l_i = softmax_step(s, m_i, l_i, scale_of(region.rules, scale_log2))
    return m_i, l_i, tl.dot(p.to(v_tile.dtype), v_tile, acc * alpha[:, None], input_precision=sizes.PRECISION)


@triton.jit
def attend_region(m_i, l_i, acc, q_tile, done, first, last, own, region, scale_log2, sizes):
    """The softmax after steps first..last - 1 of all, of which those of this region begin at `done`; and their end."""
    CLASSES: tl.constexpr = region.STRIDE if region.STRIDE < sizes.ROWS else sizes.ROWS
    for CLASS in tl.static_range(CLASSES):
        walk, residue = step_walk(region, own, CLASS, sizes)
        begin, end = tl.maximum(first - done, 0), tl.minimum(last - done, walk.steps)
        row_ahead = cache_rows(region, own, keys_of_step(walk, begin, residue, region, sizes), sizes)
        for step in range(begin, end):
            k = keys_of_step(walk, step, residue, region, sizes)
            row = row_ahead
            row_ahead = cache_rows(region, own, keys_of_step(walk, step + 1, residue, region, sizes), sizes)
            kept, seen = kept_of_step(region, own, k, own.n, sizes)
            if region.HOLES:
                if tl.max(seen.to(tl.int32), 0) > 0:
                    m_i, l_i, acc = attend_cached(
                        m_i, l_i, acc, q_tile, k, row, kept, seen, own, region, scale_log2, sizes
                    )  # fmt: skip
            else:
                m_i, l_i, acc = attend_cached(m_i, l_i, acc, q_tile, k, row, kept, seen, own, region, scale_log2, sizes)
        done += walk.steps
    return m_i, l_i, acc, done


@triton.jit(do_not_specialize=STEP_RUN_TIME, repr=kernel_name)
def decode_kernel(
    Q, K, V, OUT, LSE, PARTS, PARTS_LSE, LENGTHS, WORK, PAGES, STARTS, SINKS, UNITS, TABLES, TABLES_1, TABLES_2,
    q_b, q_m, q_h, k_b, k_h, k_n, v_b, v_h, v_n, o_b, o_m, o_h, heads, pages_b, capacity, batches, work_at, scale_log2,
    NAME: tl.constexpr, KEEP: tl.constexpr, KEYS: tl.constexpr, GATHERED: tl.constexpr, STRIDE: tl.constexpr,
    HOLES: tl.constexpr, KEEP_1: tl.constexpr, KEYS_1: tl.constexpr, GATHERED_1: tl.constexpr, STRIDE_1: tl.constexpr,
    HOLES_1: tl.constexpr, KEEP_2: tl.constexpr, KEYS_2: tl.constexpr, GATHERED_2: tl.constexpr,
    STRIDE_2: tl.constexpr, HOLES_2: tl.constexpr, NUMBERS: tl.constexpr, SCORE: tl.constexpr, NEAR: tl.constexpr,
    GROUP: tl.constexpr, ROWS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr, V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PAGE: tl.constexpr, PRECISION: tl.constexpr,
    ALIKE: tl.constexpr, LEAST: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """The keys that rows see, in up to three regions: out and log-sum-exp, or PARTS of them.

    PARTS is None where each unit of a sequence has one part, WORK where parts are no runs.  K, V: with PAGES, [pages,
    PAGE, H_kv, ..]; else [B, H_kv, capacity, ..].  ALIKE: V lies as K does.
    """
    decode_unit(
        Q, (q_b, q_m, q_h), OUT, (o_b, o_m, o_h), LSE, PARTS, PARTS_LSE, LENGTHS, WORK, STARTS, SINKS, UNITS,
        heads, pages_b, capacity, batches, work_at, scale_log2,
        StepKeys(
            K, V, (k_b, k_h, k_n), None if ALIKE else (v_b, v_h, v_n), PAGES, GATHERED, STRIDE, HOLES,
            Rules(KEEP, None, KEYS, NUMBERS, None, None, TABLES, False, False, SCORE, None, False, NEAR),
        ),
        StepKeys(
            K, V, (k_b, k_h, k_n), None if ALIKE else (v_b, v_h, v_n), PAGES, GATHERED_1, STRIDE_1, HOLES_1,
            Rules(KEEP_1, None, KEYS_1, NUMBERS, None, None, TABLES_1, False, False, SCORE, None, False, NEAR),
        ),
        StepKeys(
            K, V, (k_b, k_h, k_n), None if ALIKE else (v_b, v_h, v_n), PAGES, GATHERED_2, STRIDE_2, HOLES_2,
            Rules(KEEP_2, None, KEYS_2, NUMBERS, None, None, TABLES_2, False, False, SCORE, None, False, NEAR),
        ),
        StepSizes(GROUP, ROWS, HEAD_DIM, BLOCK_M, BLOCK_N, BLOCK_D, V_DIM, BLOCK_V, PAGE, PRECISION), LEAST, BLOCK_B,
    )  # fmt: skip


@triton.jit
def decode_unit(
    Q, q_strides, OUT, out_strides, LSE, PARTS, PARTS_LSE, LENGTHS, WORK, STARTS, SINKS, UNITS,
    heads, pages_b, capacity, batches, work_at, scale_log2, region, region_1, region_2, sizes,
    LEAST: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """What a program of `decode_kernel` does."""
    if WORK is None:
        decode_part(
            Q, q_strides, OUT, out_strides, LSE, PARTS, PARTS_LSE, LENGTHS, STARTS, SINKS, UNITS,
            heads, pages_b, capacity, scale_log2, region, region_1, region_2, sizes, LEAST,
        )  # fmt: skip
    else:
        decode_run(
            Q, q_strides, OUT, out_strides, LSE, PARTS, PARTS_LSE, LENGTHS, WORK + work_at, STARTS, SINKS, UNITS,
            heads, pages_b, capacity, batches, scale_log2, region, region_1, region_2, sizes, BLOCK_B,
        )  # fmt: skip


@triton.jit
def share_of_steps(steps, LEAST: tl.constexpr):
    """The steps first..last - 1 of a program, of those that the programs of a unit share."""
    each = tl.maximum(tl.cdiv(steps, tl.num_programs(0)), LEAST)
    first = tl.program_id(0) * each
    return first, tl.minimum(first + each, steps)


@triton.jit
def decode_part(
    Q, q_strides, OUT, out_strides, LSE, PARTS, PARTS_LSE, LENGTHS, STARTS, SINKS, UNITS,
    heads, pages_b, capacity, scale_log2, region, region_1, region_2, sizes, LEAST: tl.constexpr,
):  # fmt: skip
    """What a program does that shares the tiles of one unit of one sequence."""
    unit, batch = tl.program_id(1), tl.program_id(2)
    n = tl.minimum(tl.maximum(tl.load(LENGTHS + batch).to(tl.int32), 0), capacity)
    own = rows_of_step(n, batch, unit, UNITS, STARTS, heads, pages_b, sizes)
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
        store_step(m_i, l_i, acc, OUT, out_strides, LSE, SINKS, own, sizes)
    else:
        part = ((batch * tl.num_programs(1) + unit) * tl.num_programs(0) + tl.program_id(0)).to(tl.int64)
        if first < last:
            m_i, l_i, acc = attend_share(Q, q_strides, scale_log2, first, last, own, region, region_1, region_2, sizes)
            store_part(m_i, l_i, acc, PARTS, PARTS_LSE, part, sizes)
        else:
            number = tl.arange(0, sizes.BLOCK_M)
            nothing = tl.full([sizes.BLOCK_M], float("-inf"), tl.float32)
            at = part * (sizes.GROUP * sizes.ROWS) + number
            tl.store(PARTS_LSE + at, nothing, mask=number < sizes.GROUP * sizes.ROWS)


@triton.jit
def decode_run(
    Q, q_strides, OUT, out_strides, LSE, PARTS, PARTS_LSE, LENGTHS, WORK, STARTS, SINKS, UNITS,
    heads, pages_b, capacity, batches, scale_log2, region, region_1, region_2, sizes, BLOCK_B: tl.constexpr,
):  # fmt: skip
    """What a program does that takes a run of the tiles of a unit: place..stop - 1."""
    unit, total = tl.program_id(1), tl.load(WORK + batches)
    each = tl.cdiv(total, tl.num_programs(0))
    place = tl.program_id(0) * each
    stop = tl.minimum(place + each, total)
    while place < stop:
        span = sequence_at(LENGTHS, WORK, place, batches, capacity, BLOCK_B)
        first, last = place - span.begin, tl.minimum(stop, span.end) - span.begin
        own = rows_of_step(span.n, span.number, unit, UNITS, STARTS, heads, pages_b, sizes)
        m_i, l_i, acc = attend_share(Q, q_strides, scale_log2, first, last, own, region, region_1, region_2, sizes)
        if last - first == span.end - span.begin:
            store_step(m_i, l_i, acc, OUT, out_strides, LSE, SINKS, own, sizes)
        else:
            parts = parts_of_span(span.begin, span.end, each, unit * tl.num_programs(0))
            part = place_of_part(parts, tl.program_id(0) - span.begin // each)
            store_part(m_i, l_i, acc, PARTS, PARTS_LSE, part, sizes)
        place = span.begin + last


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
