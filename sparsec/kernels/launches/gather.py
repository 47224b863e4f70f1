"""The kernel that puts gathered keys and their values side by side."""

from __future__ import annotations

from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.tiles.loads import row_ptrs, rows_ptrs, tile_mask


@triton.jit(
    do_not_specialize=[
        *("k_b", "k_h", "k_n", "v_b", "v_h", "v_n"),
        *("kv_heads", "keys", "period", "first", "width"),
    ]
)
def gather_kernel(
    K, V, K_GATHERED, V_GATHERED, KV_HEADS, k_b, k_h, k_n, v_b, v_h, v_n, kv_heads, keys, period, first, width,
    HEAD_DIM: tl.constexpr, V_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """K and V [B, H_kv, n, ..] at the keys first + x // width * period + x % width, x below `keys`: to contiguous
    tensors [B, H_kv, keys, ..].

    KV_HEADS says for which key heads, where it is given; the others are left as they are.
    """
    batch, head = tl.program_id(2), tl.program_id(1)
    if KV_HEADS is not None:
        head = tl.load(KV_HEADS + head)
    begin = tl.program_id(0) * BLOCK
    x = begin + tl.arange(0, BLOCK)
    mask, v_mask = tile_mask(x, keys, HEAD_DIM, BLOCK_D), tile_mask(x, keys, V_DIM, BLOCK_V)
    key, bh = first + x // width * period + x % width, batch * kv_heads + head
    k = tl.load(rows_ptrs(K, k_b, k_h, k_n, batch, head, key, BLOCK_D), mask=mask, other=0.0)
    v = tl.load(rows_ptrs(V, v_b, v_h, v_n, batch, head, key, BLOCK_V), mask=v_mask, other=0.0)
    tl.store(row_ptrs(K_GATHERED, bh, keys, begin, 1, HEAD_DIM, BLOCK, BLOCK_D), k, mask=mask)
    tl.store(row_ptrs(V_GATHERED, bh, keys, begin, 1, V_DIM, BLOCK, BLOCK_V), v, mask=v_mask)
