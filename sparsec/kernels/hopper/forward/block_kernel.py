"""The forward kernel of the Hopper tier whose steps come from a list: two blocks of 64 keys each, of one group or both.

Otherwise as `sparsec.kernels.hopper.forward.kernel`.  Keys and values have stages of their own, since a group passes
over steps that only the other one has.  Results are stored from where the queries of their tile were.
"""

from __future__ import annotations

from sparsec.kernels.hopper.forward.block_load import hopper_load_key_blocks, hopper_load_value_blocks
from sparsec.kernels.hopper.forward.block_plan import (
    BLOCK_GONE,
    BLOCK_MASKS,
    KEY_STAGES,
    KEYS_EMPTY,
    NEXT_IS_OWN,
    NEXT_IS_SECOND,
    SAID_STEPS,
    SAID_WORDS,
    VALUE_STAGES,
    VALUES_EMPTY,
    BlockLists,
    BlockShared,
)
from sparsec.kernels.hopper.forward.dropout import drop_in_blocks, no_words, words_of_rows
from sparsec.kernels.hopper.forward.plan import HopperPlan, HopperResults, HopperSizes, HopperWork
from sparsec.kernels.hopper.forward.softmax import next_weights, no_sums, scores_of, stored_matrix
from sparsec.kernels.hopper.forward.store import hopper_store_from, hopper_store_sums
from sparsec.kernels.hopper.forward.tiles import (
    ENDS,
    FIRST,
    TILE_BATCH,
    TILE_HEAD,
    TILE_SLOTS,
    TILE_WORDS,
    position_of_group,
    said_of,
    tile_word,
)
from sparsec.kernels.machine.device import RUN_TIME, kernel_name
from sparsec.kernels.machine.gluon import gl, gluon, mbarrier, store_wait, warpgroup_mma, warpgroup_mma_wait
from sparsec.kernels.machine.sync import ARRIVE_ALL, ARRIVE_STORER, QUERIES_EMPTY, named_barrier, says
from sparsec.kernels.tiles.dropout import Dropping
from sparsec.kernels.tiles.regions import Rules, ask_keep


@gluon.jit(do_not_specialize=[*RUN_TIME, "group_heads", "tiles", "share_every"], repr=kernel_name)
def hopper_block_kernel(
    Q, K, V, OUT, OUT_ROWS, LSE, SPLITS, SPLITS_LSE, HEADS, STARTS, STEPS, SINKS, STREAMS, r_b, r_h, r_m,
    heads, group_heads, n_q, n, q_offset, batches, tiles, scale_log2, split_tiles, splits, share_every, sinks_b,
    drop_below, kept_share,
    NAME: gl.constexpr, KEEP: gl.constexpr, NUMBERS: gl.constexpr,
    GROUP: gl.constexpr, HEAD_DIM: gl.constexpr, BLOCK_D: gl.constexpr, TWIN: gl.constexpr,
):  # fmt: skip
    """Tiles of 128 queries against the blocks that their steps name: out and log-sum-exp."""
    OUT_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_D, 16])
    _hopper_blocks(
        Q, K, V, HopperResults(OUT, OUT_ROWS, r_b, r_h, r_m, LSE, SPLITS, SPLITS_LSE),
        HopperPlan(
            HopperWork(
                None, HEADS, group_heads, heads, batches, n_q, n, q_offset, tiles, group_heads, split_tiles,
                splits, SINKS, sinks_b,
            ),
            Rules(KEEP, None, None, NUMBERS), BlockLists(STARTS, STEPS, share_every),
            HopperSizes(
                GROUP, SPLITS is not None, False, TILE_WORDS, False,
                128, 128, BLOCK_D, HEAD_DIM, 64, 2, KEY_STAGES, 2,
                gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 128, 16]), OUT_LAYOUT,
                gl.DotOperandLayout(0, OUT_LAYOUT, 2), TWIN,
            ),
            Dropping(STREAMS, drop_below, kept_share), scale_log2,
        ),
    )  # fmt: skip


