"""The warp of the Hopper tier that loads backward: tiles of keys and values, and stages of queries."""

from __future__ import annotations

from sparsec.kernels.hopper.backward.tiles import backward_numbers, backward_step, backward_tile, take_backward_tile
from sparsec.kernels.machine.gluon import gl, gluon, load_box, mbarrier
from sparsec.kernels.machine.sync import MEET_ALL, STAGE_EMPTY, named_barrier


@gluon.jit
def hopper_backward_load(Q, DO, K, V, STATS, shared, plan):
    """A stage holds the queries of a step, the gradients of their outputs, and the numbers of each."""
    STAGES: gl.constexpr = plan.sizes.STAGES
    COPIES: gl.constexpr = plan.sizes.STATS * plan.sizes.QUERIES // plan.sizes.STATS_AT_ONCE
    BYTES: gl.constexpr = 2 * Q.block_type.nbytes + COPIES * STATS.block_type.nbytes
    stage, turn, number = 0, 0, take_backward_tile(0, shared, plan)
    numbers = backward_numbers(plan)
    while number < numbers:
        tile = backward_tile(number, plan)
        for each in range(tile.steps * plan.sizes.GROUP):
            step = backward_step(tile, each, plan)
            s = stage % STAGES
            if stage >= STAGES:
                named_barrier(STAGE_EMPTY + s, MEET_ALL)
            full = shared.full.index(s)
            mbarrier.expect(full, BYTES)
            load_box(Q, [tile.batch, step.head, step.row, 0], full, shared.q.index(s))
            load_box(DO, [tile.batch, step.head, step.row, 0], full, shared.do.index(s))
            for copy in gl.static_range(COPIES):
                place = (step.stats * COPIES + copy) * plan.sizes.STATS_AT_ONCE
                load_box(STATS, [place], full, shared.stats.index(s * COPIES + copy))
            stage += 1
            if each == 0:  # behind the first queries, which need not wait until the tile before is done with its keys
                mbarrier.wait(shared.kv_empty, (turn & 1) ^ 1)
                mbarrier.expect(shared.kv_full, 2 * K.block_type.nbytes)
                load_box(K, [tile.batch, tile.kv_head, tile.k_row, 0], shared.kv_full, shared.k.index(0))
                load_box(V, [tile.batch, tile.kv_head, tile.k_row, 0], shared.kv_full, shared.v.index(0))
        turn += 1
        number = take_backward_tile(turn, shared, plan)
