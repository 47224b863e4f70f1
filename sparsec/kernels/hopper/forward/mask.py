"""Device functions of the Hopper tier: scores of a step, and which of them the pattern masks."""

from __future__ import annotations

from sparsec.kernels.hopper.forward.tiles import (
    MASKS,
    RAGGED,
    SAID_FLAGS,
    TILE_BATCH,
    TILE_BEGIN,
    TILE_HEAD,
    number_of_keys,
    position_of_group,
    tile_word,
)
from sparsec.kernels.machine.device import LN_2, LOG2_E
from sparsec.kernels.machine.gluon import gl, gluon
from sparsec.kernels.machine.sync import says
from sparsec.kernels.tiles.regions import ask, ask_keep


@gluon.jit
def hopper_ask(ANSWER: gl.constexpr, s, said, turn, shared, plan, GROUP: gl.constexpr):
    """What an answer about scores says of the products of a step, not yet scaled, for the rows of a group."""
    k = (said >> SAID_FLAGS) * plan.sizes.BLOCK_N + gl.arange(0, plan.sizes.BLOCK_N, gl.SliceLayout(0, s.type.layout))
    q, at = queries_of_step(gl.SliceLayout(1, s.type.layout), turn, shared, plan, GROUP)
    n, scale = number_of_keys(shared, turn, plan), plan.scale_log2 * LN_2
    given = s, scale, q[:, None], k[None, :], n, at[1], at[2], plan.rules.NEAR
    return ask(ANSWER, given, (), plan.rules.NUMBERS)


@gluon.jit
def hopper_tilt(s, said, turn, shared, plan, GROUP: gl.constexpr):
    """Exponents s in base 2 and what rises from key to key within the tile; and what each row adds to all of its own.

    A thread's numbers of keys are constants but for one part: its columns are those of every other thread, moved.
    """
    LAYOUT: gl.constexpr = s.type.layout
    head, n = tile_word(shared, turn, plan, TILE_HEAD), number_of_keys(shared, turn, plan)
    tilt = ask(plan.rules.TILT, (n, head, plan.work.heads), (), plan.rules.NUMBERS) * LOG2_E
    places = gl.reshape(s, [s.shape[0], s.shape[1] // 8, 4, 2])  # as threads have them, a fourth of the columns each
    EIGHTS: gl.constexpr = gl.SliceLayout(2, gl.SliceLayout(3, places.type.layout))
    FOURS: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(3, places.type.layout))
    TWOS: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, places.type.layout))
    eight = 8.0 * gl.arange(0, s.shape[1] // 8, gl.SliceLayout(0, EIGHTS)).to(gl.float32)
    pair = 2.0 * gl.arange(0, 4, gl.SliceLayout(0, FOURS)).to(gl.float32)
    one = gl.arange(0, 2, gl.SliceLayout(0, TWOS)).to(gl.float32)
    known = eight[None, :][:, :, None][:, :, :, None] + one[None, :][:, None, :][:, :, None, :]
    places += known * tilt + (pair * tilt)[None, :][:, None, :][:, :, :, None]
    q, _ = queries_of_step(gl.SliceLayout(1, s.type.layout), turn, shared, plan, GROUP)
    before = (said >> SAID_FLAGS) * plan.sizes.BLOCK_N - q
    return (
        gl.convert_layout(gl.reshape(places, [s.shape[0], s.shape[1]]), LAYOUT, assert_trivial=True),
        gl.convert_layout(before.to(gl.float32) * tilt, gl.SliceLayout(1, plan.sizes.OUT), assert_trivial=True),
    )


@gluon.jit
def hopper_mask(s, NOTHING: gl.constexpr, said, turn, shared, plan, GROUP: gl.constexpr):
    """Scores of a step, or weights, and NOTHING where the pattern leaves a pair out, for the rows of a group.

    A mask costs as many instructions as half of the softmax, so each half of the keys is asked about by itself.  Scores
    are overwritten in place, in a branch each: with branches in branches, all would be moved, masked or not.
    """
    KEYS: gl.constexpr = plan.sizes.BLOCK_N
    half: gl.constexpr = KEYS // 2
    k_lo = (said >> SAID_FLAGS) * KEYS
    if plan.rules.KEEP is not None and not plan.rules.WHOLE:
        low, high = gl.split(gl.permute(gl.reshape(s, [plan.sizes.ROWS, 2, half]), [0, 2, 1]))
        if says(said, MASKS << (2 * GROUP)):
            low = _mask_half(low, NOTHING, k_lo, turn, shared, plan, GROUP)
        if says(said, MASKS << (2 * GROUP + 1)):
            high = _mask_half(high, NOTHING, k_lo + half, turn, shared, plan, GROUP)
        both = gl.reshape(gl.permute(gl.join(low, high), [0, 2, 1]), [plan.sizes.ROWS, KEYS])
        s = gl.convert_layout(both, s.type.layout, assert_trivial=True)  # registers keep their places
    if says(said, RAGGED):
        k = k_lo + gl.arange(0, KEYS, gl.SliceLayout(0, s.type.layout))
        s = gl.where(keys_there(k, turn, shared, plan)[None, :], s, NOTHING)
    return s


@gluon.jit
def keys_there(k, turn, shared, plan):
    """Which positions are those of keys of the sequence that the tile of a turn belongs to."""
    there = k < number_of_keys(shared, turn, plan)
    if plan.sizes.PACKED:
        there &= k >= tile_word(shared, turn, plan, TILE_BEGIN)
    return there


@gluon.jit
def _mask_half(s, NOTHING: gl.constexpr, k_lo, turn, shared, plan, GROUP: gl.constexpr):
    k = k_lo + gl.arange(0, plan.sizes.BLOCK_N // 2, gl.SliceLayout(0, s.type.layout))
    q, at = queries_of_step(gl.SliceLayout(1, s.type.layout), turn, shared, plan, GROUP)
    n = number_of_keys(shared, turn, plan)
    return gl.where(ask_keep(plan.rules, q[:, None], k[None, :], n, at), s, NOTHING)


@gluon.jit
def queries_of_step(LAYOUT: gl.constexpr, turn, shared, plan, GROUP: gl.constexpr):
    """The queries of a group's rows in the tile of a turn; the row of the batch, the head, and how many heads."""
    q = position_of_group(shared, turn, plan, GROUP) + gl.arange(0, plan.sizes.ROWS, LAYOUT)
    return q, (tile_word(shared, turn, plan, TILE_BATCH), tile_word(shared, turn, plan, TILE_HEAD), plan.work.heads)
