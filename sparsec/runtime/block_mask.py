"""A pattern as FlexAttention's BlockMask: from the classes of its tiles, or with data of a call by looking at pairs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from sparsec.analysis.blocks import blocks
from sparsec.ir import nodes as ir
from sparsec.runtime.flex import mask_mod
from sparsec.runtime.given import checked


def block_mask(
    pattern: ir.Pattern,
    n: int,
    block_size: int | tuple[int, int] = 128,
    n_q: int | None = None,
    device: torch.device | str = "cpu",
    batch: int | None = None,
    heads: int | None = None,
    inputs: Mapping[str, object] = MappingProxyType({}),
) -> BlockMask:
    """What `create_block_mask(mask_mod, batch, heads, n_q, n)` makes of the pattern, entry by entry.

    Query i stands at position i + n - n_q.  `heads` is the pattern's own number by default, that of `inputs`, or 1
    where it serves any, and `batch` alike.  ValueError for numbers that don't fit, SparsecError for inputs.
    """
    tile = (block_size, block_size) if isinstance(block_size, int) else tuple(block_size)
    n_q = n if n_q is None else n_q
    mod = mask_mod(pattern, n, device, n - n_q, inputs)
    if pattern.inputs:
        _, sizes = checked(pattern, inputs, n)
        _checked(pattern, tile, heads)
        batch, heads = batch or sizes.get("B"), heads or pattern.heads or sizes.get("H")
        return create_block_mask(mod, batch, heads, n_q, n, device, BLOCK_SIZE=tile)
    heads = _checked(pattern, tile, heads)
    high, wide = tile
    found = [blocks(condition, n, (high, wide), range(n - n_q, n)) for condition in pattern.conditions]
    chosen = list(pattern.head_conditions or (0,) * heads)
    partial, full = (np.stack([getattr(each, name) for each in found]) for name in ("partial", "full"))
    numbers: dict[str, Tensor] = {}
    for name, grids in (("", partial), ("full_", full)):
        for side, seen in (("kv", grids), ("q", grids.swapaxes(1, 2))):
            count, indices = (_spread(values, chosen, batch or 1, device) for values in _ordered(seen))
            numbers |= {f"{name}{side}_num_blocks": count, f"{name}{side}_indices": indices}
    return BlockMask(seq_lengths=(n_q, n), BLOCK_SIZE=tile, mask_mod=mod, **numbers)


def _checked(pattern: ir.Pattern, tile: tuple[int, ...], heads: int | None) -> int:
    if len(tile) != 2 or min(tile) < 1:
        raise ValueError(f"block_size is a positive integer or two of them, not {tile}")
    own = pattern.heads
    if own is not None and heads not in (None, own):
        raise ValueError(f"the pattern is compiled for {own} heads, not {heads}")
    return own or heads or 1


def _ordered(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int32 [..., rows] and [..., rows, columns]: how many are true, and all columns, the true ones first."""
    order = np.argsort(~seen, axis=-1, kind="stable")
    return seen.sum(-1, dtype=np.int32), order.astype(np.int32)


def _spread(values: np.ndarray, chosen: list[int], batch: int, device: torch.device | str) -> Tensor:
    """[conditions, ...] -> [batch, heads, ...]"""
    return torch.from_numpy(np.repeat(values[chosen][None], batch, axis=0)).to(device)
