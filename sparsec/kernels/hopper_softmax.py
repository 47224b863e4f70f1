"""Device functions of the Hopper tier: products, and the softmax that runs beside them."""

from __future__ import annotations

from sparsec.kernels.hopper import gl, gluon, mbarrier, warpgroup_mma, warpgroup_mma_wait
from sparsec.kernels.hopper_mask import hopper_mask


@gluon.jit
def stored_matrix(shared, place):
    """Rows and columns of a tile in shared memory."""
    return shared.index(place).reshape([shared.shape[3], shared.shape[4]])


@gluon.jit
def scores_of(shared, slot, stage, plan):
    """The product of a group's queries and keys of a stage, in flight."""
    ROWS: gl.constexpr = plan.sizes.ROWS
    KEYS: gl.constexpr = plan.sizes.BLOCK_N
    LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, KEYS, 16])
    q, k = stored_matrix(shared.q, slot), stored_matrix(shared.k, stage)
    zeros = gl.zeros([ROWS, KEYS], gl.float32, LAYOUT)
    return warpgroup_mma(q, k.permute((1, 0)), zeros, use_acc=False, is_async=True)


@gluon.jit
def first_weights(s, ahead, tile, plan, FIRST_ROW: gl.constexpr):
    """Weights, maximum and sums of the first step of a tile."""
    if not ahead.whole:
        s = hopper_mask(s, ahead.k_lo, tile, plan, FIRST_ROW)
    m_i = gl.maximum(gl.max(s, 1) * plan.scale_log2, -1.0e30)  # finite, as in `softmax_start`
    p = gl.exp2(s * plan.scale_log2 - m_i[:, None])
    return p, gl.convert_layout(m_i, gl.SliceLayout(1, plan.sizes.OUT), assert_trivial=True), _lane_sums(p)


@gluon.jit
def next_weights(s, m_i, l_i, ahead, tile, plan, FIRST_ROW: gl.constexpr):
    """Weights of a step, what earlier sums are to be multiplied with, maximum and sums."""
    s = warpgroup_mma_wait(1, deps=[s])
    if not ahead.whole:
        s = hopper_mask(s, ahead.k_lo, tile, plan, FIRST_ROW)
    row_max = gl.convert_layout(gl.max(s, 1), m_i.type.layout, assert_trivial=True)
    m_new = gl.maximum(m_i, row_max * plan.scale_log2)
    p = gl.exp2(s * plan.scale_log2 - _rows_of(m_new, s))
    alpha = gl.exp2(m_i - m_new)
    l_i = l_i * _rows_of(alpha, l_i) + gl.convert_layout(_lane_sums(p), l_i.type.layout, assert_trivial=True)
    return p, alpha, m_new, l_i


@gluon.jit
def after_values(p, acc, stage, more, shared, plan):
    """The weights of a step as the next product takes them, and the sums of values, which were in flight.

    `more`: whether another stage follows, which is waited for.
    """
    STAGES: gl.constexpr = plan.sizes.STAGES
    # The end of a basic block: without it, ptxas moves the wait for the values before the exponentials.
    mbarrier.wait(shared.full.index((stage + 1) % STAGES), ((stage + 1) // STAGES) & 1, pred=more)
    acc = warpgroup_mma_wait(0, deps=[acc])
    mbarrier.arrive(shared.empty.index(stage % STAGES), count=1)
    return gl.convert_layout(p.to(shared.q.dtype), plan.sizes.WEIGHTS), acc


@gluon.jit
def _lane_sums(p):
    """Sums over those columns of each row that a thread holds: [rows, 4]."""
    return gl.sum(gl.sum(gl.reshape(p, [p.shape[0], p.shape[1] // 8, 4, 2]), 3), 1)


@gluon.jit
def _rows_of(x, like):
    """A number of each row beside the columns of `like`."""
    return gl.convert_layout(x, gl.SliceLayout(1, like.type.layout), assert_trivial=True)[:, None]
