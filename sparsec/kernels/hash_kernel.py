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
        # The best of each column by itself: a look across columns for each product would cost more than the products.
        most = tl.full([BLOCK, COLUMNS], -1.0, tl.float32)
        nearest = tl.zeros([BLOCK, COLUMNS], tl.int32)
        for first in range(0, half, COLUMNS):
            wanted = (channel < HEAD_DIM)[:, None] & (first + column < half)[None, :]
            directions = tl.load(own + (number * half + first + column)[None, :], mask=wanted, other=0.0)
            products = tl.dot(x, directions, input_precision=PRECISION)
            size, hash_ = tl.abs(products), tl.where(products < 0.0, half + first, first)
            better = (size > most) | ((size == most) & (hash_ < nearest))
            better = better & (first + column < half)[None, :]
            most, nearest = tl.where(better, size, most), tl.where(better, hash_, nearest)
        found = tl.where(most == tl.max(most, 1)[:, None], nearest + column[None, :], (1 << 31) - 1)
        place = (bh.to(tl.int64) * rounds + number) * tokens + token
        tl.store(HASHES + place, tl.min(found, 1), mask=token < tokens)
