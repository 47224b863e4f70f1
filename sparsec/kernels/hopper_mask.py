"""Device functions of the Hopper tier: which scores the pattern masks."""

from __future__ import annotations

from sparsec.kernels.hopper import gl, gluon
from sparsec.kernels.hopper_plan import HopperStep
from sparsec.kernels.hopper_tiles import hopper_keys
from sparsec.kernels.regions import ask, ask_keep


@gluon.jit
def step_ahead(tile, visits, step, plan, FIRST_ROW: gl.constexpr):
    """A step, looked at before it begins: its products do not wait for that."""
    k_lo, n = hopper_keys(visits, step, plan, plan.work.n), plan.work.n
    whole = k_lo + plan.sizes.BLOCK_N <= n
    if plan.rules.KEEP is not None and not plan.rules.WHOLE:
        q_lo = plan.work.q_offset + tile.number * plan.sizes.BLOCK_M + FIRST_ROW
        whole &= _is_whole(q_lo, k_lo, plan, plan.sizes.BLOCK_N)
    return HopperStep(k_lo, whole)


@gluon.jit
def hopper_mask(s, k_lo, tile, plan, FIRST_ROW: gl.constexpr):
    """Scores of keys from k_lo on, -inf where the pattern leaves a pair out; rows: those of a tile from FIRST_ROW on.

    A mask costs as many instructions as half of the softmax, so each half of the keys is asked about by itself.  Scores
    are overwritten in place, in a branch each: with branches in branches, all would be moved, masked or not.
    """
    KEYS: gl.constexpr = plan.sizes.BLOCK_N
    if plan.rules.KEEP is not None and not plan.rules.WHOLE:
        half: gl.constexpr = KEYS // 2
        low, high = gl.split(gl.permute(gl.reshape(s, [plan.sizes.ROWS, 2, half]), [0, 2, 1]))
        low = _mask_half(low, k_lo, tile, plan, FIRST_ROW)
        high = _mask_half(high, k_lo + half, tile, plan, FIRST_ROW)
        both = gl.reshape(gl.permute(gl.join(low, high), [0, 2, 1]), [plan.sizes.ROWS, KEYS])
        s = gl.convert_layout(both, s.type.layout, assert_trivial=True)  # registers keep their places
    if k_lo + KEYS > plan.work.n:
        k = k_lo + gl.arange(0, KEYS, gl.SliceLayout(0, s.type.layout))
        s = gl.where((k < plan.work.n)[None, :], s, float("-inf"))
    return s


@gluon.jit
def _mask_half(s, k_lo, tile, plan, FIRST_ROW: gl.constexpr):
    KEYS: gl.constexpr = plan.sizes.BLOCK_N // 2
    q_lo = plan.work.q_offset + tile.number * plan.sizes.BLOCK_M + FIRST_ROW
    if not _is_whole(q_lo, k_lo, plan, KEYS):
        q = q_lo + gl.arange(0, plan.sizes.ROWS, gl.SliceLayout(1, s.type.layout))
        k = k_lo + gl.arange(0, KEYS, gl.SliceLayout(0, s.type.layout))
        at = tile.batch, tile.head, plan.work.heads
        s = gl.where(ask_keep(plan.rules, q[:, None], k[None, :], plan.work.n, at), s, float("-inf"))
    return s


@gluon.jit
def _is_whole(q_lo, k_lo, plan, KEYS: gl.constexpr):
    """Whether all pairs of a group's rows and some keys are kept."""
    whole = q_lo != q_lo
    if plan.rules.FULL is not None:
        edges = q_lo, q_lo + plan.sizes.ROWS - 1, k_lo, k_lo + KEYS - 1
        whole = ask(plan.rules.FULL, edges, (plan.work.n,), plan.rules.NUMBERS)
    return whole
