"""A kernel for hashes: which of some directions, and of their opposites, is nearest to a token."""

from __future__ import annotations

from sparsec.kernels.device import tl, triton
from sparsec.kernels.loads import row_ptrs, tile_mask


@triton.jit(do_not_specialize=["tokens", "rounds", "half", "heads_of_x"])
def hash_tokens(
    X, DIRECTIONS, HASHES, tokens, rounds, half, heads_of_x,
    HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """HASHES int32 [B * heads, rounds, tokens] of X [B * heads, tokens, HEAD_DIM], contiguous.

    DIRECTIONS [heads, HEAD_DIM, rounds * half] in the type of X, which holds them exactly.  A hash is the first of the
    largest of the products with `half` directions of a round, and then with their opposites.
    """
    bh = tl.program_id(1)
    token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x_ptrs = row_ptrs(X, bh, tokens, tl.program_id(0) * BLOCK, 1, HEAD_DIM, BLOCK, BLOCK_D)
    x = tl.load(x_ptrs, mask=tile_mask(token, tokens, HEAD_DIM, BLOCK_D), other=0.0)
    channel, column = tl.arange(0, BLOCK_D), tl.arange(0, COLUMNS)
    own = DIRECTIONS + (bh % heads_of_x).to(tl.int64) * HEAD_DIM * rounds * half + channel[:, None] * (rounds * half)
    for number in range(rounds):
        most = tl.full([BLOCK], float("-inf"), tl.float32)
        opposite = most
        nearest = tl.zeros([BLOCK], tl.int32)
        farthest = nearest
        for first in range(0, half, COLUMNS):
            there = first + column < half
            wanted = (channel < HEAD_DIM)[:, None] & there[None, :]
            directions = tl.load(own + (number * half + first + column)[None, :], mask=wanted, other=0.0)
            products = tl.dot(x, directions, input_precision=PRECISION)
            best, place = tl.max(tl.where(there[None, :], products, float("-inf")), 1, return_indices=True)
            nearest = tl.where(best > most, first + place, nearest)
            most = tl.maximum(most, best)
            best, place = tl.max(tl.where(there[None, :], -products, float("-inf")), 1, return_indices=True)
            farthest = tl.where(best > opposite, first + place, farthest)
            opposite = tl.maximum(opposite, best)
        found = tl.where(most >= opposite, nearest, half + farthest)
        tl.store(HASHES + (bh.to(tl.int64) * rounds + number) * tokens + token, found, mask=token < tokens)
