"""Device functions of the Hopper tier: which weights of a step dropout keeps."""

from __future__ import annotations

from sparsec.kernels.dropout_tiles import hash_of_pairs, row_words
from sparsec.kernels.hopper import gl, gluon
from sparsec.kernels.hopper_mask import queries_of_step
from sparsec.kernels.hopper_tiles import SAID_FLAGS


@gluon.jit
def no_words(plan):
    """What stands for the words of a group's rows before its first tile."""
    zeros = gl.zeros([plan.sizes.ROWS], gl.uint32, gl.SliceLayout(1, plan.sizes.SCORES))
    return zeros, zeros


@gluon.jit
def words_of_rows(turn, shared, plan, GROUP: gl.constexpr):
    """Two words for each of a group's rows in the tile of a turn."""
    q, at = queries_of_step(gl.SliceLayout(1, plan.sizes.SCORES), turn, shared, plan, GROUP)
    return row_words(plan.dropping, at[0], q, at[1])


@gluon.jit
def drop_weights(p, words, said, plan):
    """Weights of a step, 0 of pairs that are dropped."""
    KEYS: gl.constexpr = plan.sizes.BLOCK_N
    k, k_lo = gl.arange(0, KEYS, gl.SliceLayout(0, p.type.layout)), (said >> SAID_FLAGS) * KEYS
    x = hash_of_pairs(words, k, k_lo, True, KEYS, True)
    # A choice of LLVM's own would move behind the next wait, and 64 answers with it, from predicates to registers.
    return gl.inline_asm_elementwise(
        "{ .reg .pred p; setp.ge.s32 p, $1, $2; selp.f32 $0, $3, 0f00000000, p; }", "=f,r,r,f",
        [x, plan.dropping.drop_below, p], dtype=gl.float32, is_pure=False, pack=1,
    )  # fmt: skip
