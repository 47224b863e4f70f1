"""A kernel for hashes: which of some directions, and of their opposites, is nearest to a token."""

from __future__ import annotations

from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.tiles.loads import row_ptrs, tile_mask


@triton.jit(do_not_specialize=["tokens", "rounds", "half", "blocks", "heads_of_x"])
def hash_tokens(
    X, DIRECTIONS, HASHES, tokens, rounds, half, blocks, heads_of_x,
    HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """HASHES int32 [B * heads, rounds, tokens] of X [B * heads, tokens, HEAD_DIM], contiguous.

    DIRECTIONS [heads, BLOCK_D, rounds, blocks * COLUMNS] in the type of X, which holds them exactly; zeros behind the
    channels and behind the `half` directions of a round, so that loads need no mask, and are of 16 bytes.  A hash is
    the first of the largest of the products with the directions of a round, and then with their opposites.
    """
    bh = tl.program_id(1)
    token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x_ptrs = row_ptrs(X, bh, tokens, tl.program_id(0) * BLOCK, 1, HEAD_DIM, BLOCK, BLOCK_D)
    x = tl.load(x_ptrs, mask=tile_mask(token, tokens, HEAD_DIM, BLOCK_D), other=0.0)
    column = tl.arange(0, COLUMNS)
    pitch = rounds * (blocks * COLUMNS)
    own = DIRECTIONS + (bh % heads_of_x).to(tl.int64) * BLOCK_D * pitch + tl.arange(0, BLOCK_D)[:, None] * pitch
    for number in range(rounds):
        # The best of each column by itself: a look across columns for each product would cost more than the products.
        # A product of 0 with what is no direction is never alone the best: the first direction has it, too, or more.
        highest = tl.full([BLOCK, COLUMNS], float("-inf"), tl.float32)
        lowest = tl.full([BLOCK, COLUMNS], float("inf"), tl.float32)
        at_highest = tl.zeros([BLOCK, COLUMNS], tl.int32)
        at_lowest = tl.zeros([BLOCK, COLUMNS], tl.int32)
        for block in range(blocks):
            first = block * COLUMNS
            directions = tl.load(own + (number * (blocks * COLUMNS) + first) + column[None, :])
            products = tl.dot(x, directions, input_precision=PRECISION)
            at_highest = tl.where(products > highest, first, at_highest)
            at_lowest = tl.where(products < lowest, first, at_lowest)
            highest, lowest = tl.maximum(products, highest), tl.minimum(products, lowest)
        best = tl.maximum(tl.max(highest, 1), -tl.min(lowest, 1))[:, None]
        found = tl.where(highest == best, at_highest + column[None, :], (1 << 31) - 1)
        opposite = tl.where(-lowest == best, at_lowest + half + column[None, :], (1 << 31) - 1)
        place = (bh.to(tl.int64) * rounds + number) * tokens + token
        nearest = tl.minimum(tl.min(found, 1), tl.min(opposite, 1))
        tl.store(HASHES + place, tl.minimum(nearest, 2 * half - 1), mask=token < tokens)
