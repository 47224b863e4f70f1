"""Device functions of the Hopper tier: the tiles of keys that a program works on in turn, and their steps.

A program takes its next tile when its loads come to it, by a ticket: one after the other, in the order in which tiles
add to dq.  So a step waits for tiles that other programs work on already, whatever the number of programs that run.
"""

from __future__ import annotations

from sparsec.kernels.hopper import gl, gluon, mbarrier
from sparsec.kernels.hopper_backward_plan import BackwardStep, BackwardTile
from sparsec.kernels.hopper_sync import next_number

STEP_FLAGS = gl.constexpr(4)  # bits of a step's second number, before its place among those that add to dq
CLOSES = gl.constexpr(1)  # it is the last one that adds
ADDS = gl.constexpr(2)  # it is not the first one
WHOLE_HALF = gl.constexpr(4)  # every pair with the first half of the keys is kept; twice that: with the second


@gluon.jit
def take_backward_tile(turn, shared, plan):
    """The number of the next tile, for the loading warp, which tells the others."""
    ONE_WARP: gl.constexpr = gl.BlockedLayout([1], [32], [1], [0])
    slot = turn & 1
    mbarrier.wait(shared.ticket_empty.index(slot), ((turn >> 1) & 1) ^ 1)
    number = next_number(plan.work.TICKETS)
    shared.ticket.index(slot).store(gl.full([1], number, gl.int32, ONE_WARP))
    mbarrier.arrive(shared.ticket_full.index(slot), count=1)
    return number


@gluon.jit
def taken_backward_tile(turn, shared, WARPS: gl.constexpr):
    """The number of that tile, for other warps."""
    LAYOUT: gl.constexpr = gl.BlockedLayout([1], [32], [WARPS], [0])
    slot = turn & 1
    mbarrier.wait(shared.ticket_full.index(slot), (turn >> 1) & 1)
    number = gl.max(shared.ticket.index(slot).load(LAYOUT), 0)
    mbarrier.arrive(shared.ticket_empty.index(slot), count=1)
    return number


@gluon.jit
def backward_tile(number, plan):
    """The tile of a number: some heads take turns, then the next ones."""
    first = number // (plan.work.tiles * plan.work.together) * plan.work.together
    heads = gl.minimum(plan.work.together, plan.work.rows - first)
    place = (number - first * plan.work.tiles) // heads
    row = first + (number - first * plan.work.tiles) % heads
    entry = plan.work.TILES + 3 * place
    begin, end, part = gl.load(entry + 1), gl.load(entry + 4), gl.load(entry + 2)
    return BackwardTile(row // plan.work.kv_heads, row % plan.work.kv_heads, gl.load(entry), begin, end - begin, part)


@gluon.jit
def backward_entry(tile, turn, plan):
    """Where a step of a tile stands in the table, and its query head: all steps of one head, then those of the next."""
    head, step = tile.kv_head * plan.sizes.GROUP, turn
    if plan.sizes.GROUP > 1:
        head += turn // tile.steps
        step = turn % tile.steps
    return plan.work.STEPS + 3 * (tile.begin + step), head


@gluon.jit
def backward_step(tile, turn, plan):
    """A step of a tile."""
    entry, head = backward_entry(tile, turn, plan)
    return BackwardStep(
        tile.batch * plan.work.heads + head, head, gl.load(entry), gl.load(entry + 1), gl.load(entry + 2)
    )
