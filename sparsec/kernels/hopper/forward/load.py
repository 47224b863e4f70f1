"""The warp of the Hopper tier that loads: tiles of queries, and stages of keys and values, by the copy engine.

It also knows which steps there are, and which of them need a mask, and says so beside what it loads.
"""

from __future__ import annotations

from sparsec.kernels.hopper.forward.tiles import (
    ENDS,
    FIRST,
    end_turns,
    hopper_number,
    hopper_step,
    hopper_tile,
    hopper_walk,
    no_turn,
    say,
    say_tile,
    turn_after,
)
from sparsec.kernels.machine.gluon import gl, gluon, load_box, mbarrier
from sparsec.kernels.machine.sync import QUERIES_EMPTY, STAGE_EMPTY, await_groups


@gluon.jit
def hopper_load(Q, K, V, shared, plan):
    """A stage holds the keys of a step and the values of the one before, of the tile before where it is the first.

    Tiles without a step get one in which every pair is masked.
    """
    STAGES: gl.constexpr = plan.sizes.STAGES
    GROUPS: gl.constexpr = plan.sizes.GROUPS
    batch, head, row, stage = 0, 0, 0, 0
    turn, own_turn, end = 0, turn_after(-1, plan), no_turn(plan)
    while own_turn < end:
        number, next_turn = hopper_number(own_turn, plan), turn_after(own_turn, plan)
        if number >= 0:
            tile = hopper_tile(number, plan)
            visits = hopper_walk(tile, plan)
            slot, first = turn & 1, tile.first
            if turn > 1:
                await_groups(QUERIES_EMPTY + slot, GROUPS)
            say_tile(tile, turn, shared, plan)
            mbarrier.expect(shared.q_full.index(slot), Q.block_type.nbytes * GROUPS)
            for group in gl.static_range(GROUPS):
                row_of_q = first + group * plan.sizes.ROWS
                own = shared.q.index(GROUPS * slot + group)
                load_box(Q, [tile.batch, tile.head, row_of_q, 0], shared.q_full.index(slot), own)
            for step in range(gl.maximum(visits.count, 1)):
                k_lo, said = hopper_step(visits, tile, step, plan)
                place = tile.k_first + k_lo
                s = stage % STAGES
                if stage >= STAGES:
                    await_groups(STAGE_EMPTY + s, GROUPS)
                say(said, shared.said, s)
                mbarrier.expect(shared.full.index(s), K.block_type.nbytes * 2)
                load_box(K, [tile.batch, tile.kv_head, place, 0], shared.full.index(s), shared.k.index(s))
                load_box(V, [batch, head, row, 0], shared.full.index(s), shared.v.index(s))
                batch, head, row = tile.batch, tile.kv_head, place
                stage += 1
            turn += 1
        own_turn = next_turn
    end_turns(own_turn, end, plan)
    s = stage % STAGES
    if stage >= STAGES:
        await_groups(STAGE_EMPTY + s, GROUPS)
    say(FIRST | ENDS, shared.said, s)
    mbarrier.expect(shared.full.index(s), V.block_type.nbytes)
    load_box(V, [batch, head, row, 0], shared.full.index(s), shared.v.index(s))