@gluon.jit
def _hopper_blocks(Q, K, V, results, plan):
    """Shared memory, and what the groups of warps do."""
    dtype: gl.constexpr = Q.dtype
    rows: gl.constexpr = plan.sizes.ROWS
    keys: gl.constexpr = plan.sizes.BLOCK_N
    size: gl.constexpr = plan.sizes.BLOCK_D
    BARRIER: gl.constexpr = mbarrier.MBarrierLayout()
    NUMBER: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0])
    shared = BlockShared(
        gl.allocate_shared_memory(dtype, [4, 1, 1, rows, size], Q.layout),
        gl.allocate_shared_memory(dtype, [KEY_STAGES, 1, 1, keys, size], K.layout),
        gl.allocate_shared_memory(dtype, [VALUE_STAGES, 1, 1, keys, size], V.layout),
        gl.allocate_shared_memory(gl.float32, [4, rows], NUMBER),
        gl.allocate_shared_memory(gl.int32, [SAID_STEPS * SAID_WORDS, 1], NUMBER),
        gl.allocate_shared_memory(gl.int32, [TILE_SLOTS * TILE_WORDS, 1], NUMBER),
        gl.allocate_shared_memory(gl.int64, [2, 1], BARRIER),
        gl.allocate_shared_memory(gl.int64, [3 * KEY_STAGES, 1], BARRIER),
        gl.allocate_shared_memory(gl.int64, [3 * VALUE_STAGES, 1], BARRIER),
    )
    for slot in gl.static_range(2):
        mbarrier.init(shared.q_full.index(slot), count=1)
    for stage in gl.static_range(3 * KEY_STAGES):
        mbarrier.init(shared.k_full.index(stage), count=1)
    for stage in gl.static_range(3 * VALUE_STAGES):
        mbarrier.init(shared.v_full.index(stage), count=1)
    gl.warp_specialize([
        (_attend_blocks, (0, results, shared, plan)),
        (_attend_blocks, (1, results, shared, plan)),
        (hopper_load_key_blocks, (Q, K, shared, plan)),
        (hopper_load_value_blocks, (V, shared, plan)),
    ], [4, 1, 1], [240, 24, 24])  # fmt: skip


@gluon.jit
def _attend_blocks(GROUP: gl.constexpr, results, shared, plan):
    """What a group of warps does: its rows of every tile of its program."""
    ROWS: gl.constexpr = plan.sizes.ROWS
    mbarrier.wait(shared.k_full.index(0), 0)
    said, turn, stage, complete, own = said_of(shared.said, 0), -1, 0, -1, 0
    value_stage, values_own, phases = -1, 0, 1  # bits of phases: those of keys, then those of values
    acc = gl.zeros([ROWS, plan.sizes.BLOCK_D], gl.float32, plan.sizes.OUT)
    p = gl.zeros([ROWS, plan.sizes.BLOCK_N], shared.q.dtype, plan.sizes.WEIGHTS)
    m_i, l_i = no_sums(plan)
    words = no_words(plan)
    adds, more = turn > 0, turn < 0
    while more:
        first, more = says(said, FIRST), not says(said, ENDS)
        turn += said & FIRST
        if first & (turn > 0):
            hopper_store_sums(m_i, l_i, turn - 1, results, shared, plan, GROUP)
        mbarrier.wait(shared.q_full.index(turn & 1), (turn >> 1) & 1, pred=first & more)
        s = scores_of(shared, 2 * (turn & 1) + GROUP, stage % KEY_STAGES, plan)
        if complete >= 0:
            hopper_store_from(acc, complete, shared.q.index(2 * (complete & 1) + GROUP), results, shared, plan, GROUP)
        values = stored_matrix(shared.v, gl.maximum(value_stage, 0) % VALUE_STAGES)
        acc = warpgroup_mma(p, values, acc, use_acc=adds, is_async=True)
        s = warpgroup_mma_wait(1, deps=[s])
        _give_back(KEYS_EMPTY + stage % KEY_STAGES, own)
        if says(said, (3 * BLOCK_MASKS | 3 * BLOCK_GONE) << (2 * GROUP)):
            s = _mask_blocks(s, said, stage, turn, shared, plan, GROUP)
        weights, alpha, m_i, l_i = next_weights(s, m_i, l_i, said & FIRST, turn, shared, plan, GROUP)
        if plan.dropping.STREAMS is not None:
            if first & more:
                words = words_of_rows(turn, shared, plan, GROUP)
            place = stage % SAID_STEPS * SAID_WORDS
            blocks = said_of(shared.said, place + 1), said_of(shared.said, place + 2)
            weights = drop_in_blocks(weights, words, blocks[0], blocks[1], plan)
        if complete >= 0:
            store_wait(0)
            named_barrier(QUERIES_EMPTY + (complete & 1), ARRIVE_ALL)
        following = stage + 1 + gl.where(says(said, NEXT_IS_SECOND << GROUP), 1, 0)
        following_own = gl.where(says(said, NEXT_IS_OWN << GROUP), 1, 0)
        at = following_own * (1 + GROUP) * KEY_STAGES + following % KEY_STAGES
        mbarrier.wait(shared.k_full.index(at), (phases >> at) & 1, pred=more)
        phases ^= 1 << at
        at = own * (1 + GROUP) * VALUE_STAGES + stage % VALUE_STAGES
        place = 3 * KEY_STAGES + at
        mbarrier.wait(shared.v_full.index(at), (phases >> place) & 1, pred=more)
        phases ^= 1 << place
        acc = warpgroup_mma_wait(0, deps=[acc])
        if value_stage >= 0:
            _give_back(VALUES_EMPTY + value_stage % VALUE_STAGES, values_own)
        p = gl.convert_layout(weights.to(shared.q.dtype), plan.sizes.WEIGHTS)
        acc *= alpha[:, None]
        adds, complete = not first, gl.where(first, turn - 1, -1)
        value_stage, values_own = stage + 0, own + 0
        stage, own = following, following_own
        said = said_of(shared.said, stage % SAID_STEPS * SAID_WORDS)
    if complete >= 0:
        hopper_store_from(acc, complete, shared.q.index(2 * (complete & 1) + GROUP), results, shared, plan, GROUP)
    store_wait(0)


