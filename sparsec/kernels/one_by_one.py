"""Calls about several sequences, one after the other: those of equal sizes together, as the rows of a batch.

What it computes for a sequence is what a call with that sequence alone computes: this is the meaning of packing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.inputs import cut
from sparsec.kernels.memory import empty_as
from sparsec.kernels.program import Program
from sparsec.kernels.sequences import SequenceLine, known

_Places = list[tuple[int, int, int]]  # row of the batch, first row of Q, first row of K and V


def forward_each(
    forward: Callable[..., tuple[Tensor, Tensor]],
    program: Program,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: Tensor,
    inputs: Sequence[Tensor],
    scale: float,
    sinks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """out like q, and the log-sum-exp [B, H, n_q], of the sequences of a table; `forward` computes one batch."""
    out = empty_as(q).zero_()
    lse = q.new_full(q.shape[:3], float("-inf"), dtype=torch.promote_types(q.dtype, torch.float32))
    for like, places in _sequences_alike(table, bool(inputs)):
        own_q, own_k, own_v = _own_queries(q, like, places), _own_keys(k, like, places), _own_keys(v, like, places)
        own_inputs = _own_inputs(program, inputs, like) or ([],)
        own_sinks = sinks if sinks is None or len(sinks) == 1 else sinks[[row for row, _, _ in places]]
        tensors = own_q, own_k, own_v
        some, some_lse = forward(program, *tensors, scale, like.q_offset, like.k_begin, *own_inputs, own_sinks)
        for index, (row, first, _) in enumerate(places):
            out[row, :, first : first + like.n_q] = some[index]
            lse[row, :, first : first + like.n_q] = some_lse[index]
    return out, lse


def backward_each(
    backward: Callable[..., tuple[Tensor, Tensor, Tensor]],
    program: Program,
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dlse: Tensor | None,
    table: Tensor,
    inputs: Sequence[Tensor],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v over the sequences of a table; rows of none have zeros."""
    dq, dk, dv = empty_as(q).zero_(), empty_as(k).zero_(), empty_as(k).zero_()
    for like, places in _sequences_alike(table, bool(inputs)):
        of_queries = (None if x is None else _own_queries(x, like, places) for x in (g, q, out, lse, dlse))
        own_g, own_q, own_out, own_lse, own_dlse = of_queries
        own_k, own_v = _own_keys(k, like, places), _own_keys(v, like, places)
        tensors = own_g, own_q, own_k, own_v, own_out, own_lse, own_dlse
        own_inputs = _own_inputs(program, inputs, like)
        found = backward(program, *tensors, scale, like.q_offset, like.k_begin, *own_inputs)
        for index, (row, q_first, k_first) in enumerate(places):
            dq[row, :, q_first : q_first + like.n_q] = found[0][index]
            for x, some in zip((dk, dv), found[1:], strict=True):
                x[row, :, k_first : k_first + like.n - like.k_begin] = some[index]
    return dq, dk, dv


def _sequences_alike(table: Tensor, alone: bool) -> list[tuple[SequenceLine, _Places]]:
    """Sequences of equal sizes and positions: one of them, and where each is.  `alone`: data may tell them apart."""
    found: dict[tuple, tuple[SequenceLine, _Places]] = {}
    for number, line in enumerate(known(table)):
        sizes: Any = line.n_q, line.k_begin, line.n, line.q_offset, number if alone else 0
        found.setdefault(sizes, (line, []))[1].append((line.row, line.q_first, line.k_first))
    return list(found.values())


def _own_queries(x: Tensor, like: SequenceLine, places: _Places) -> Tensor:
    """The rows of Q of some sequences, [sequences, H, n_q, ..], of x [B, H, n_q, ..]."""
    return _as_batch([x[row, :, first : first + like.n_q] for row, first, _ in places])


def _own_keys(x: Tensor, like: SequenceLine, places: _Places) -> Tensor:
    """The rows of K of some sequences, [sequences, H_kv, keys, D]."""
    count = like.n - like.k_begin
    return _as_batch([x[row, :, first : first + count] for row, _, first in places])


def _own_inputs(program: Program, inputs: Sequence[Tensor], line: SequenceLine) -> tuple[list[Tensor], ...]:
    """What a sequence reads of the inputs; nothing where there are none."""
    keys = slice(line.k_first, line.k_first + line.n - line.k_begin)
    return ([cut(own, x, line.row, keys) for own, x in zip(program.inputs, inputs, strict=True)],) if inputs else ()


def _as_batch(some: list[Tensor]) -> Tensor:
    return some[0][None] if len(some) == 1 else torch.stack(some)
