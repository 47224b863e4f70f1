"""Device functions of the Hopper tier backward: weights of a step, and which pairs the pattern leaves out."""

from __future__ import annotations

from sparsec.kernels.hopper.backward.sequences import bounds_of_tile
from sparsec.kernels.machine.device import LN_2
from sparsec.kernels.machine.gluon import gl, gluon
from sparsec.kernels.tiles.regions import ask, ask_keep
from sparsec.kernels.tiles.scores import scale_of, score_tile, there_only, through_score


@gluon.jit
def step_weights(s, lse, whole, tile, entry, head, plan, FIRST_KEY: gl.constexpr, FIRST_QUERY: gl.constexpr):
    """Weights of a group's keys and some queries, from products that are not yet scaled, and what gradients of these
    are made of: the same times slopes of the score.  0 of pairs that the pattern leaves out; `whole`: it keeps all.
    """
    FINITE: gl.constexpr = plan.rules.EXPONENT_AND_SLOPE is not None
    if FINITE:
        q, k, at = _pairs_of_step(s, tile, entry, head, plan, FIRST_KEY, FIRST_QUERY)
        _, n, _ = bounds_of_tile(tile, plan)
        given = s, plan.work.scale_log2 * LN_2, q[None, :], k[:, None], n, at[1], at[2], plan.rules.NEAR
        exponent, slope = ask(plan.rules.EXPONENT_AND_SLOPE, given, (), plan.rules.NUMBERS)
        p = gl.exp2(exponent - lse[None, :])
    elif plan.rules.SCORE is not None:
        q, k, at = _pairs_of_step(s, tile, entry, head, plan, FIRST_KEY, FIRST_QUERY)
        _, n, _ = bounds_of_tile(tile, plan)
        scale_log2 = plan.work.scale_log2
        if plan.rules.SCORE_GRADIENT is not None:
            slope = score_tile(plan.rules.SCORE_GRADIENT, s, q, k, n, at, plan.rules, scale_log2, False)
        s = score_tile(plan.rules.SCORE, s, q, k, n, at, plan.rules, scale_log2, False)
        p = there_only(gl.exp2(s * scale_of(plan.rules, scale_log2) - lse[None, :]), lse)
    else:
        p = gl.exp2(s * plan.work.scale_log2 - lse[None, :])
    if not whole:
        q, k, at = _pairs_of_step(p, tile, entry, head, plan, FIRST_KEY, FIRST_QUERY)
        _, keys, k_begin = bounds_of_tile(tile, plan)
        kept = (k < keys)[:, None]
        if plan.sizes.PACKED:
            kept &= (k >= k_begin)[:, None]
        if plan.rules.KEEP is not None:
            kept &= ask_keep(plan.rules, q[None, :], k[:, None], keys, at)
        p = gl.where(kept, p, 0.0)
    sloped = p
    if FINITE:
        sloped = p * slope
    elif plan.rules.SCORE_GRADIENT is not None:
        sloped = through_score(p, slope)
    return p, sloped


@gluon.jit
def _pairs_of_step(like, tile, entry, head, plan, FIRST_KEY: gl.constexpr, FIRST_QUERY: gl.constexpr):
    """Some queries and a group's keys of a step, beside the columns and rows of `like`; and the place of its pairs."""
    k = tile.number * plan.sizes.KEYS + FIRST_KEY + gl.arange(0, like.shape[0], gl.SliceLayout(1, like.type.layout))
    q_offset, _, _ = bounds_of_tile(tile, plan)
    q = q_offset + gl.load(entry) * plan.sizes.QUERIES + FIRST_QUERY
    q += gl.arange(0, like.shape[1], gl.SliceLayout(0, like.type.layout))
    return q, k, (tile.batch, head, plan.work.heads)
