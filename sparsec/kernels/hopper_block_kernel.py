"""The forward kernel of the Hopper tier whose steps come from a list: two blocks of 64 keys each, of one group or both.

Otherwise as `sparsec.kernels.hopper_forward_kernel`.  Keys and values have stages of their own, since a group passes
over steps that only the other one has.  Results are stored from where the queries of their tile were.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.device import RUN_TIME, kernel_name
from sparsec.kernels.hopper import gl, gluon, load_box, mbarrier, seen_as, store_wait, warpgroup_mma, warpgroup_mma_wait
from sparsec.kernels.hopper_plan import HopperPlan, HopperResults, HopperSizes, HopperWork
from sparsec.kernels.hopper_softmax import no_sums, row_weights, scores_of, stored_matrix
from sparsec.kernels.hopper_store import hopper_store, hopper_store_sums
from sparsec.kernels.hopper_sync import (
    ARRIVE_ALL,
    ARRIVE_STORER,
    MEET_ALL,
    MEET_STORER,
    QUERIES_EMPTY,
    named_barrier,
    says,
)
from sparsec.kernels.hopper_tiles import (
    ENDS,
    FIRST,
    TILE_BATCH,
    TILE_HEAD,
    TILE_SLOTS,
    TILE_WORDS,
    hopper_tile,
    hopper_turns,
    position_of_group,
    said_of,
    say,
    say_tile,
    tile_word,
)
from sparsec.kernels.regions import Lists, Rules, ask_keep
from sparsec.kernels.tiles import split_steps

# What is said of a step, besides FIRST and ENDS.  Of the first group; the second one has what is twice that, and of
# masks, which are by halves of the keys, four times that.
BLOCK_MASKS = gl.constexpr(8)  # the group's rows have a pair with the first block that is left out; twice that: second
BLOCK_GONE = gl.constexpr(128)  # they have none that is kept
NEXT_IS_SECOND = gl.constexpr(2048)  # the step that the group has next is that after the next one
NEXT_IS_OWN = gl.constexpr(8192)  # it is of that group alone
OF_ONE_GROUP = gl.constexpr(32768)  # this one is

KEY_STAGES, VALUE_STAGES = gl.constexpr(2), gl.constexpr(3)
_SAID_STEPS, _SAID_WORDS = gl.constexpr(4), gl.constexpr(3)  # flags, then the two blocks
# The first of the named barriers at which groups give back stages.
_KEYS_EMPTY, _VALUES_EMPTY = gl.constexpr(12), gl.constexpr(6)


class BlockShared(NamedTuple):
    """Shared memory, as `HopperShared`; barriers of stages stand thrice: of steps of both groups, and of one."""

    q: Any
    k: Any
    v: Any
    factors: Any
    said: Any
    tiles: Any
    q_full: Any
    k_full: Any
    v_full: Any


class BlockPlan(NamedTuple):
    """The steps of tiles, and those blocks."""

    STARTS: Any
    STEPS: Any


@gluon.jit(do_not_specialize=[*RUN_TIME, "group_heads", "tiles", "share_every"], repr=kernel_name)
def hopper_block_kernel(
    Q, K, V, OUT, OUT_ROWS, LSE, SPLITS, SPLITS_LSE, HEADS, STARTS, STEPS, SINKS, r_b, r_h, r_m,
    heads, group_heads, n_q, n, q_offset, batches, tiles, scale_log2, split_tiles, splits, share_every, sinks_b,
    NAME: gl.constexpr, KEEP: gl.constexpr, NUMBERS: gl.constexpr,
    GROUP: gl.constexpr, HEAD_DIM: gl.constexpr, BLOCK_D: gl.constexpr, TWIN: gl.constexpr,
):  # fmt: skip
    """Tiles of 128 queries against the blocks that their steps name: out and log-sum-exp."""
    OUT_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_D, 16])
    _hopper_blocks(
        Q, K, V, HopperResults(OUT, OUT_ROWS, r_b, r_h, r_m, LSE, SPLITS, SPLITS_LSE),
        HopperPlan(
            HopperWork(
                None, HEADS, group_heads, heads, batches, n_q, n, q_offset, tiles, split_tiles, splits, SINKS, sinks_b,
                share_every,
            ),
            Rules(KEEP, None, None, NUMBERS), Lists(STARTS, STEPS),
            HopperSizes(
                GROUP, SPLITS is not None, TWIN, False, TILE_WORDS, False, False,
                128, 128, BLOCK_D, HEAD_DIM, 64, 2, KEY_STAGES,
                gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 128, 16]), OUT_LAYOUT,
                gl.DotOperandLayout(0, OUT_LAYOUT, 2),
            ),
            scale_log2,
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
        gl.allocate_shared_memory(gl.int32, [_SAID_STEPS * _SAID_WORDS, 1], NUMBER),
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
        (_load_blocks, (Q, K, V, shared, plan)),
    ], [4, 1], [240, 24])  # fmt: skip


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
    adds, more = turn > 0, turn < 0
    while more:
        first, more = says(said, FIRST), not says(said, ENDS)
        turn += said & FIRST
        if first & (turn > 0):
            hopper_store_sums(m_i, l_i, turn - 1, results, shared, plan, GROUP)
        mbarrier.wait(shared.q_full.index(turn & 1), (turn >> 1) & 1, pred=first & more)
        s = scores_of(shared, 2 * (turn & 1) + GROUP, stage % KEY_STAGES, plan)
        if complete >= 0:
            hopper_store(acc, complete, shared.q.index(2 * (complete & 1) + GROUP), results, shared, plan, GROUP)
        values = stored_matrix(shared.v, gl.maximum(value_stage, 0) % VALUE_STAGES)
        acc = warpgroup_mma(p, values, acc, use_acc=adds, is_async=True)
        s = warpgroup_mma_wait(1, deps=[s])
        _give_back(_KEYS_EMPTY + stage % KEY_STAGES, own)
        if says(said, (3 * BLOCK_MASKS | 3 * BLOCK_GONE) << (2 * GROUP)):
            s = _mask_blocks(s, said, stage, turn, shared, plan, GROUP)
        weights, alpha, m_i, l_i = row_weights(s, m_i, l_i, first, plan.scale_log2)
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
            _give_back(_VALUES_EMPTY + value_stage % VALUE_STAGES, values_own)
        p = gl.convert_layout(weights.to(shared.q.dtype), plan.sizes.WEIGHTS)
        acc *= alpha[:, None]
        adds, complete = not first, gl.where(first, turn - 1, -1)
        value_stage, values_own = stage + 0, own + 0
        stage, own = following, following_own
        said = said_of(shared.said, stage % _SAID_STEPS * _SAID_WORDS)
    if complete >= 0:
        hopper_store(acc, complete, shared.q.index(2 * (complete & 1) + GROUP), results, shared, plan, GROUP)
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
    place = stage % _SAID_STEPS * _SAID_WORDS
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


@gluon.jit
def _load_blocks(Q, K, V, shared, plan):
    """What the loading warp does: the values of a step come behind the keys of the next one."""
    batch, head, first_block, second_block, stage = 0, 0, 0, 0, 0
    kinds = 0  # of the last steps, two bits each: 0 of both groups, 1 or 2 of one
    for turn in range(hopper_turns(plan)):
        tile = hopper_tile(turn, plan)
        line, second_row = tile.number, plan.sizes.ROWS
        if plan.sizes.TWIN:
            line = gl.where(tile.split, plan.work.tiles + tile.number * tile.parts + tile.part, line)
            second_row = gl.where(tile.split, 0, plan.sizes.ROWS)
        begin = gl.load(plan.lists.STARTS + line)
        count = gl.load(plan.lists.STARTS + line + 1) - begin
        if plan.sizes.SPLIT and not plan.sizes.TWIN:
            own_begin, own_end = split_steps(count, tile.part, tile.parts)
            begin, count = begin + own_begin, own_end - own_begin
        slot = turn & 1
        if turn > 1:
            named_barrier(QUERIES_EMPTY + slot, MEET_ALL)
        say_tile(tile, turn, shared, plan)
        mbarrier.expect(shared.q_full.index(slot), Q.block_type.nbytes * 2)
        for group in gl.static_range(2):
            own = shared.q.index(2 * slot + group)
            row = tile.first + group * second_row
            load_box(Q, [tile.batch, tile.head, row, 0], shared.q_full.index(slot), own)
        for step in range(count):
            entry = plan.lists.LIST + 3 * (begin + step)
            one, two, said = gl.load(entry), gl.load(entry + 1), gl.load(entry + 2)
            kind = (said // OF_ONE_GROUP) & 3
            k_slot = stage % KEY_STAGES
            if stage >= KEY_STAGES:
                _await_stage(_KEYS_EMPTY + k_slot, (kinds >> (2 * KEY_STAGES - 2)) & 3)
            place = stage % _SAID_STEPS * _SAID_WORDS
            say(said + gl.where(step == 0, FIRST, 0), shared.said, place)
            say(one, shared.said, place + 1)
            say(two, shared.said, place + 2)
            full = shared.k_full.index(kind * KEY_STAGES + k_slot)
            _load_pair(K, tile.batch, tile.kv_head, one, two, full, shared.k.index(k_slot), plan)
            _load_values(V, batch, head, first_block, second_block, stage - 1, kinds, shared, plan)
            batch, head, first_block, second_block = tile.batch, tile.kv_head, one, two
            kinds = (kinds << 2) | kind
            stage += 1
    k_slot = stage % KEY_STAGES
    if stage >= KEY_STAGES:
        _await_stage(_KEYS_EMPTY + k_slot, (kinds >> (2 * KEY_STAGES - 2)) & 3)
    say(FIRST | ENDS, shared.said, stage % _SAID_STEPS * _SAID_WORDS)
    mbarrier.arrive(shared.k_full.index(k_slot), count=1)
    _load_values(V, batch, head, first_block, second_block, stage - 1, kinds, shared, plan)


@gluon.jit
def _load_values(V, batch, head, one, two, stage, kinds, shared, plan):
    """The values of a step, which is the last of `kinds`."""
    if stage >= 0:
        slot = stage % VALUE_STAGES
        if stage >= VALUE_STAGES:
            _await_stage(_VALUES_EMPTY + slot, (kinds >> (2 * VALUE_STAGES)) & 3)
        full = shared.v_full.index((kinds & 3) * VALUE_STAGES + slot)
        _load_pair(V, batch, head, one, two, full, shared.v.index(slot), plan)


@gluon.jit
def _await_stage(number, kind):
    """Waits until the groups that had a stage have given it back."""
    if kind == 0:
        named_barrier(number, MEET_ALL)
    else:
        named_barrier(number, MEET_STORER)


@gluon.jit
def _load_pair(X, batch, head, one, two, full, to, plan):
    """Two blocks, in boxes of so many columns as a tile has side by side."""
    COLUMNS: gl.constexpr = X.block_type.shape[3]
    BOXES: gl.constexpr = plan.sizes.BLOCK_D // COLUMNS
    ROWS: gl.constexpr = X.block_type.shape[2]
    boxes = seen_as(to, X.dtype, [2 * BOXES, 1, 1, ROWS, COLUMNS], X.layout)
    mbarrier.expect(full, X.block_type.nbytes * 2 * BOXES)
    for box in gl.static_range(BOXES):
        load_box(X, [batch, head, one * ROWS, box * COLUMNS], full, boxes.index(2 * box))
        load_box(X, [batch, head, two * ROWS, box * COLUMNS], full, boxes.index(2 * box + 1))
