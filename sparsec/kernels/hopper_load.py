"""The warp of the Hopper tier that loads: tiles of queries, and stages of keys and values, by the copy engine.

It also knows which steps there are, and which of them need a mask, and says so beside what it loads.
"""

from __future__ import annotations

from sparsec.kernels.hopper import gl, gluon, load_box, mbarrier
from sparsec.kernels.hopper_sync import MEET_ALL, QUERIES_EMPTY, STAGE_EMPTY, named_barrier
from sparsec.kernels.hopper_tiles import (
    ENDS,
    FIRST,
    hopper_step,
    hopper_tile,
    hopper_turns,
    hopper_walk,
    say,
    say_tile,
)


@gluon.jit
def hopper_load(Q, K, V, shared, plan):
    """A stage holds the keys of a step and the values of the one before, of the tile before where it is the first.

    Tiles without a step get one in which every pair is masked.
    """
    STAGES: gl.constexpr = plan.sizes.STAGES
    batch, head, row, stage = 0, 0, 0, 0
    for turn in range(hopper_turns(plan)):
        tile = hopper_tile(turn, plan)
        visits = hopper_walk(tile, plan)
        slot, first = turn & 1, tile.first
        if turn > 1:
            named_barrier(QUERIES_EMPTY + slot, MEET_ALL)
        say_tile(tile, turn, shared, plan)
        mbarrier.expect(shared.q_full.index(slot), Q.block_type.nbytes * 2)
        load_box(Q, [tile.batch, tile.head, first, 0], shared.q_full.index(slot), shared.q.index(2 * slot))
        first += plan.sizes.ROWS
        load_box(Q, [tile.batch, tile.head, first, 0], shared.q_full.index(slot), shared.q.index(2 * slot + 1))
        for step in range(gl.maximum(visits.count, 1)):
            k_lo, said = hopper_step(visits, tile, step, plan)
            place = tile.k_first + k_lo
            s = stage % STAGES
            if stage >= STAGES:
                named_barrier(STAGE_EMPTY + s, MEET_ALL)
            say(said, shared.said, s)
            mbarrier.expect(shared.full.index(s), K.block_type.nbytes * 2)
            load_box(K, [tile.batch, tile.kv_head, place, 0], shared.full.index(s), shared.k.index(s))
            load_box(V, [batch, head, row, 0], shared.full.index(s), shared.v.index(s))
            batch, head, row = tile.batch, tile.kv_head, place
            stage += 1
    s = stage % STAGES
    if stage >= STAGES:
        named_barrier(STAGE_EMPTY + s, MEET_ALL)
    say(FIRST | ENDS, shared.said, s)
    mbarrier.expect(shared.full.index(s), V.block_type.nbytes)
    load_box(V, [batch, head, row, 0], shared.full.index(s), shared.v.index(s))