@gluon.jit
def _give_back(number, own):
    """A group says at a named barrier that it has read a stage, which it has with the other or alone."""
    if own == 0:
        named_barrier(number, ARRIVE_ALL)
    else:
        named_barrier(number, ARRIVE_STORER)


@gluon.jit
def _mask_blocks(s, said, stage, turn, shared, plan, GROUP: gl.constexpr):
    """Scores of a step, -inf where the pattern leaves a pair out, for the rows of a group; as in `hopper_mask`."""
    half: gl.constexpr = plan.sizes.BLOCK_N // 2
    place = stage % SAID_STEPS * SAID_WORDS
    low, high = gl.split(gl.permute(gl.reshape(s, [plan.sizes.ROWS, 2, half]), [0, 2, 1]))
    if says(said, (BLOCK_MASKS | BLOCK_GONE) << (2 * GROUP)):
        gone = says(said, BLOCK_GONE << (2 * GROUP))
        low = _mask_block(low, said_of(shared.said, place + 1) * half, gone, turn, shared, plan, GROUP)
    if says(said, (BLOCK_MASKS | BLOCK_GONE) << (2 * GROUP + 1)):
        gone = says(said, BLOCK_GONE << (2 * GROUP + 1))
        high = _mask_block(high, said_of(shared.said, place + 2) * half, gone, turn, shared, plan, GROUP)
    both = gl.reshape(gl.permute(gl.join(low, high), [0, 2, 1]), [plan.sizes.ROWS, plan.sizes.BLOCK_N])
    return gl.convert_layout(both, s.type.layout, assert_trivial=True)


@gluon.jit
def _mask_block(s, k_lo, gone, turn, shared, plan, GROUP: gl.constexpr):
    k = k_lo + gl.arange(0, s.shape[1], gl.SliceLayout(0, s.type.layout))
    kept = (k < gl.where(gone, 0, plan.work.n))[None, :]
    if plan.rules.KEEP is not None:
        q = position_of_group(shared, turn, plan, GROUP)
        q += gl.arange(0, plan.sizes.ROWS, gl.SliceLayout(1, s.type.layout))
        at = tile_word(shared, turn, plan, TILE_BATCH), tile_word(shared, turn, plan, TILE_HEAD), plan.work.heads
        kept &= ask_keep(plan.rules, q[:, None], k[None, :], plan.work.n, at)
    return gl.where(kept, s, float("-inf"))
