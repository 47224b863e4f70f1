"""Device functions of the Hopper tier: the tiles of queries that a program works on in turn, and their walks.

As many programs run as there are processors.  They take turns; a walk goes from its last step to its first, since
that is mostly the one with masks, and the first step of a tile has code of its own.
"""

from __future__ import annotations

from sparsec.kernels.hopper import gl, gluon
from sparsec.kernels.hopper_plan import HopperTile, HopperWalk
from sparsec.kernels.regions import tile_of, walk_of
from sparsec.kernels.tiles import split_steps

LEAST_STEPS = gl.constexpr(2)  # of a tile, so that the pipeline has one form; steps that are not there are masked


@gluon.jit
def hopper_number(turn, plan):
    """The number of the tile of a turn; every other turn runs backwards where later ones have less to do."""
    program = gl.program_id(0)
    if plan.sizes.LONGEST_FIRST:
        program = gl.where(turn % 2 == 1, gl.num_programs(0) - 1 - program, program)
    return turn * gl.num_programs(0) + program


@gluon.jit
def hopper_turns(plan):
    """How many tiles this program works on."""
    rows = plan.work.group_heads * plan.work.batches
    tiles = plan.work.tiles * rows
    if plan.sizes.SPLIT:
        tiles += plan.work.split_tiles * (plan.work.splits - 1) * rows
    turns = tiles // gl.num_programs(0)
    return turns + gl.where(hopper_number(turns, plan) < tiles, 1, 0)


@gluon.jit
def hopper_tile(turn, plan):
    """The tile of a turn: those that programs split come first, then the longest ones, or head after head."""
    number, rows = hopper_number(turn, plan), plan.work.group_heads * plan.work.batches
    split, part, parts, skipped, shares = number < 0, 0, 1, 0, 1
    if plan.sizes.SPLIT:
        shares, skipped = gl.maximum(plan.work.split_tiles * plan.work.splits, 1), plan.work.split_tiles
        split = number < plan.work.split_tiles * plan.work.splits * rows
        share = number
        number = gl.where(split, 0, number - plan.work.split_tiles * plan.work.splits * rows)
    if plan.sizes.LONGEST_FIRST:
        tile, row = plan.work.tiles - 1 - number // rows, number % rows
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
    return HopperTile(row // plan.work.group_heads, head, head // plan.sizes.GROUP, tile, split, part, parts)


@gluon.jit
def hopper_walk(tile, plan):
    """The walk of a tile."""
    q_lo, n = plan.work.q_offset + tile.number * plan.sizes.BLOCK_M, plan.work.n
    walk = walk_of(
        plan.rules, plan.lists, tile.number, 0, tile.batch, tile.head, n,
        (q_lo, q_lo + plan.sizes.BLOCK_M - 1, n, n, plan.sizes.BLOCK_N), (), False,
    )  # fmt: skip
    begin, end = 0, walk.steps
    if plan.sizes.SPLIT:
        begin, end = split_steps(walk.steps, tile.part, tile.parts)
    return HopperWalk(walk, end, end - begin)


@gluon.jit
def hopper_keys(visits, step, plan, NONE):
    """The first key of a step, NONE where the step is not there."""
    place, _ = tile_of(visits.walk, plan.lists, gl.maximum(visits.end - 1 - step, 0))
    return gl.where(step < visits.count, place * plan.sizes.BLOCK_N, NONE)
