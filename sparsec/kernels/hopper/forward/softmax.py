"""Device functions of the Hopper tier: products, and the softmax that runs beside them."""

from __future__ import annotations

from sparsec.kernels.hopper.forward.mask import hopper_ask, hopper_mask, hopper_tilt, keys_there
from sparsec.kernels.hopper.forward.tiles import FIRST, MASKS, RAGGED, SAID_FLAGS
from sparsec.kernels.machine.gluon import fence_async_shared, gl, gluon, warpgroup_mma, warpgroup_mma_wait
from sparsec.kernels.machine.sync import MEET_GROUPS, MEET_THREE_GROUPS, VALUES_CLEARED, named_barrier, says

NO_MAXIMUM = gl.constexpr(-1.0e30)  # finite, as in `softmax_start`


@gluon.jit
def stored_matrix(shared, place):
    """Rows and columns of a tile in shared memory."""
    return shared.index(place).reshape([shared.shape[3], shared.shape[4]])


@gluon.jit
def scores_of(shared, slot, stage, plan):
    """The product of a group's queries and keys of a stage, in flight."""
    ROWS: gl.constexpr = plan.sizes.ROWS
    KEYS: gl.constexpr = plan.sizes.BLOCK_N
    q, k = stored_matrix(shared.q, slot), stored_matrix(shared.k, stage)
    zeros = gl.zeros([ROWS, KEYS], gl.float32, plan.sizes.SCORES)
    return warpgroup_mma(q, k.permute((1, 0)), zeros, use_acc=False, is_async=True)


@gluon.jit
def no_sums(plan):
    """The maximum of a group's rows and the sums of their weights, of each thread, before the first step."""
    START: gl.constexpr = NO_MAXIMUM if plan.rules.WEIGHT is None else 0.0
    m_i = gl.full([plan.sizes.ROWS], START, gl.float32, gl.SliceLayout(1, plan.sizes.OUT))
    return m_i, _lane_sums(gl.zeros([plan.sizes.ROWS, plan.sizes.BLOCK_N], gl.float32, plan.sizes.SCORES))


@gluon.jit
def next_weights(s, m_i, l_i, said, turn, shared, plan, GROUP: gl.constexpr):
    """Weights of a step, what earlier sums are to be multiplied with, maximum and sums.

    In the first step of a tile, what is before belongs to another one, and is left as it is.  Where the pattern says
    WEIGHT, 0 stands for the maximum, and earlier sums stay as they are.
    """
    s, scale = warpgroup_mma_wait(1, deps=[s]), plan.scale_log2
    if plan.rules.WEIGHT is not None:
        p = hopper_ask(plan.rules.WEIGHT, s, said, turn, shared, plan, GROUP)
        if says(said, RAGGED | (3 * MASKS) << (2 * GROUP)):
            p = hopper_mask(p, 0.0, said, turn, shared, plan, GROUP)
        l_i = gl.where(says(said, FIRST), 0.0, l_i)
        return p, m_i, m_i, l_i + gl.convert_layout(_lane_sums(p), l_i.type.layout, assert_trivial=True)
    if plan.rules.SCORE is not None:
        s, scale = hopper_ask(plan.rules.SCORE, s, said, turn, shared, plan, GROUP), 1.0
    if plan.rules.TILT is not None:
        s, rise = hopper_tilt(s * scale, said, turn, shared, plan, GROUP)
    if says(said, RAGGED | (3 * MASKS) << (2 * GROUP)):
        s = hopper_mask(s, float("-inf"), said, turn, shared, plan, GROUP)
    first = says(said, FIRST)
    l_i = gl.where(first, 0.0, l_i)
    row_max = gl.convert_layout(gl.max(s, 1), m_i.type.layout, assert_trivial=True)
    m_i = gl.where(first, NO_MAXIMUM, m_i)
    if plan.rules.TILT is not None:
        m_new = gl.maximum(m_i, row_max + rise)
        p = gl.exp2(s - _rows_of(m_new - rise, s))
    else:
        m_new = gl.maximum(m_i, row_max * scale)
        p = gl.exp2(s * scale - _rows_of(m_new, s))
    alpha = gl.exp2(m_i - m_new)
    l_i = l_i * _rows_of(alpha, l_i) + gl.convert_layout(_lane_sums(p), l_i.type.layout, assert_trivial=True)
    return p, gl.where(first, 1.0, alpha), m_new, l_i


@gluon.jit
def clear_values(shared, stage, said, turn, plan, GROUP: gl.constexpr):
    """Values of a step, by what was said of it, become 0 where they are those of another sequence.

    They may be no numbers, which weights of 0 would not hide.  Two groups have half of them each, and all wait.
    """
    half: gl.constexpr = plan.sizes.BLOCK_N // 2
    LAYOUT: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    if GROUP < 2:
        k = (said >> SAID_FLAGS) * plan.sizes.BLOCK_N + GROUP * half + gl.arange(0, half, gl.SliceLayout(1, LAYOUT))
        own = stored_matrix(shared.v, stage).slice(GROUP * half, half)
        x = own.load(LAYOUT)
        own.store(gl.where(keys_there(k, turn, shared, plan)[:, None], x, gl.zeros_like(x)))
        fence_async_shared()
    named_barrier(VALUES_CLEARED, MEET_GROUPS if plan.sizes.GROUPS == 2 else MEET_THREE_GROUPS)


@gluon.jit
def _lane_sums(p):
    """Sums over those columns of each row that a thread holds: [rows, 4]."""
    return gl.sum(gl.sum(gl.reshape(p, [p.shape[0], p.shape[1] // 8, 4, 2]), 3), 1)


@gluon.jit
def _rows_of(x, like):
    """A number of each row beside the columns of `like`."""
    return gl.convert_layout(x, gl.SliceLayout(1, like.type.layout), assert_trivial=True)[:, None]
