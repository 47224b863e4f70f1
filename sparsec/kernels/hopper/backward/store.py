"""The warps of the Hopper tier that store backward: one for each group, which it stores its half of dq for, dv and dk.

Steps add to dq in an order that is known before: each waits for its turn, so that results are the same bit for bit.
The first one stores instead, and the last one gets what others added, adds its own, and stores the result.  Where a
call leaves the order free, those between the two wait for the first one only.
"""

from __future__ import annotations

from sparsec.kernels.hopper.backward.sequences import is_ragged_tile
from sparsec.kernels.hopper.backward.tiles import (
    ADDS,
    CLOSES,
    RAGGED_QUERIES,
    STEP_FLAGS,
    backward_numbers,
    backward_step,
    backward_tile,
    taken_backward_tile,
)
from sparsec.kernels.machine.gluon import add_box, gl, gluon, load_box, mbarrier, seen_as, store_box, store_wait
from sparsec.kernels.machine.sync import MEET_STORER, await_count, count_up, named_barrier, says, stores_complete

SLOT_FULL = gl.constexpr(10)  # the first of the named barriers at which a group says that its slot is to be stored


@gluon.jit
def hopper_backward_store(GROUP: gl.constexpr, SUMS, DQ, DK, DV, shared, plan):
    """What a warp stores for its group."""
    LINES: gl.constexpr = plan.sizes.LINES
    FIRST_COLUMN: gl.constexpr = GROUP * plan.sizes.SECOND_COLUMN
    own_slot, empty, sum_full = shared.slots.index(GROUP), shared.slot_empty.index(GROUP), shared.sum_full.index(GROUP)
    as_dq = seen_as(own_slot, DQ.dtype, DQ.block_type.shape, DQ.layout)
    as_dk = seen_as(own_slot, DK.dtype, DK.block_type.shape, DK.layout)
    turn, number = 0, taken_backward_tile(0, shared, 1)
    numbers = backward_numbers(plan)
    while number < numbers:
        tile = backward_tile(number, plan)
        for each in range(tile.steps * plan.sizes.GROUP):
            step = backward_step(tile, each, plan)
            closes = says(step.said, CLOSES)
            place = (step.bh * plan.work.sums + step.sum) * 2 + GROUP
            before = step.said >> STEP_FLAGS
            if not plan.sizes.ORDERED:
                before = gl.where(closes, before, gl.minimum(before, 1))
            await_count(plan.work.VISITS + place, before)
            if closes:  # the sum of others; where there are none, what it gets is not used
                mbarrier.expect(sum_full, SUMS.block_type.nbytes)
                load_box(SUMS, [place * LINES, 0], sum_full, own_slot)
            else:
                mbarrier.arrive(sum_full, count=1)
            named_barrier(SLOT_FULL + GROUP, MEET_STORER)
            if closes:
                if not plan.sizes.PACKED or not says(step.said, RAGGED_QUERIES):
                    row = step.row + GROUP * plan.sizes.SECOND_ROW
                    store_box(DQ, [tile.batch, step.head, row, FIRST_COLUMN], as_dq)
            else:
                if says(step.said, ADDS):
                    add_box(SUMS, [place * LINES, 0], own_slot)
                else:
                    store_box(SUMS, [place * LINES, 0], own_slot)
            store_wait(0)
            mbarrier.arrive(empty, count=1)
            stores_complete()
            count_up(plan.work.VISITS + place)
        if tile.part < 0:
            _store_keys(DV, as_dk, tile, empty, sum_full, plan, GROUP)
            _store_keys(DK, as_dk, tile, empty, sum_full, plan, GROUP)
        turn += 1
        number = taken_backward_tile(turn, shared, 1)
    stores_complete()


@gluon.jit
def _store_keys(BOX, slot, tile, empty, sum_full, plan, GROUP: gl.constexpr):
    """Stores a group's rows of dv or dk."""
    mbarrier.arrive(sum_full, count=1)  # so that uses of the slot are the phases of both barriers
    named_barrier(SLOT_FULL + GROUP, MEET_STORER)
    if not plan.sizes.PACKED or not is_ragged_tile(tile, plan):
        row = tile.k_row + GROUP * (plan.sizes.KEYS // 2)
        store_box(BOX, [tile.batch, tile.kv_head, row, 0], slot)
    store_wait(0)
    mbarrier.arrive(empty, count=1)
