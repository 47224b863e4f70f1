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
    the number of the direction of a round with the largest product, or `half` more where that of its opposite is; of
    equal ones that of the first direction, and 0 where all are 0.
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
        # Three instructions a product: its magnitude is compared, and what it was comes along with its sign.
        best = tl.zeros([BLOCK, COLUMNS], tl.float32)
        at_best = tl.zeros([BLOCK, COLUMNS], tl.int32)
        for block in range(blocks):
            first = block * COLUMNS
            directions = tl.load(own + (number * (blocks * COLUMNS) + first) + column[None, :])
            products = tl.dot(x, directions, input_precision=PRECISION)
            larger = tl.abs(products) > tl.abs(best)
            best, at_best = tl.where(larger, products, best), tl.where(larger, first, at_best)
        largest = tl.max(tl.abs(best), 1)[:, None]
        code = 2 * (at_best + column[None, :]) + (best < 0).to(tl.int32)  # a direction, and whether its opposite is it
        nearest = tl.min(tl.where(tl.abs(best) == largest, code, 2 * half - 1), 1)
        place = (bh.to(tl.int64) * rounds + number) * tokens + token
        tl.store(HASHES + place, nearest // 2 + nearest % 2 * half, mask=token < tokens)
