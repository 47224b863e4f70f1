"""Device functions of the Hopper tier: the tiles of keys that a program works on in turn, and their steps.

A program takes its next tile when its loads come to it, by a ticket: one after the other, in the order in which tiles
add to dq.  So a step waits for tiles that other programs work on already, whatever the number of programs that run.
"""

from __future__ import annotations

from sparsec.kernels.hopper.backward.plan import BackwardStep, BackwardTile
from sparsec.kernels.machine.gluon import gl, gluon, mbarrier
from sparsec.kernels.machine.sync import next_number
from sparsec.kernels.tiles.own_tiles import TILE_COLUMNS

STEP_FLAGS = gl.constexpr(7)  # bits of a step's second number, before its place among those that add to dq
CLOSES = gl.constexpr(1)  # it is the last one that adds
ADDS = gl.constexpr(2)  # it is not the first one
# Every pair of the first half of the keys with the first 64 queries is kept; twice that: of the second half; four
# times: with the other 64 queries, where a tile has so many.
WHOLE_PART = gl.constexpr(4)
RAGGED_QUERIES = gl.constexpr(64)  # rows of its tile of queries belong to another of several sequences


@gluon.jit
def backward_numbers(plan):
    """How many tiles there are, of all heads."""
    tiles = plan.work.tiles
    if plan.sizes.PACKED:
        tiles = gl.load(plan.work.TILES)
    return tiles * plan.work.rows


@gluon.jit
def take_backward_tile(turn, shared, plan):
    """The number of the next tile, for the loading warp, which tells the others."""
    ONE_WARP: gl.constexpr = gl.BlockedLayout([1], [32], [1], [0])
    slot = turn & 1
    mbarrier.wait(shared.ticket_empty.index(slot), ((turn >> 1) & 1) ^ 1)
    if plan.sizes.PACKED:
        number = _take_tile_of_sequences(plan)
    else:
        number = next_number(plan.work.TICKETS)
    shared.ticket.index(slot).store(gl.full([1], number, gl.int32, ONE_WARP))
    mbarrier.arrive(shared.ticket_full.index(slot), count=1)
    return number


@gluon.jit
def _take_tile_of_sequences(plan):
    """Tiles without a step are passed over."""
    numbers = backward_numbers(plan)
    number = _tile_of_ticket(next_number(plan.work.TICKETS), numbers, plan)
    while _has_no_step(number, numbers, plan):
        number = _tile_of_ticket(next_number(plan.work.TICKETS), numbers, plan)
    return number


@gluon.jit
def _has_no_step(number, numbers, plan):
    place = gl.maximum(gl.minimum(number, numbers - 1), 0) // plan.work.rows
    return (number < numbers) & (gl.load(plan.work.RANGES + 2 * place + 1) == 0)


@gluon.jit
def _tile_of_ticket(ticket, numbers, plan):
    """The tile whose turn it is, key heads of the tile first in the list, and so on.

    Tickets are those of one sequence after the other.  Of a sequence some heads take turns, tile by tile, then the next
    ones: as many as it needs so that no more than one in some of its tiles of a head is worked on at a time.
    """
    place = gl.maximum(gl.minimum(ticket, numbers - 1), 0) // plan.work.rows
    line = plan.work.TILES + (1 + place) * TILE_COLUMNS
    k_begin, n, tile = gl.load(line + 4), gl.load(line + 5), gl.load(line + 7)
    first = gl.minimum(k_begin, n) // plan.sizes.KEYS
    before = place - (tile - first)  # tiles of earlier sequences
    tiles = gl.minimum(gl.cdiv(n, plan.sizes.KEYS) - first, gl.load(plan.work.TILES) - before)
    tiles = gl.maximum(tiles, 1)
    together = gl.minimum(gl.cdiv(plan.work.together, tiles), plan.work.rows)
    turn = ticket - before * plan.work.rows
    head = turn // (tiles * together) * together
    heads = gl.maximum(gl.minimum(together, plan.work.rows - head), 1)
    turn -= head * tiles
    place = turn // heads
    if plan.sizes.BACKWARDS:
        place = tiles - 1 - place
    number = (before + place) * plan.work.rows + head + turn % heads
    return gl.where(ticket < numbers, number, ticket)


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
    """The tile of a number."""
    if plan.sizes.PACKED:
        tile = _tile_of_sequences_backward(number, plan)
    else:
        tile = _tile_of_heads(number, plan)
    return tile


@gluon.jit
def _tile_of_heads(number, plan):
    """Some heads take turns, then the next ones."""
    first = number // (plan.work.tiles * plan.work.together) * plan.work.together
    heads = gl.minimum(plan.work.together, plan.work.rows - first)
    place = (number - first * plan.work.tiles) // heads
    row = first + (number - first * plan.work.tiles) % heads
    entry = plan.work.TILES + 3 * place
    begin, end, part = gl.load(entry + 1), gl.load(entry + 4), gl.load(entry + 2)
    tile = gl.load(entry)
    return BackwardTile(
        row // plan.work.kv_heads, row % plan.work.kv_heads, tile, begin, end - begin, part,
        tile * plan.sizes.KEYS, gl.to_tensor(0), entry,
    )  # fmt: skip


@gluon.jit
def _tile_of_sequences_backward(number, plan):
    """A tile of one of several sequences, by its place in their list."""
    place = number // plan.work.rows
    line, entry = plan.work.TILES + (1 + place) * TILE_COLUMNS, plan.work.RANGES + 2 * place
    tile = gl.load(line + 7)
    k_row = gl.load(line + 3) - gl.load(line + 4) + tile * plan.sizes.KEYS
    return BackwardTile(
        gl.load(line), number % plan.work.rows, tile, gl.load(entry), gl.load(entry + 1), gl.to_tensor(-1),
        k_row, gl.load(line + 1), line,
    )  # fmt: skip


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
    number, place = gl.load(entry), gl.load(entry + 2)
    if plan.sizes.PACKED:  # lists are those of all rows of the batch
        bh, stats = head, place
    else:
        bh, stats = tile.batch * plan.work.heads + head, number
    row = tile.q_row + number * plan.sizes.QUERIES
    return BackwardStep(bh, head, number, gl.load(entry + 1), place, row, bh * plan.work.query_tiles + stats)
