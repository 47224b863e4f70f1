"""The forward kernel of the Hopper tier: one warp loads, groups of four warps have 64 rows of a tile each.

The structure is that of FlashAttention-3 (Shah et al., 2024): products of a group overlap with the softmax of its own
step before, and groups with each other.  A group has one loop, over the steps of all tiles of its program, and
knows of a step what the loading warp says: so there is one copy of softmax and masks, and walks may be short.
"""

from __future__ import annotations

from sparsec.kernels.hopper.forward.dropout import drop_weights, no_words, words_of_rows
from sparsec.kernels.hopper.forward.growth import rescaled
from sparsec.kernels.hopper.forward.load import hopper_load
from sparsec.kernels.hopper.forward.plan import HopperPlan, HopperResults, HopperShared, HopperSizes, HopperWork
from sparsec.kernels.hopper.forward.softmax import clear_values, next_weights, no_sums, scores_of, stored_matrix
from sparsec.kernels.hopper.forward.store import hopper_store, hopper_store_sums
from sparsec.kernels.hopper.forward.tiles import (
    ENDS,
    FIRST,
    LAST,
    RAGGED,
    SAID_FLAGS,
    SEQUENCE_WORDS,
    TILE_SLOTS,
    TILE_WORDS,
    said_of,
)
from sparsec.kernels.machine.device import RUN_TIME, kernel_name
from sparsec.kernels.machine.gluon import gl, gluon, mbarrier, store_wait, warpgroup_mma, warpgroup_mma_wait
from sparsec.kernels.machine.sync import QUERIES_EMPTY, STAGE_EMPTY, group_is_done, says
from sparsec.kernels.tiles.dropout import Dropping
from sparsec.kernels.tiles.regions import Lists, Rules


@gluon.jit(do_not_specialize=[*RUN_TIME, "group_heads", "tiles", "together"], repr=kernel_name)
def hopper_forward_kernel(
    Q, K, V, OUT, OUT_ROWS, OUT_TOP, LSE, SPLITS, SPLITS_LSE, HEADS, TILES, SINKS, STREAMS, r_b, r_h, r_m,
    heads, group_heads, n_q, n, q_offset, batches, tiles, together, scale_log2, split_tiles, splits, sinks_b,
    drop_below, kept_share,
    NAME: gl.constexpr, KEEP: gl.constexpr, FULL: gl.constexpr, KEYS: gl.constexpr, NUMBERS: gl.constexpr,
    WHOLE: gl.constexpr, SCORE: gl.constexpr, TILT: gl.constexpr, NEAR: gl.constexpr, WEIGHT: gl.constexpr,
    LONGEST_FIRST: gl.constexpr,
    GROUP: gl.constexpr, HEAD_DIM: gl.constexpr, BLOCK_M: gl.constexpr, BLOCK_N: gl.constexpr, BLOCK_D: gl.constexpr,
    STAGES: gl.constexpr, SLOTS: gl.constexpr,
):  # fmt: skip
    """Tiles of queries against the keys of a region: out and log-sum-exp.

    SPLITS: programs that split a tile leave there what each of them found.  TILES: those of several sequences, n_q
    being the rows of Q.  SINKS: as `HopperWork` says.  OUT_TOP: another kernel goes on with OUT.  STREAMS, drop_below,
    kept_share: `Dropping`.
    """
    ROWS: gl.constexpr = 64
    WORDS: gl.constexpr = TILE_WORDS if TILES is None else SEQUENCE_WORDS
    OUT_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_D, 16])
    _hopper_forward(
        Q, K, V, HopperResults(OUT, OUT_ROWS, r_b, r_h, r_m, LSE, SPLITS, SPLITS_LSE, OUT_TOP),
        HopperPlan(
            HopperWork(
                TILES, HEADS, group_heads, heads, batches, n_q, n, q_offset, tiles, together, split_tiles,
                splits, SINKS, sinks_b,
            ),
            Rules(KEEP, FULL, KEYS, NUMBERS, None, None, None, WHOLE, False, SCORE, None, False, NEAR, TILT, WEIGHT),
            Lists(),
            HopperSizes(
                GROUP, SPLITS is not None, TILES is not None, WORDS, LONGEST_FIRST,
                BLOCK_M, BLOCK_N, BLOCK_D, HEAD_DIM, ROWS, BLOCK_M // ROWS, STAGES, SLOTS,
                gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16]), OUT_LAYOUT,
                gl.DotOperandLayout(0, OUT_LAYOUT, 2),
            ),
            Dropping(STREAMS, drop_below, kept_share),
            scale_log2,
        ),
    )  # fmt: skip


