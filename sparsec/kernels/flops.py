"""Operations that torch.utils.flop_counter counts for a pattern: those of kept pairs, exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.inputs import cut
from sparsec.kernels.program import Program
from sparsec.kernels.sequences import known
from sparsec.kernels.torch_path import kept_pairs, kept_pairs_given


def forward_flops(
    program: Program,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Any,
    sequences: Tensor | None,
    inputs: list[Tensor],
    scale: Any,
    q_offset: int,
    **_: Any,
) -> int:
    """Two products of tiles."""
    return _flops(program, q, k, sequences, inputs, q_offset, 2)


def backward_flops(
    program: Program, g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Any, lse: Any, dlse: Any,
    sequences: Tensor | None, inputs: list[Tensor], scale: Any, q_offset: int, **_: Any,
) -> int:  # fmt: skip
    """Five products of tiles, as scaled_dot_product_attention counts them."""
    return _flops(program, q, k, sequences, inputs, q_offset, 5)


def _flops(
    program: Program,
    q: Tensor,
    k: Tensor,
    sequences: Tensor | None,
    inputs: list[Tensor],
    q_offset: int,
    products: int,
) -> int:
    """Two operations for each number of each product of tiles, for kept pairs alone."""
    batch, heads, n_q, dim = q.shape
    with torch.utils._python_dispatch._disable_current_modes():
        if inputs:
            pairs = _pairs_given(program, q, k, sequences, inputs, q_offset)
        elif sequences is None:
            pairs = batch * kept_pairs(program, heads, k.shape[1], n_q, k.shape[2], q_offset)
        else:
            pairs = sum(
                kept_pairs(program, heads, k.shape[1], each.n_q, each.n, each.q_offset, each.k_begin)
                for each in known(sequences)
            )
        return 2 * products * dim * pairs


def _pairs_given(
    program: Program, q: Tensor, k: Tensor, sequences: Tensor | None, inputs: list[Tensor], q_offset: int
) -> int:
    """Pairs that are kept with the data of a call."""
    if sequences is None:
        return kept_pairs_given(program, q, k, q.shape[2], k.shape[2], q_offset, 0, inputs)
    total = 0
    for each in known(sequences):
        keys = slice(each.k_first, each.k_first + each.n - each.k_begin)
        own = [cut(declared, x, each.row, keys) for declared, x in zip(program.inputs, inputs, strict=True)]
        total += kept_pairs_given(program, q[:1], k[:1], each.n_q, each.n, each.q_offset, each.k_begin, own)
    return total
