"""Device functions of the Hopper tier backward: weights of a step, and which pairs the pattern leaves out."""

from __future__ import annotations

from sparsec.kernels.hopper.backward.sequences import bounds_of_tile
from sparsec.kernels.machine.device import LN_2, tl
from sparsec.kernels.machine.gluon import gl, gluon
from sparsec.kernels.tiles.dropout import kept_by_hash
from sparsec.kernels.tiles.regions import ask, ask_keep
from sparsec.kernels.tiles.scores import scale_of, score_tile, there_only, through_score

# max(s, 0) * dp - abs(s) * delta, written so that neither the maximum, which weights are, nor the product of delta can
# be kept from before dp is there: registers have no room for a second number of each pair.
_SIGNED_GRADIENT = gl.constexpr("""{
    .reg .f32 dropped, all;
    neg.f32 dropped, $1;
    min.NaN.f32 dropped, dropped, 0f00000000;
    mul.rn.f32 dropped, dropped, $2;
    neg.f32 dropped, dropped;
    abs.f32 all, $1;
    neg.f32 all, all;
    fma.rn.f32 $0, all, $3, dropped;
}""")


@gluon.jit
def step_weights(
    s, lse, stage, whole, tile, entry, head, shared, plan, FIRST_KEY: gl.constexpr, FIRST_QUERY: gl.constexpr
):  # fmt: skip
    """Weights of a group's keys and some queries, from products that are not yet scaled, and what `gradients_of_scores`
    takes.  0 of pairs that the pattern leaves out; `whole`: it keeps all.

    The latter are weights times slopes of the score.  Where weights are dropped and a score has no slope, they are
    below 0 of pairs that are dropped: so one number for a pair says both until gradients need it.
    """
    FINITE: gl.constexpr = plan.rules.EXPONENT_AND_SLOPE is not None
    SLOPED: gl.constexpr = FINITE or plan.rules.SCORE_GRADIENT is not None
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
    if plan.sizes.STATS == 3:
        kept = _dropout_keeps(p, stage, tile, shared, plan, FIRST_KEY, FIRST_QUERY)
        if SLOPED:
            p = gl.where(kept, p, 0.0)
        else:
            sloped = gl.where(kept, p, -p)
            p = _not_dropped(sloped)
    return p, sloped


@gluon.jit
def gradients_of_scores(
    sloped, dp, delta, stage, tile, shared, plan, FIRST_KEY: gl.constexpr, FIRST_QUERY: gl.constexpr
):  # fmt: skip
    """Gradients of scores, from what `step_weights` returns, gradients of weights before any is dropped, and deltas."""
    SLOPED: gl.constexpr = plan.rules.EXPONENT_AND_SLOPE is not None or plan.rules.SCORE_GRADIENT is not None
    if plan.sizes.STATS == 3 and SLOPED:
        # Which are dropped is computed once more: registers have no room for the answers meanwhile.
        dp = gl.where(_dropout_keeps(dp, stage, tile, shared, plan, FIRST_KEY, FIRST_QUERY), dp, 0.0)
        ds = sloped * (dp - delta[None, :])
    elif plan.sizes.STATS == 3:
        delta = gl.broadcast(delta[None, :], dp)[0]
        ds = gl.inline_asm_elementwise(
            _SIGNED_GRADIENT, "=f,f,f,f", [sloped, dp, delta], dtype=gl.float32, is_pure=False, pack=1
        )
    else:
        ds = sloped * (dp - delta[None, :])
    return ds


@gluon.jit
def numbers_of_queries(shared, stage, NUMBER: gl.constexpr, FIRST_QUERY: gl.constexpr, plan, LAYOUT: gl.constexpr):
    """Numbers of 64 queries of a stage: 0: log-sum-exps, 1: deltas, 2: words, as `BackwardSizes.STATS` says."""
    COPIES: gl.constexpr = plan.sizes.STATS * plan.sizes.QUERIES // plan.sizes.STATS_AT_ONCE
    PLACE: gl.constexpr = NUMBER * plan.sizes.QUERIES + FIRST_QUERY
    own = shared.stats.index(stage * COPIES + PLACE // plan.sizes.STATS_AT_ONCE)
    return own.slice(PLACE % plan.sizes.STATS_AT_ONCE, 64).load(LAYOUT)


@gluon.jit
def _dropout_keeps(like, stage, tile, shared, plan, FIRST_KEY: gl.constexpr, FIRST_QUERY: gl.constexpr):
    """Which weights of a group's keys and some queries dropout keeps."""
    KEYS: gl.constexpr = like.shape[0]
    words = numbers_of_queries(shared, stage, 2, FIRST_QUERY, plan, gl.SliceLayout(0, like.type.layout))
    k, k_lo = gl.arange(0, KEYS, gl.SliceLayout(1, like.type.layout)), tile.number * plan.sizes.KEYS + FIRST_KEY
    words = words.to(gl.uint32, bitcast=True)
    return kept_by_hash(words, k, k_lo, plan.work.drop_below, True, KEYS, False)


@gluon.jit
def _not_dropped(signed):
    """Weights, 0 of pairs that are dropped; what is no number stays none."""
    return gl.maximum(signed, 0.0, propagate_nan=tl.PropagateNan.ALL)


@gluon.jit
def _pairs_of_step(like, tile, entry, head, plan, FIRST_KEY: gl.constexpr, FIRST_QUERY: gl.constexpr):
    """Some queries and a group's keys of a step, beside the columns and rows of `like`; and the place of its pairs."""
    k = tile.number * plan.sizes.KEYS + FIRST_KEY + gl.arange(0, like.shape[0], gl.SliceLayout(1, like.type.layout))
    q_offset, _, _ = bounds_of_tile(tile, plan)
    q = q_offset + gl.load(entry) * plan.sizes.QUERIES + FIRST_QUERY
    q += gl.arange(0, like.shape[1], gl.SliceLayout(0, like.type.layout))
    return q, k, (tile.batch, head, plan.work.heads)
