"""Kernels that choose blocks of keys: means of blocks, and of the scores of a block of queries the best."""

from __future__ import annotations

from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.tiles.loads import element_offset

LOOKED_AT = -1  # in the place of a number of ranges: a mask says which blocks may be chosen

_LOOKED_AT, _LAST_BLOCK = tl.constexpr(LOOKED_AT), tl.constexpr((1 << 31) - 1)
_NO_CODE = tl.constexpr(-(1 << 63))  # less than that of any block


@triton.jit(do_not_specialize=["x_b", "x_h", "x_n", "rows", "blocks", "heads"])
def mean_of_blocks(
    X, MEANS, x_b, x_h, x_n, rows, blocks, heads,
    SIZE: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCKS: tl.constexpr, ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """MEANS float32 [B * heads, blocks, HEAD_DIM]: of each SIZE rows of X [B, heads * GROUP, rows, HEAD_DIM] the mean.

    The means of GROUP heads are added up.  Strides in units of 8 elements.
    """
    bh = tl.program_id(1)
    block, channel = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS), tl.arange(0, BLOCK_D)
    own = X + element_offset(bh // heads, x_b)
    count = tl.minimum(tl.maximum(rows - block * SIZE, 1), SIZE).to(tl.float32)
    total = tl.zeros([BLOCKS, BLOCK_D], tl.float32)
    for number in range(GROUP):
        start = own + element_offset(bh % heads * GROUP + number, x_h)
        sums = tl.zeros([BLOCKS, BLOCK_D], tl.float32)
        for begin in range(0, SIZE, ROWS):
            of_block = begin + tl.arange(0, ROWS)
            row = block[:, None] * SIZE + of_block[None, :]
            there = (row < rows) & (of_block < SIZE)[None, :]
            wanted = there[:, :, None] & (channel < HEAD_DIM)[None, None, :]
            x = tl.load(start + (element_offset(row, x_n)[:, :, None] + channel[None, None, :]), mask=wanted, other=0.0)
            sums += tl.sum(x.to(tl.float32), 1)
        total += tl.math.div_rn(sums, tl.broadcast_to(count[:, None], [BLOCKS, BLOCK_D]))
    place = (bh.to(tl.int64) * blocks + block)[:, None] * HEAD_DIM + channel[None, :]
    tl.store(MEANS + place, total, mask=(block < blocks)[:, None] & (channel < HEAD_DIM)[None, :])


@triton.jit
def _may_be_chosen(SPANS, row, lists, blocks, number, RANGES: tl.constexpr):
    """Whether blocks of keys are in a span of the row: SPANS [RANGES, lists, 2], the first block and the last; or a
    mask [lists, blocks].
    """
    if RANGES == _LOOKED_AT:
        held = tl.load(SPANS + row * blocks + number, mask=number < blocks, other=0) != 0
    else:
        held = number < 0
        for each in tl.static_range(RANGES):
            span = SPANS + (each * lists + row) * 2
            held = held | ((number >= tl.load(span)) & (number <= tl.load(span + 1)))
    return held


@triton.jit(do_not_specialize=["lists", "all_lists", "blocks", "listed"])
def list_best_blocks(
    SCORES, LISTS, AMONG, FIRST, lists, all_lists, blocks, listed,
    RANGES: tl.constexpr, FIRST_RANGES: tl.constexpr, AT_ONCE: tl.constexpr, TAKEN: tl.constexpr,
):  # fmt: skip
    """LISTS int32 [B * G, all_lists, listed], of which the first `lists` are made: the blocks with the best of SCORES
    float32 [B * G, lists, blocks], the best first, ties to the lowest, -1 behind them.

    Those of AMONG may be chosen, those of FIRST come before all others.  TAKEN, a power of two, is `listed` or more.
    """
    row, bg = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    end = blocks
    if RANGES != _LOOKED_AT:
        end = blocks * 0
        for each in tl.static_range(RANGES):
            end = tl.maximum(end, tl.load(AMONG + (each * lists + row) * 2 + 1) + 1)
    best = tl.full([TAKEN], _NO_CODE, tl.int64)
    for begin in range(0, end, AT_ONCE):
        number = begin + tl.arange(0, AT_ONCE)
        may = (number < blocks) & _may_be_chosen(AMONG, row, lists, blocks, number, RANGES)
        score = tl.load(SCORES + (bg * lists + row) * blocks + number, mask=may, other=0.0)
        score = tl.where(score == 0.0, 0.0, score)  # -0.0 is 0.0
        if FIRST is not None:
            score = tl.where(_may_be_chosen(FIRST, row, lists, blocks, number, FIRST_RANGES), float("inf"), score)
        bits = score.to(tl.int32, bitcast=True)
        bits = bits ^ ((bits >> 31) & _LAST_BLOCK)  # integers that rise as floats do
        code = (bits.to(tl.int64) << 32) | (number ^ _LAST_BLOCK).to(tl.int64)  # the lowest block first
        some = tl.topk(tl.where(may, code, _NO_CODE), TAKEN)
        best = tl.topk(tl.reshape(tl.join(best, some), [2 * TAKEN]), TAKEN)
    place = tl.arange(0, TAKEN)
    found = tl.where(best == _NO_CODE, -1, (best & _LAST_BLOCK) ^ _LAST_BLOCK).to(tl.int32)
    tl.store(LISTS + (bg * all_lists + row) * listed + place, found, mask=place < listed)
