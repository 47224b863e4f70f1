"""The warps of the Hopper tier that load blocks: one queries and keys, one values, two blocks for each step."""

from __future__ import annotations

from sparsec.kernels.hopper.forward.block_plan import (
    KEY_STAGES,
    KEYS_EMPTY,
    OF_ONE_GROUP,
    SAID_STEPS,
    SAID_WORDS,
    VALUE_STAGES,
    VALUES_EMPTY,
)
from sparsec.kernels.hopper.forward.plan import HopperTile
from sparsec.kernels.hopper.forward.tiles import ENDS, FIRST, say, say_tile
from sparsec.kernels.machine.gluon import gl, gluon, load_box, mbarrier, seen_as
from sparsec.kernels.machine.sync import MEET_ALL, MEET_STORER, QUERIES_EMPTY, named_barrier


@gluon.jit
def hopper_load_key_blocks(Q, K, shared, plan):
    """What the warp does that loads queries and keys, and says which steps there are."""
    stage, kinds = 0, 0  # kinds: of the last steps, two bits each: 0 of both groups, 1 or 2 of one
    for turn in range(_turns_of_blocks(plan)):
        tile = _tile_of_turn(turn, plan)
        begin, count = _steps_of_turn(tile, plan)
        one, two, said = _listed_step(begin, plan)
        slot = turn & 1
        if turn > 1:
            named_barrier(QUERIES_EMPTY + slot, MEET_ALL)
        say_tile(tile, turn, shared, plan)
        second_row = plan.sizes.ROWS
        if plan.sizes.TWIN:
            second_row = gl.where(tile.split, 0, plan.sizes.ROWS)
        mbarrier.expect(shared.q_full.index(slot), Q.block_type.nbytes * 2)
        for group in gl.static_range(2):
            row, own = tile.first + group * second_row, shared.q.index(2 * slot + group)
            load_box(Q, [tile.batch, tile.head, row, 0], shared.q_full.index(slot), own)
        for step in range(count):
            next_one, next_two, next_said = _listed_step(begin + gl.minimum(step + 1, count - 1), plan)
            kind, s = (said // OF_ONE_GROUP) & 3, stage % KEY_STAGES
            if stage >= KEY_STAGES:
                _await_stage(KEYS_EMPTY + s, (kinds >> (2 * KEY_STAGES - 2)) & 3)
            place = stage % SAID_STEPS * SAID_WORDS
            say(said + gl.where(step == 0, FIRST, 0), shared.said, place)
            say(one, shared.said, place + 1)
            say(two, shared.said, place + 2)
            full = shared.k_full.index(kind * KEY_STAGES + s)
            _load_pair(K, tile, one, two, full, shared.k.index(s), plan)
            kinds = (kinds << 2) | kind
            stage += 1
            one, two, said = next_one, next_two, next_said
    if stage >= KEY_STAGES:
        _await_stage(KEYS_EMPTY + stage % KEY_STAGES, (kinds >> (2 * KEY_STAGES - 2)) & 3)
    say(FIRST | ENDS, shared.said, stage % SAID_STEPS * SAID_WORDS)
    mbarrier.arrive(shared.k_full.index(stage % KEY_STAGES), count=1)


@gluon.jit
def hopper_load_value_blocks(V, shared, plan):
    """What the warp does that loads values."""
    stage, kinds = 0, 0
    for turn in range(_turns_of_blocks(plan)):
        tile = _tile_of_turn(turn, plan)
        begin, count = _steps_of_turn(tile, plan)
        one, two, said = _listed_step(begin, plan)
        for step in range(count):
            next_one, next_two, next_said = _listed_step(begin + gl.minimum(step + 1, count - 1), plan)
            kind, s = (said // OF_ONE_GROUP) & 3, stage % VALUE_STAGES
            if stage >= VALUE_STAGES:
                _await_stage(VALUES_EMPTY + s, (kinds >> (2 * VALUE_STAGES - 2)) & 3)
            full = shared.v_full.index(kind * VALUE_STAGES + s)
            _load_pair(V, tile, one, two, full, shared.v.index(s), plan)
            kinds = (kinds << 2) | kind
            stage += 1
            one, two, said = next_one, next_two, next_said


@gluon.jit
def _steps_of_turn(tile, plan):
    """The first step of a tile or share in the list, and how many there are."""
    line = tile.number
    if plan.sizes.SPLIT:
        line = gl.where(tile.split, plan.work.tiles + tile.number * tile.parts + tile.part, line)
    begin = gl.load(plan.lists.STARTS + line)
    count = gl.load(plan.lists.STARTS + line + 1) - begin
    return begin, count


@gluon.jit
def _listed_step(number, plan):
    """Its blocks, and what is said of it."""
    entry = plan.lists.STEPS + 3 * number
    return gl.load(entry), gl.load(entry + 1), gl.load(entry + 2)


@gluon.jit
def _await_stage(number, kind):
    """Waits until the groups that had a stage have given it back."""
    if kind == 0:
        named_barrier(number, MEET_ALL)
    else:
        named_barrier(number, MEET_STORER)


@gluon.jit
def _load_pair(X, tile, one, two, full, to, plan):
    """Two blocks, in boxes of so many columns as a tile has side by side."""
    COLUMNS: gl.constexpr = X.block_type.shape[3]
    BOXES: gl.constexpr = plan.sizes.BLOCK_D // COLUMNS
    ROWS: gl.constexpr = X.block_type.shape[2]
    boxes = seen_as(to, X.dtype, [2 * BOXES, 1, 1, ROWS, COLUMNS], X.layout)
    mbarrier.expect(full, X.block_type.nbytes * 2 * BOXES)
    for box in gl.static_range(BOXES):
        load_box(X, [tile.batch, tile.kv_head, one * ROWS, box * COLUMNS], full, boxes.index(2 * box))
        load_box(X, [tile.batch, tile.kv_head, two * ROWS, box * COLUMNS], full, boxes.index(2 * box + 1))


@gluon.jit
def _tiles_of_head(plan):
    """How many tiles of a head no programs split, and how many shares of others there are."""
    tiles, shares = plan.work.tiles, 0
    if plan.sizes.SPLIT:
        tiles -= plan.work.split_tiles // 2 if plan.sizes.TWIN else plan.work.split_tiles
        shares = plan.work.split_tiles * plan.work.splits
    return tiles, shares


@gluon.jit
def _turns_of_blocks(plan):
    """How many tiles and shares this program works on."""
    tiles, shares = _tiles_of_head(plan)
    numbers = (tiles + shares) * plan.work.group_heads * plan.work.batches
    return gl.cdiv(gl.maximum(numbers - gl.program_id(0), 0), gl.num_programs(0))


@gluon.jit
def _tile_of_turn(turn, plan):
    """Head after head; one of `share_every` is a share of a tile that programs split, until all are done.

    With all of them first, programs would read the keys of all heads before they have much to do with them.
    """
    number, rows = turn * gl.num_programs(0) + gl.program_id(0), plan.work.group_heads * plan.work.batches
    tiles, shares = _tiles_of_head(plan)
    split, part, parts = number < 0, 0, 1
    first = plan.work.tiles - tiles
    share = number
    if plan.sizes.SPLIT:
        every = plan.lists.share_every
        share = number // every
        split = (share * every == number) & (share < shares * rows)
        number -= gl.minimum(gl.cdiv(number, every), shares * rows)
    tiles = gl.maximum(tiles, 1)
    tile, row = number % tiles + first, number // tiles
    place = tile * plan.sizes.BLOCK_M
    if plan.sizes.SPLIT:
        of_head = gl.maximum(shares, 1)
        tile = gl.where(split, share % of_head // plan.work.splits, tile)
        row = gl.where(split, share // of_head, row)
        part, parts = gl.where(split, share % plan.work.splits, 0), gl.where(split, plan.work.splits, 1)
        place = tile * plan.sizes.BLOCK_M
        if plan.sizes.TWIN:
            place = gl.where(split, tile * plan.sizes.ROWS, place)
    head = row % plan.work.group_heads
    if plan.work.HEADS is not None:
        head = gl.load(plan.work.HEADS + head)
    return HopperTile(
        row // plan.work.group_heads, head, head // plan.sizes.GROUP, tile, split, part, parts,
        place, plan.work.n_q - place, plan.work.q_offset + place, plan.work.n, 0, 0, 0,
    )  # fmt: skip
