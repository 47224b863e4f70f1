"""Operations that torch.utils.flop_counter counts for a pattern: those of kept pairs, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.cpu_order import order_of
from sparsec.kernels.cpu_visits import parts_of, visits_of
from sparsec.kernels.inputs import Entries, cut
from sparsec.kernels.program import Program, Region
from sparsec.kernels.sequences import known
from sparsec.kernels.torch_path import head_groups, parts_to_run, regions_after


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


@lru_cache(maxsize=64)
def kept_pairs(program: Program, heads: int, kv_heads: int, n_q: int, n: int, q_offset: int, k_begin: int = 0) -> int:
    """Pairs that the pattern keeps in all heads."""
    total = 0
    for regions, own, _ in head_groups(program, heads, kv_heads, n):
        served = heads if isinstance(own, slice) else len(own)
        total += served * sum(_pairs_of(region, n_q, n, q_offset) for region in regions_after(regions, k_begin))
    return total


def kept_pairs_given(
    program: Program, q: Tensor, k: Tensor, n_q: int, n: int, q_offset: int, k_begin: int, inputs: Sequence[Tensor]
) -> int:
    """Pairs that the pattern keeps in all rows of q and heads, with these data."""
    total = 0
    for regions, rows, heads, _, entries in parts_to_run(
        program, q, k, n, [x.cpu() for x in inputs], q_offset, k_begin
    ):
        served = len(range(q.shape[0])[rows]) * (q.shape[1] if isinstance(heads, slice) else len(heads))
        total += served * sum(
            _pairs_of(region, n_q, n, q_offset, entries) for region in regions_after(regions, k_begin)
        )
    return total


def _pairs_of(region: Region, n_q: int, n: int, q_offset: int, entries: Sequence[Entries] = ()) -> int:
    order = order_of(region, n_q, n, q_offset)
    parts = (visits_of(order, *part, entries) for part in parts_of(order))
    return sum(int(visits.pairs[visits.mask].sum()) for visits in parts)
