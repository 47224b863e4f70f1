"""Device functions of the Hopper tier: the tiles of queries that a program works on in turn, and their walks.

As many programs run as there are processors.  They take turns, or each the next tile when it comes to it; a walk goes
from its last step to its first.  The loading warp knows both, and says in shared memory what groups need to know: of a
step, one number, the tile of keys before some flags; of a tile, some words.
"""

from __future__ import annotations

from sparsec.kernels.hopper.forward.plan import HopperTile, HopperWalk
from sparsec.kernels.machine.device import LOG2_E
from sparsec.kernels.machine.gluon import gl, gluon
from sparsec.kernels.machine.sync import next_number
from sparsec.kernels.tiles.own_tiles import TILES_TAKEN, sequence_of
from sparsec.kernels.tiles.ranges import split_steps
from sparsec.kernels.tiles.regions import ask, tile_of, walk_of

SAID_FLAGS = gl.constexpr(10)  # bits of the number of a step, before its tile of keys
FIRST = gl.constexpr(1)  # it is the first one of its tile
ENDS = gl.constexpr(2)  # it has no pairs, and no other follows: the values of the one before are left
RAGGED = gl.constexpr(4)  # it has keys beyond the last one, or before the first
MASKS = gl.constexpr(8)  # a group's rows have a pair with the first half of the keys that is left out; twice that:
# with the second; four times: the same of the second group; and so on
LAST = gl.constexpr(512)  # it is the last one of its tile
TILE_BATCH, TILE_HEAD, TILE_NUMBER, TILE_PART = gl.constexpr(0), gl.constexpr(1), gl.constexpr(2), gl.constexpr(3)
TILE_SINK = gl.constexpr(4)  # the bits of a real number
TILE_WORDS = gl.constexpr(5)
# Of a tile of one of several sequences: its first row of Q, how many rows there are, the position of the first, keys,
# the first that is there, and which sequence it is.
TILE_FIRST, TILE_ROWS, TILE_Q_LO = gl.constexpr(5), gl.constexpr(6), gl.constexpr(7)
TILE_KEYS, TILE_BEGIN, TILE_STREAM = gl.constexpr(8), gl.constexpr(9), gl.constexpr(10)
SEQUENCE_WORDS = gl.constexpr(11)
TILE_SLOTS = gl.constexpr(4)  # the tiles before, of this turn and after, and one that is being said


@gluon.jit
def turn_after(turn, plan):
    """The next turn of a program, the first one after -1.

    Walks of several sequences have any lengths: there, a turn is a number that no other program has, drawn ahead.
    """
    turn += 1
    if plan.sizes.PACKED:
        turn = next_number(plan.work.TILES + TILES_TAKEN)
    return turn


@gluon.jit
def no_turn(plan):
    """The turn at which a program is done; some before have no tile."""
    programs, rows = gl.num_programs(0), plan.work.group_heads * plan.work.batches
    if plan.sizes.LONGEST_FIRST:
        turns = gl.cdiv(rows, plan.work.together) * gl.cdiv(plan.work.tiles * plan.work.together, programs)
    elif plan.sizes.PACKED:
        turns = gl.load(plan.work.TILES) * plan.work.group_heads
    else:
        tiles = plan.work.tiles * rows
        if plan.sizes.SPLIT:
            tiles += plan.work.split_tiles * (plan.work.splits - 1) * rows
        turns = tiles // programs + gl.where(gl.program_id(0) < tiles % programs, 1, 0)
    return turns


@gluon.jit
def end_turns(turn, end, plan):
    """The last program that finds no tile has the next launch begin with the first one again."""
    if plan.sizes.PACKED and turn == end + gl.num_programs(0) - 1:
        gl.store(plan.work.TILES + TILES_TAKEN, 0)


@gluon.jit
def hopper_number(turn, plan):
    """The number of the tile of a turn, -1: it has none.

    Where tiles get shorter every other turn runs backwards, so that programs have equal shares of some heads, then of
    the next ones.
    """
    programs, program = gl.num_programs(0), gl.program_id(0)
    number = turn
    if plan.sizes.LONGEST_FIRST:
        together, rows = plan.work.together, plan.work.group_heads * plan.work.batches
        turns = gl.cdiv(plan.work.tiles * together, programs)
        part, turn = turn // turns, turn % turns
        place = turn * programs + gl.where((part + turn) % 2 == 1, programs - 1 - program, program)
        heads = gl.minimum(together, rows - part * together)
        number = gl.where(place < plan.work.tiles * heads, part * together * plan.work.tiles + place, -1)
    elif not plan.sizes.PACKED:
        number = turn * programs + program
    return number


