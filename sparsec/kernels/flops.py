"""Operations that torch.utils.flop_counter counts for a pattern: those of kept pairs, exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.program import Program
from sparsec.kernels.sequences import known
from sparsec.kernels.torch_path import kept_pairs


def forward_flops(
    program: Program, q: Tensor, k: Tensor, v: Tensor, sequences: Tensor | None, scale: Any, q_offset: int, **_: Any
) -> int:
    """Two products of tiles."""
    return _flops(program, q, k, sequences, q_offset, 2)


def backward_flops(
    program: Program, g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Any, lse: Any, dlse: Any,
    sequences: Tensor | None, scale: Any, q_offset: int, **_: Any,
) -> int:  # fmt: skip
    """Five products of tiles, as scaled_dot_product_attention counts them."""
    return _flops(program, q, k, sequences, q_offset, 5)


def _flops(program: Program, q: Tensor, k: Tensor, sequences: Tensor | None, q_offset: int, products: int) -> int:
    """Two operations for each number of each product of tiles, for kept pairs alone."""
    batch, heads, n_q, dim = q.shape
    with torch.utils._python_dispatch._disable_current_modes():
        if sequences is None:
            pairs = batch * kept_pairs(program, heads, k.shape[1], n_q, k.shape[2], q_offset)
        else:
            pairs = sum(
                kept_pairs(program, heads, k.shape[1], each.n_q, each.n, each.q_offset, each.k_begin)
                for each in known(sequences)
            )
        return 2 * products * dim * pairs