@gluon.jit
def _hopper_forward(Q, K, V, results, plan):
    """Shared memory, and what the groups of warps do."""
    dtype: gl.constexpr = Q.dtype
    rows: gl.constexpr = plan.sizes.ROWS
    keys: gl.constexpr = plan.sizes.BLOCK_N
    size: gl.constexpr = plan.sizes.BLOCK_D
    stages: gl.constexpr = plan.sizes.STAGES
    words: gl.constexpr = plan.sizes.WORDS
    groups: gl.constexpr = plan.sizes.GROUPS
    slots: gl.constexpr = plan.sizes.SLOTS
    BARRIER: gl.constexpr = mbarrier.MBarrierLayout()
    NUMBER: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0])
    queries = gl.allocate_shared_memory(dtype, [slots * groups, 1, 1, rows, size], Q.layout)
    if slots == 1:
        out = queries  # nothing is written there
    else:
        out = gl.allocate_shared_memory(results.OUT.dtype, [groups, 1, 1, rows, size], results.OUT.layout)
    shared = HopperShared(
        queries,
        gl.allocate_shared_memory(dtype, [stages, 1, 1, keys, size], K.layout),
        gl.allocate_shared_memory(dtype, [stages, 1, 1, keys, size], V.layout),
        out,
        gl.allocate_shared_memory(gl.float32, [2 * groups, rows], NUMBER),
        gl.allocate_shared_memory(gl.int32, [stages, 1], NUMBER),
        gl.allocate_shared_memory(gl.int32, [TILE_SLOTS * words, 1], NUMBER),
        gl.allocate_shared_memory(gl.int64, [slots, 1], BARRIER),
        gl.allocate_shared_memory(gl.int64, [stages, 1], BARRIER),
    )
    for slot in gl.static_range(slots):
        mbarrier.init(shared.q_full.index(slot), count=1)
    for stage in gl.static_range(stages):
        mbarrier.init(shared.full.index(stage), count=1)
    if groups == 2:
        gl.warp_specialize([
            (_hopper_attend, (0, results, shared, plan)),
            (_hopper_attend, (1, results, shared, plan)),
            (hopper_load, (Q, K, V, shared, plan)),
        ], [4, 1], [240, 24])  # fmt: skip
    else:
        gl.warp_specialize([
            (_hopper_attend, (0, results, shared, plan)),
            (_hopper_attend, (1, results, shared, plan)),
            (_hopper_attend, (2, results, shared, plan)),
            (hopper_load, (Q, K, V, shared, plan)),
        ], [4, 4, 1], [160, 160, 32])  # fmt: skip


@gluon.jit
def _hopper_attend(GROUP: gl.constexpr, results, shared, plan):
    """What a group of warps does: its rows of every tile of its program.

    A step's product with the keys is in flight together with that of the weights and values of the step before, and the
    first step of a tile overlaps with the last values of the tile before.  That one is stored behind the product of
    the step which follows.
    """
    ROWS: gl.constexpr = plan.sizes.ROWS
    GROUPS: gl.constexpr = plan.sizes.GROUPS
    STAGES: gl.constexpr = plan.sizes.STAGES
    SLOTS: gl.constexpr = plan.sizes.SLOTS
    mbarrier.wait(shared.full.index(0), 0)
    said, turn, stage, complete = said_of(shared.said, 0), -1, 0, -1
    said_before, turn_before = 0, 0
    acc = gl.zeros([ROWS, plan.sizes.BLOCK_D], gl.float32, plan.sizes.OUT)
    p = gl.zeros([ROWS, plan.sizes.BLOCK_N], shared.q.dtype, plan.sizes.WEIGHTS)
    m_i, l_i = no_sums(plan)
    words = no_words(plan)
    adds, more = turn > 0, turn < 0  # whether the values of the step before add to others, and whether a step follows
    while more:
        first, more = says(said, FIRST), not says(said, ENDS)
        turn += said & FIRST
        slot = turn & (SLOTS - 1)
        mbarrier.wait(shared.q_full.index(slot), (turn >> (SLOTS - 1)) & 1, pred=first & more)
        s = scores_of(shared, GROUPS * slot + GROUP, stage % STAGES, plan)
        if complete >= 0:
            hopper_store(acc, complete, results, shared, plan, GROUP)
        if plan.sizes.PACKED and says(said_before, RAGGED):
            clear_values(shared, stage % STAGES, said_before, turn_before, plan, GROUP)
        acc = warpgroup_mma(p, stored_matrix(shared.v, stage % STAGES), acc, use_acc=adds, is_async=True)
        if first & (turn > 0):  # behind both products, which need not wait for it
            if SLOTS == 2:
                group_is_done(QUERIES_EMPTY + ((turn - 1) & 1), GROUPS)
            hopper_store_sums(m_i, l_i, turn - 1, results, shared, plan, GROUP)
        weights, alpha, m_i, l_i = next_weights(s, m_i, l_i, said, turn, shared, plan, GROUP)
        if SLOTS == 1 and says(said, LAST):  # the next queries take the place of these, whose scores are there
            group_is_done(QUERIES_EMPTY, GROUPS)
        if plan.dropping.STREAMS is not None:
            if first & more:
                words = words_of_rows(turn, shared, plan, GROUP)
            weights = drop_weights(weights, words, (said >> SAID_FLAGS) * plan.sizes.BLOCK_N, plan)
        # The end of a basic block: without it, ptxas moves the wait for the values before the exponentials.
        mbarrier.wait(shared.full.index((stage + 1) % STAGES), ((stage + 1) // STAGES) & 1, pred=more)
        said_next = said_of(shared.said, (stage + 1) % STAGES)
        acc = warpgroup_mma_wait(0, deps=[acc])
        group_is_done(STAGE_EMPTY + stage % STAGES, GROUPS)
        p = gl.convert_layout(weights.to(shared.q.dtype), plan.sizes.WEIGHTS)
        if plan.rules.WEIGHT is None:
            if plan.sizes.BLOCK_D > 64:
                acc = rescaled(acc, alpha)
            else:  # so few values that a branch costs more
                acc *= alpha[:, None]
        stage += 1
        adds, complete = not first, gl.where(first, turn - 1, -1)
        said_before, turn_before = said, turn
        said = said_next
    if complete >= 0:  # of several sequences, there may be fewer tiles than programs
        hopper_store(acc, complete, results, shared, plan, GROUP)
    store_wait(0)