@gluon.jit
def hopper_tile(number, plan):
    """The tile of a number."""
    if plan.sizes.PACKED:
        tile = _tile_of_sequences(number, plan)
    else:
        tile = _tile_of_rows(number, plan)
    return tile


@gluon.jit
def _tile_of_sequences(number, plan):
    """Tile after tile of all sequences, of each all heads; later tiles of a sequence, which have more to do, first.

    Head after head, programs would have the same places of the list in each, and some only long ones.
    """
    own, head = sequence_of(plan.work.TILES, number // plan.work.group_heads, True), number % plan.work.group_heads
    if plan.work.HEADS is not None:
        head = gl.load(plan.work.HEADS + head)
    place = own.tile * plan.sizes.BLOCK_M
    return HopperTile(
        own.batch, head, head // plan.sizes.GROUP, own.tile, False, 0, 1,
        own.q_first + place, own.n_q - place, own.q_offset + place, own.n, own.k_first, own.k_begin, own.stream,
    )  # fmt: skip


@gluon.jit
def _tile_of_rows(number, plan):
    """Those that programs split come first; then head after head, or the longest ones of some heads and of the next."""
    rows = plan.work.group_heads * plan.work.batches
    split, part, parts, skipped, shares = number < 0, 0, 1, 0, 1
    if plan.sizes.SPLIT:
        shares, skipped = gl.maximum(plan.work.split_tiles * plan.work.splits, 1), plan.work.split_tiles
        split = number < plan.work.split_tiles * plan.work.splits * rows
        share = number
        number = gl.where(split, 0, number - plan.work.split_tiles * plan.work.splits * rows)
    if plan.sizes.LONGEST_FIRST:
        first = number // (plan.work.tiles * plan.work.together) * plan.work.together
        heads, place = gl.minimum(plan.work.together, rows - first), number - first * plan.work.tiles
        tile, row = plan.work.tiles - 1 - place // heads, first + place % heads
    else:
        tiles = gl.maximum(plan.work.tiles - skipped, 1)
        tile, row = number % tiles + skipped, number // tiles
    if plan.sizes.SPLIT:
        tile = gl.where(split, share % shares // plan.work.splits, tile)
        row = gl.where(split, share // shares, row)
        part, parts = gl.where(split, share % plan.work.splits, 0), gl.where(split, plan.work.splits, 1)
    head = row % plan.work.group_heads
    if plan.work.HEADS is not None:
        head = gl.load(plan.work.HEADS + head)
    place = tile * plan.sizes.BLOCK_M
    return HopperTile(
        row // plan.work.group_heads, head, head // plan.sizes.GROUP, tile, split, part, parts,
        place, plan.work.n_q - place, plan.work.q_offset + place, plan.work.n, 0, 0, 0,
    )  # fmt: skip


@gluon.jit
def hopper_walk(tile, plan):
    """The walk of a tile."""
    walk = walk_of(
        plan.rules, plan.lists, tile.number, 0, tile.batch, tile.head, tile.n,
        (tile.q_lo, tile.q_lo + plan.sizes.BLOCK_M - 1, tile.n, tile.n, plan.sizes.BLOCK_N), (), False,
    )  # fmt: skip
    begin, end = 0, walk.steps
    if plan.sizes.SPLIT:
        begin, end = split_steps(walk.steps, tile.part, tile.parts)
    return HopperWalk(walk, end, end - begin)


@gluon.jit
def hopper_step(visits, tile, step, plan):
    """The first key of a step, and what is said of it; a step that is not there has keys beyond the last one."""
    number, _ = tile_of(visits.walk, plan.lists, gl.maximum(visits.end - 1 - step, 0))
    number = gl.where(step < visits.count, number, gl.cdiv(tile.n, plan.sizes.BLOCK_N))
    k_lo = number * plan.sizes.BLOCK_N
    said = (number << SAID_FLAGS) + gl.where(step == 0, FIRST, 0) + gl.where(step + 1 < visits.count, 0, LAST)
    ragged = k_lo + plan.sizes.BLOCK_N > tile.n
    if plan.sizes.PACKED:
        ragged |= k_lo < tile.k_begin
    said += gl.where(ragged, RAGGED, 0)
    if plan.rules.KEEP is not None and not plan.rules.WHOLE:
        half: gl.constexpr = plan.sizes.BLOCK_N // 2
        for place in gl.static_range(2 * plan.sizes.GROUPS):
            q_lo = tile.q_lo + place // 2 * plan.sizes.ROWS
            whole = _is_whole(q_lo, k_lo + place % 2 * half, tile.n, plan, half)
            said += gl.where(whole, 0, MASKS << place)
    return k_lo, said


@gluon.jit
def _is_whole(q_lo, k_lo, n, plan, KEYS: gl.constexpr):
    """Whether all pairs of a group's rows and some keys are kept."""
    whole = q_lo != q_lo
    if plan.rules.FULL is not None:
        edges = q_lo, q_lo + plan.sizes.ROWS - 1, k_lo, k_lo + KEYS - 1
        whole = ask(plan.rules.FULL, edges, (n,), plan.rules.NUMBERS)
    return whole


@gluon.jit
def say(number, shared, place):
    """Leaves a number in shared memory, by one warp."""
    ONE_WARP: gl.constexpr = gl.BlockedLayout([1], [32], [1], [0])
    shared.index(place).store(gl.full([1], number, gl.int32, ONE_WARP))


@gluon.jit
def said_of(shared, place):
    """A number that was left in shared memory, for a group of warps."""
    LAYOUT: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    return gl.max(shared.index(place).load(LAYOUT), 0)


@gluon.jit
def say_tile(tile, turn, shared, plan):
    """Leaves what the tile of a turn is."""
    place = turn % TILE_SLOTS * plan.sizes.WORDS
    say(tile.batch, shared.tiles, place + TILE_BATCH)
    say(tile.head, shared.tiles, place + TILE_HEAD)
    say(tile.number, shared.tiles, place + TILE_NUMBER)
    if plan.sizes.SPLIT:
        say(gl.where(tile.split, tile.part, -1), shared.tiles, place + TILE_PART)
    if plan.sizes.PACKED:
        say(tile.first, shared.tiles, place + TILE_FIRST)
        say(tile.rows, shared.tiles, place + TILE_ROWS)
        say(tile.q_lo, shared.tiles, place + TILE_Q_LO)
        say(tile.n, shared.tiles, place + TILE_KEYS)
        say(tile.k_begin, shared.tiles, place + TILE_BEGIN)
        say(tile.stream, shared.tiles, place + TILE_STREAM)
    if plan.work.SINKS is not None:  # of the programs that split a tile the first has it
        sink = gl.load(plan.work.SINKS + tile.batch * plan.work.sinks_b + tile.head) * LOG2_E
        sink = gl.where(tile.part == 0, sink, float("-inf"))
        say(sink.to(gl.int32, bitcast=True), shared.tiles, place + TILE_SINK)


@gluon.jit
def tile_word(shared, turn, plan, WORD: gl.constexpr):
    """A word of the tile of a turn."""
    return said_of(shared.tiles, turn % TILE_SLOTS * plan.sizes.WORDS + WORD)


@gluon.jit
def row_of_group(shared, turn, plan, GROUP: gl.constexpr):
    """The row of Q of the first query of a group in the tile of a turn."""
    if plan.sizes.PACKED:
        first = tile_word(shared, turn, plan, TILE_FIRST)
    else:
        number = tile_word(shared, turn, plan, TILE_NUMBER)
        first = number * plan.sizes.BLOCK_M
        if plan.sizes.TWIN:
            share = (number - GROUP) * plan.sizes.ROWS
            first = gl.where(tile_word(shared, turn, plan, TILE_PART) < 0, first, share)
    return first + GROUP * plan.sizes.ROWS


@gluon.jit
def position_of_group(shared, turn, plan, GROUP: gl.constexpr):
    """The position of that query."""
    if plan.sizes.PACKED:
        q_lo = tile_word(shared, turn, plan, TILE_Q_LO) + GROUP * plan.sizes.ROWS
    else:
        q_lo = plan.work.q_offset + row_of_group(shared, turn, plan, GROUP)
    return q_lo


@gluon.jit
def number_of_keys(shared, turn, plan):
    """Keys of the sequence that the tile of a turn belongs to."""
    n = plan.work.n
    if plan.sizes.PACKED:
        n = tile_word(shared, turn, plan, TILE_KEYS)
    return n
