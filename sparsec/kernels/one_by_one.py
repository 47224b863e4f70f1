"""Calls about several sequences, one after the other: those of equal sizes together, as the rows of a batch.

What it computes for a sequence is what a call with that sequence alone computes: this is the meaning of packing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.arguments import Call, Upstream
from sparsec.kernels.inputs import cut, part_of
from sparsec.kernels.program import Program
from sparsec.kernels.sequences import SequenceLine, known

_Places = list[SequenceLine]  # of sequences of equal sizes


def forward_each(
    forward: Callable[[Program, Call], tuple[Tensor, Tensor]], program: Program, call: Call
) -> tuple[Tensor, Tensor]:
    """out like q, and the log-sum-exp [B, H, n_q], of the sequences of a call; `forward` computes one batch."""
    out, lse = call.no_results()
    for like, places in _sequences_alike(call):
        some, some_lse = forward(program, call_alone(program, call, like, places))
        for index, own in enumerate(places):
            rows = slice(own.q_first, own.q_first + like.n_q)
            out[own.row, :, rows], lse[own.row, :, rows] = some[index], some_lse[index]
    return out, lse


def backward_each(
    backward: Callable[[Program, Call, Upstream], tuple[Tensor, Tensor, Tensor]],
    program: Program,
    call: Call,
    upstream: Upstream,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v over the sequences of a call; rows of none have zeros."""
    dq, dk, dv = call.no_gradients()
    for like, places in _sequences_alike(call):
        some_upstream = upstream.of(partial(_own_queries, like=like, places=places))
        found = backward(program, call_alone(program, call, like, places), some_upstream)
        for index, own in enumerate(places):
            dq[own.row, :, own.q_first : own.q_first + like.n_q] = found[0][index]
            for x, some in zip((dk, dv), found[1:], strict=True):
                x[own.row, :, own.k_first : own.k_first + like.n - like.k_begin] = some[index]
    return dq, dk, dv


def input_gradients_each(
    gradients: Callable[[Program, Call, Upstream], list[Tensor]], program: Program, call: Call, upstream: Upstream
) -> list[Tensor]:
    """The gradients of float inputs [B, H or 1, entries] over the sequences of a call."""
    first = len(program.inputs) - program.score_inputs
    found = [x.new_zeros(call.q.shape[0], *x.shape[1:]) for x in call.inputs[first:]]
    for like, places in _sequences_alike(call):
        own = upstream.of(partial(_own_queries, like=like, places=places))
        keys = slice(like.k_first, like.k_first + like.n - like.k_begin)
        more = gradients(program, call_alone(program, call, like, places), own)
        for declared, x, some in zip(program.inputs[first:], found, more, strict=True):
            part_of(declared, x[like.row], keys).add_(some[0].view(part_of(declared, x[like.row], keys).shape))
    return found


def _sequences_alike(call: Call) -> list[tuple[SequenceLine, _Places]]:
    """Sequences of equal sizes and positions: one of them, and where each is.  Data may tell them apart."""
    assert call.table is not None
    found: dict[tuple, tuple[SequenceLine, _Places]] = {}
    for number, line in enumerate(known(call.table)):
        sizes: Any = line.n_q, line.k_begin, line.n, line.q_offset, number if call.inputs else 0
        found.setdefault(sizes, (line, []))[1].append(line)
    return list(found.values())


def call_alone(program: Program, call: Call, like: SequenceLine, places: _Places) -> Call:
    """The call of some sequences alone."""
    q, (k, v) = _own_queries(call.q, like, places), (_own_keys(x, like, places) for x in (call.k, call.v))
    keys = slice(like.k_first, like.k_first + like.n - like.k_begin)
    inputs = [cut(own, x, like.row, keys) for own, x in zip(program.inputs, call.inputs, strict=True)]
    sinks = call.sinks
    if sinks is not None and len(sinks) > 1:
        sinks = sinks[[own.row for own in places]]
    dropout = call.dropout and call.dropout._replace(streams=call.dropout.streams[[own.line for own in places]])
    return Call(q, k, v, call.scale, like.q_offset, like.k_begin, inputs, sinks, dropout=dropout)


def _own_queries(x: Tensor, like: SequenceLine, places: _Places) -> Tensor:
    """The rows of Q of some sequences, [sequences, H, n_q, ..], of x [B, H, n_q, ..]."""
    return _as_batch([x[own.row, :, own.q_first : own.q_first + like.n_q] for own in places])


def _own_keys(x: Tensor, like: SequenceLine, places: _Places) -> Tensor:
    """The rows of K of some sequences, [sequences, H_kv, keys, D]."""
    count = like.n - like.k_begin
    return _as_batch([x[own.row, :, own.k_first : own.k_first + count] for own in places])


def _as_batch(some: list[Tensor]) -> Tensor:
    return some[0][None] if len(some) == 1 else torch.stack(some)
