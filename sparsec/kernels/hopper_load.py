"""The warp of the Hopper tier that loads: tiles of queries, and stages of keys and values, by the copy engine."""

from __future__ import annotations

from sparsec.kernels.hopper import gl, gluon, load_box, mbarrier
from sparsec.kernels.hopper_tiles import LEAST_STEPS, hopper_keys, hopper_tile, hopper_turns, hopper_walk


@gluon.jit
def hopper_load(Q, K, V, shared, plan):
    """A stage holds the keys of a step and the values of the one before, of the tile before where it is the first."""
    STAGES: gl.constexpr = plan.sizes.STAGES
    batch, head, row, stage = 0, 0, 0, 0
    for turn in range(hopper_turns(plan)):
        tile = hopper_tile(turn, plan)
        visits = hopper_walk(tile, plan)
        slot, first = turn & 1, tile.number * plan.sizes.BLOCK_M
        mbarrier.wait(shared.q_empty.index(slot), ((turn >> 1) & 1) ^ 1)
        mbarrier.expect(shared.q_full.index(slot), Q.block_type.nbytes * 2)
        load_box(Q, [tile.batch, tile.head, first, 0], shared.q_full.index(slot), shared.q.index(2 * slot))
        first += plan.sizes.ROWS
        load_box(Q, [tile.batch, tile.head, first, 0], shared.q_full.index(slot), shared.q.index(2 * slot + 1))
        for step in range(gl.maximum(visits.count, LEAST_STEPS)):
            place, s = hopper_keys(visits, step, plan, 0), stage % STAGES
            mbarrier.wait(shared.empty.index(s), ((stage // STAGES) & 1) ^ 1)
            mbarrier.expect(shared.full.index(s), K.block_type.nbytes * 2)
            load_box(K, [tile.batch, tile.kv_head, place, 0], shared.full.index(s), shared.k.index(s))
            load_box(V, [batch, head, row, 0], shared.full.index(s), shared.v.index(s))
            batch, head, row = tile.batch, tile.kv_head, place
            stage += 1
    s = stage % STAGES
    mbarrier.wait(shared.empty.index(s), ((stage // STAGES) & 1) ^ 1)
    mbarrier.expect(shared.full.index(s), V.block_type.nbytes)
    load_box(V, [batch, head, row, 0], shared.full.index(s), shared.v.index(s))
