"""Device functions of the Hopper tier: which weights of a step dropout keeps."""

from __future__ import annotations

from sparsec.kernels.hopper.forward.mask import queries_of_step
from sparsec.kernels.hopper.forward.tiles import TILE_STREAM, tile_word
from sparsec.kernels.machine.gluon import gl, gluon
from sparsec.kernels.tiles.dropout import hash_of_pairs, row_words


@gluon.jit
def no_words(plan):
    """What stands for the words of a group's rows before its first tile."""
    return gl.zeros([plan.sizes.ROWS], gl.uint32, gl.SliceLayout(1, plan.sizes.SCORES))


@gluon.jit
def words_of_rows(turn, shared, plan, GROUP: gl.constexpr):
    """A word for each of a group's rows in the tile of a turn."""
    q, at = queries_of_step(gl.SliceLayout(1, plan.sizes.SCORES), turn, shared, plan, GROUP)
    stream = at[0]
    if plan.sizes.PACKED:
        stream = tile_word(shared, turn, plan, TILE_STREAM)
    return row_words(plan.dropping, stream, q, at[1])


@gluon.jit
def drop_weights(p, words, k_lo, plan):
    """Weights of a group's rows and of keys from position k_lo on, 0 of pairs that are dropped."""
    KEYS: gl.constexpr = p.shape[1]
    own = gl.convert_layout(words, gl.SliceLayout(1, p.type.layout), assert_trivial=True)
    x = hash_of_pairs(own, gl.arange(0, KEYS, gl.SliceLayout(0, p.type.layout)), k_lo, True, KEYS, True)
    # A choice of LLVM's own would move behind the next wait, and 64 answers with it, from predicates to registers.  A
    # product has units of its own; a selection would wait for those of hashes and comparisons.
    return gl.inline_asm_elementwise(
        "{ .reg .pred p; setp.lt.s32 p, $1, $2; mov.f32 $0, $3; @p mul.rn.f32 $0, $0, 0f00000000; }", "=f,r,r,f",
        [x, plan.dropping.drop_below, p], dtype=gl.float32, is_pure=False, pack=1,
    )  # fmt: skip


@gluon.jit
def drop_in_blocks(p, words, first, second, plan):
    """The same where each half of the keys is a block, of these numbers."""
    half: gl.constexpr = p.shape[1] // 2
    low, high = gl.split(gl.permute(gl.reshape(p, [p.shape[0], 2, half]), [0, 2, 1]))
    low, high = drop_weights(low, words, first * half, plan), drop_weights(high, words, second * half, plan)
    both = gl.reshape(gl.permute(gl.join(low, high), [0, 2, 1]), [p.shape[0], p.shape[1]])
    return gl.convert_layout(both, p.type.layout, assert_trivial=True)
