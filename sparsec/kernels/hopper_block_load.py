"""The warp of the Hopper tier that loads blocks: queries of a tile, and for each step two blocks of keys and values."""

from __future__ import annotations

from sparsec.kernels.hopper import gl, gluon, load_box, mbarrier, seen_as
from sparsec.kernels.hopper_block_plan import (
    KEY_STAGES,
    KEYS_EMPTY,
    OF_ONE_GROUP,
    SAID_STEPS,
    SAID_WORDS,
    VALUE_STAGES,
    VALUES_EMPTY,
)
from sparsec.kernels.hopper_plan import HopperTile
from sparsec.kernels.hopper_sync import MEET_ALL, MEET_STORER, QUERIES_EMPTY, named_barrier
from sparsec.kernels.hopper_tiles import ENDS, FIRST, say, say_tile
from sparsec.kernels.tiles import split_steps


@gluon.jit
def hopper_block_load(Q, K, V, shared, plan):
    """What the loading warp does: the values of a step come behind the keys of the next one."""
    batch, head, first_block, second_block, stage = 0, 0, 0, 0, 0
    kinds = 0  # of the last steps, two bits each: 0 of both groups, 1 or 2 of one
    for turn in range(_turns_of_blocks(plan)):
        tile = _tile_of_turn(turn, plan)
        line, second_row = tile.number, plan.sizes.ROWS
        if plan.sizes.TWIN:
            line = gl.where(tile.split, plan.work.tiles + tile.number * tile.parts + tile.part, line)
            second_row = gl.where(tile.split, 0, plan.sizes.ROWS)
        begin = gl.load(plan.lists.STARTS + line)
        count = gl.load(plan.lists.STARTS + line + 1) - begin
        if plan.sizes.SPLIT and not plan.sizes.TWIN:
            own_begin, own_end = split_steps(count, tile.part, tile.parts)
            begin, count = begin + own_begin, own_end - own_begin
        slot = turn & 1
        if turn > 1:
            named_barrier(QUERIES_EMPTY + slot, MEET_ALL)
        say_tile(tile, turn, shared, plan)
        mbarrier.expect(shared.q_full.index(slot), Q.block_type.nbytes * 2)
        for group in gl.static_range(2):
            own = shared.q.index(2 * slot + group)
            row = tile.first + group * second_row
            load_box(Q, [tile.batch, tile.head, row, 0], shared.q_full.index(slot), own)
        for step in range(count):
            entry = plan.lists.STEPS + 3 * (begin + step)
            one, two, said = gl.load(entry), gl.load(entry + 1), gl.load(entry + 2)
            kind = (said // OF_ONE_GROUP) & 3
            k_slot = stage % KEY_STAGES
            if stage >= KEY_STAGES:
                _await_stage(KEYS_EMPTY + k_slot, (kinds >> (2 * KEY_STAGES - 2)) & 3)
            place = stage % SAID_STEPS * SAID_WORDS
            say(said + gl.where(step == 0, FIRST, 0), shared.said, place)
            say(one, shared.said, place + 1)
            say(two, shared.said, place + 2)
            full = shared.k_full.index(kind * KEY_STAGES + k_slot)
            _load_pair(K, tile.batch, tile.kv_head, one, two, full, shared.k.index(k_slot), plan)
            _load_values(V, batch, head, first_block, second_block, stage - 1, kinds, shared, plan)
            batch, head, first_block, second_block = tile.batch, tile.kv_head, one, two
            kinds = (kinds << 2) | kind
            stage += 1
    k_slot = stage % KEY_STAGES
    if stage >= KEY_STAGES:
        _await_stage(KEYS_EMPTY + k_slot, (kinds >> (2 * KEY_STAGES - 2)) & 3)
    say(FIRST | ENDS, shared.said, stage % SAID_STEPS * SAID_WORDS)
    mbarrier.arrive(shared.k_full.index(k_slot), count=1)
    _load_values(V, batch, head, first_block, second_block, stage - 1, kinds, shared, plan)


@gluon.jit
def _load_values(V, batch, head, one, two, stage, kinds, shared, plan):
    """The values of a step, which is the last of `kinds`."""
    if stage >= 0:
        slot = stage % VALUE_STAGES
        if stage >= VALUE_STAGES:
            _await_stage(VALUES_EMPTY + slot, (kinds >> (2 * VALUE_STAGES)) & 3)
        full = shared.v_full.index((kinds & 3) * VALUE_STAGES + slot)
        _load_pair(V, batch, head, one, two, full, shared.v.index(slot), plan)


@gluon.jit
def _await_stage(number, kind):
    """Waits until the groups that had a stage have given it back."""
    if kind == 0:
        named_barrier(number, MEET_ALL)
    else:
        named_barrier(number, MEET_STORER)


@gluon.jit
def _load_pair(X, batch, head, one, two, full, to, plan):
    """Two blocks, in boxes of so many columns as a tile has side by side."""
    COLUMNS: gl.constexpr = X.block_type.shape[3]
    BOXES: gl.constexpr = plan.sizes.BLOCK_D // COLUMNS
    ROWS: gl.constexpr = X.block_type.shape[2]
    boxes = seen_as(to, X.dtype, [2 * BOXES, 1, 1, ROWS, COLUMNS], X.layout)
    mbarrier.expect(full, X.block_type.nbytes * 2 * BOXES)
    for box in gl.static_range(BOXES):
        load_box(X, [batch, head, one * ROWS, box * COLUMNS], full, boxes.index(2 * box))
        load_box(X, [batch, head, two * ROWS, box * COLUMNS], full, boxes.index(2 * box + 1))


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
        place, plan.work.n_q - place, plan.work.q_offset + place, plan.work.n, 0, 0,
    )  # fmt: skip
