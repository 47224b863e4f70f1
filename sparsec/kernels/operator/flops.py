"""Operations that torch.utils.flop_counter counts for a pattern: those of kept pairs, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.cpu.order import order_of
from sparsec.kernels.cpu.torch_path import head_groups, parts_to_run, regions_after
from sparsec.kernels.cpu.visits import parts_of, visits_of
from sparsec.kernels.operator.one_by_one import calls_alone
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.program.input_entries import Entries
from sparsec.kernels.program.program import Program, Region
from sparsec.kernels.sequences.sequences import known


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
    streams: Any,
    dropout_p: Any,
    deterministic: Any,
    reals: list[Tensor],
    **_: Any,
) -> int:
    """Two products of tiles."""
    columns = q.shape[3] + v.shape[3]
    return _flops(program, Call(q, k, v, 1.0, q_offset, inputs=[*inputs, *reals], table=sequences), columns)


def backward_flops(
    program: Program, g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Any, lse: Any, dlse: Any,
    sequences: Tensor | None, inputs: list[Tensor], scale: Any, q_offset: int, streams: Any, dropout_p: Any,
    deterministic: Any, reals: list[Tensor], **_: Any,
) -> int:  # fmt: skip
    """Five products of tiles, as scaled_dot_product_attention counts them."""
    columns = 3 * q.shape[3] + 2 * v.shape[3]
    return _flops(program, Call(q, k, v, 1.0, q_offset, inputs=[*inputs, *reals], table=sequences), columns)


def _flops(program: Program, call: Call, columns: int) -> int:
    """Two operations for each of the columns that products of tiles have together, for kept pairs alone."""
    (batch, heads, n_q, _), (_, kv_heads, n, _) = call.q.shape, call.k.shape
    with torch.utils._python_dispatch._disable_current_modes():
        if len(call.inputs) > program.score_inputs:
            pairs = _pairs_given(program, call)
        elif call.table is None:
            pairs = batch * kept_pairs(program, heads, kv_heads, n_q, n, call.q_offset)
        else:
            pairs = sum(
                kept_pairs(program, heads, kv_heads, each.n_q, each.n, each.q_offset, each.k_begin)
                for each in known(call.table)
            )
        return 2 * columns * pairs


def _pairs_given(program: Program, call: Call) -> int:
    """Pairs that are kept with the data of a call."""
    call = call._replace(inputs=[x.cpu() for x in call.inputs])
    if call.table is None:
        return kept_pairs_given(program, call)
    return sum(kept_pairs_given(program, alone) for _, _, alone in calls_alone(program, call))


@lru_cache(maxsize=64)
def kept_pairs(program: Program, heads: int, kv_heads: int, n_q: int, n: int, q_offset: int, k_begin: int = 0) -> int:
    """Pairs that the pattern keeps in all heads."""
    total = 0
    for regions, own, _ in head_groups(program, heads, kv_heads, n):
        served = heads if isinstance(own, slice) else len(own)
        total += served * sum(_pairs_of(region, n_q, n, q_offset) for region in regions_after(regions, k_begin))
    return total


def kept_pairs_given(program: Program, call: Call) -> int:
    """Pairs that the pattern keeps in all rows and heads, with the data of a call, on the CPU."""
    (batch, count, n_q, _), n, total = call.q.shape, call.k_begin + call.k.shape[2], 0
    for part in parts_to_run(program, call):
        served = len(range(batch)[part.rows]) * (count if isinstance(part.heads, slice) else len(part.heads))
        regions = regions_after(part.regions, call.k_begin)
        total += served * sum(_pairs_of(region, n_q, n, call.q_offset, part.entries) for region in regions)
    return total


def _pairs_of(region: Region, n_q: int, n: int, q_offset: int, entries: Sequence[Entries] = ()) -> int:
    order = order_of(region, n_q, n, q_offset)
    parts = (visits_of(order, *part, entries) for part in parts_of(order))
    return sum(int(visits.pairs[visits.mask].sum()) for visits in parts)
