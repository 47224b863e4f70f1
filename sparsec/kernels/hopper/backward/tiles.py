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

# What the loading warp tells the others of a tile, in shared memory.
TICKET_FIELDS = gl.constexpr(9)
_TICKET_STEPS, _TICKET_BATCH, _TICKET_HEAD = gl.constexpr(0), gl.constexpr(1), gl.constexpr(2)
_TICKET_NUMBER, _TICKET_BEGIN, _TICKET_ROW = gl.constexpr(3), gl.constexpr(4), gl.constexpr(5)
_TICKET_PART, _TICKET_QUERY_ROW, _TICKET_PLACE = gl.constexpr(6), gl.constexpr(7), gl.constexpr(8)


@gluon.jit
def backward_numbers(plan):
    """How many tiles there are, of all heads."""
    tiles = plan.work.tiles
    if plan.sizes.PACKED:
        tiles = gl.load(plan.work.TILES)
    return tiles * plan.work.rows


@gluon.jit
def take_backward_tile(plan):
    """The number of the next tile, for the loading warp, which tells the others what they need of it."""
    if plan.sizes.PACKED:
        number = _take_tile_of_sequences(plan)
    else:
        number = next_number(plan.work.TICKETS)
    return number


@gluon.jit
def tell_backward_tile(tile, turn, shared, plan):
    """Tells the other warps about the next tile."""
    slot = turn & 1
    mbarrier.wait(shared.ticket_empty.index(slot), ((turn >> 1) & 1) ^ 1)
    _write_ticket(tile.steps, _TICKET_STEPS, slot, shared)
    _write_ticket(tile.batch, _TICKET_BATCH, slot, shared)
    _write_ticket(tile.kv_head, _TICKET_HEAD, slot, shared)
    _write_ticket(tile.number, _TICKET_NUMBER, slot, shared)
    _write_ticket(tile.begin, _TICKET_BEGIN, slot, shared)
    _write_ticket(tile.k_row, _TICKET_ROW, slot, shared)
    if plan.sizes.PACKED:
        _write_ticket(tile.q_row, _TICKET_QUERY_ROW, slot, shared)
        _write_ticket(tile.place, _TICKET_PLACE, slot, shared)
    else:
        _write_ticket(tile.part, _TICKET_PART, slot, shared)
    mbarrier.arrive(shared.ticket_full.index(slot), count=1)


@gluon.jit
def tell_no_tile(turn, shared):
    """Tells the other warps that none is left."""
    slot = turn & 1
    mbarrier.wait(shared.ticket_empty.index(slot), ((turn >> 1) & 1) ^ 1)
    _write_ticket(0, _TICKET_STEPS, slot, shared)
    mbarrier.arrive(shared.ticket_full.index(slot), count=1)


@gluon.jit
def _write_ticket(x, FIELD: gl.constexpr, slot, shared):
    ONE_WARP: gl.constexpr = gl.BlockedLayout([1], [32], [1], [0])
    shared.ticket.index(slot * TICKET_FIELDS + FIELD).store(gl.full([1], x, gl.int32, ONE_WARP))


@gluon.jit
def await_backward_tile(turn, shared, WARPS: gl.constexpr):
    """How many steps the next tile has, for other warps; 0: there is none."""
    slot = turn & 1
    mbarrier.wait(shared.ticket_full.index(slot), (turn >> 1) & 1)
    return _read_ticket(_TICKET_STEPS, slot, shared, WARPS)


@gluon.jit
def told_backward_tile(turn, shared, plan, WARPS: gl.constexpr):
    """That tile, once it is there."""
    slot = turn & 1
    steps = _read_ticket(_TICKET_STEPS, slot, shared, WARPS)
    batch = _read_ticket(_TICKET_BATCH, slot, shared, WARPS)
    kv_head = _read_ticket(_TICKET_HEAD, slot, shared, WARPS)
    number = _read_ticket(_TICKET_NUMBER, slot, shared, WARPS)
    begin = _read_ticket(_TICKET_BEGIN, slot, shared, WARPS)
    k_row = _read_ticket(_TICKET_ROW, slot, shared, WARPS)
    if plan.sizes.PACKED:
        part = gl.to_tensor(-1)
        q_row = _read_ticket(_TICKET_QUERY_ROW, slot, shared, WARPS)
        place = _read_ticket(_TICKET_PLACE, slot, shared, WARPS)
    else:
        part = _read_ticket(_TICKET_PART, slot, shared, WARPS)
        q_row, place = gl.to_tensor(0), gl.to_tensor(0)
    mbarrier.arrive(shared.ticket_empty.index(slot), count=1)
    return BackwardTile(batch, kv_head, number, begin, steps, part, k_row, q_row, place)


@gluon.jit
def _read_ticket(FIELD: gl.constexpr, slot, shared, WARPS: gl.constexpr):
    LAYOUT: gl.constexpr = gl.BlockedLayout([1], [32], [WARPS], [0])
    return gl.max(shared.ticket.index(slot * TICKET_FIELDS + FIELD).load(LAYOUT), 0)


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
        tile * plan.sizes.KEYS, gl.to_tensor(0), place,
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
        k_row, gl.load(line + 1), place,
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
    number, said, place = read_backward_step(tile, turn, plan)
    return backward_step_of(number, said, place, tile, turn, plan)


@gluon.jit
def read_backward_step(tile, turn, plan):
    """The line of the table about a step."""
    entry, _ = backward_entry(tile, turn, plan)
    return gl.load(entry), gl.load(entry + 1), gl.load(entry + 2)


@gluon.jit
def backward_step_of(number, said, place, tile, turn, plan):
    """The step that a line of the table is about."""
    _, head = backward_entry(tile, turn, plan)
    if plan.sizes.PACKED:  # lists are those of all rows of the batch
        bh, stats = head, place
    else:
        bh, stats = tile.batch * plan.work.heads + head, number
    row = tile.q_row + number * plan.sizes.QUERIES
    return BackwardStep(bh, head, number, said, place, row, bh * plan.work.query_tiles + stats)


@gluon.jit
def line_of_tile(tile, plan):
    """Where the sequence of a tile stands in their list."""
    return plan.work.TILES + (1 + tile.place) * TILE_COLUMNS
