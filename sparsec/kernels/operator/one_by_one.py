"""Calls about several sequences, one after the other: those of equal sizes together, as the rows of a batch.

What it computes for a sequence is what a call with that sequence alone computes: this is the meaning of packing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.inputs import part_of
from sparsec.kernels.program.program import Program
from sparsec.kernels.sequences.inputs import FirstLists, input_alone
from sparsec.kernels.sequences.sequences import SequenceLine, known

_Places = list[SequenceLine]  # of sequences of equal sizes


def forward_each(
    forward: Callable[[Program, Call], tuple[Tensor, Tensor]], program: Program, call: Call
) -> tuple[Tensor, Tensor]:
    """out like q, and the log-sum-exp [B, H, n_q], of the sequences of a call; `forward` computes one batch."""
    out, lse = call.no_results()
    for like, places, alone in calls_alone(program, call):
        some, some_lse = forward(program, alone)
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
    for like, places, alone in calls_alone(program, call):
        found = backward(program, alone, upstream.of(partial(_own_queries, like=like, places=places)))
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
    for like, places, alone in calls_alone(program, call):
        own = upstream.of(partial(_own_queries, like=like, places=places))
        keys = slice(like.k_first, like.k_first + like.n - like.k_begin)
        more = gradients(program, alone, own)
        for declared, x, some in zip(program.inputs[first:], found, more, strict=True):
            part_of(declared, x[like.row], keys).add_(some[0].view(part_of(declared, x[like.row], keys).shape))
    return found


def calls_alone(program: Program, call: Call) -> Iterator[tuple[SequenceLine, _Places, Call]]:
    """The calls of sequences of equal sizes and positions: one of them, where each is, and their call."""
    assert call.table is not None
    lines = known(call.table)
    first_lists, found = FirstLists(lines), dict[tuple, _Places]()
    for number, line in enumerate(lines):  # data may tell them apart
        sizes = line.n_q, line.k_begin, line.n, line.q_offset, number if call.inputs else 0
        found.setdefault(sizes, []).append(line)
    for places in found.values():
        yield places[0], places, _call_alone(program, call, places, first_lists)


def _call_alone(program: Program, call: Call, places: _Places, first_lists: FirstLists) -> Call:
    """The call of some sequences alone; where it has inputs, of one."""
    like = places[0]
    q, (k, v) = _own_queries(call.q, like, places), (_own_keys(x, like, places) for x in (call.k, call.v))
    given = zip(program.inputs, call.inputs, strict=True)
    inputs = [input_alone(own, x, like, first_lists, call.q.shape[2]) for own, x in given]
    sinks = call.sinks
    if sinks is not None and len(sinks) > 1:
        sinks = sinks[[own.row for own in places]]
    dropout = call.dropout and call.dropout._replace(streams=call.dropout.streams[[own.line for own in places]])
    return Call(q, k, v, call.scale, like.q_offset, like.k_begin, inputs, sinks, None, dropout, call.deterministic)


def _own_queries(x: Tensor, like: SequenceLine, places: _Places) -> Tensor:
    """The rows of Q of some sequences, [sequences, H, n_q, ..], of x [B, H, n_q, ..]."""
    return _as_batch([x[own.row, :, own.q_first : own.q_first + like.n_q] for own in places])


def _own_keys(x: Tensor, like: SequenceLine, places: _Places) -> Tensor:
    """The rows of K of some sequences, [sequences, H_kv, keys, D]."""
    count = like.n - like.k_begin
    return _as_batch([x[own.row, :, own.k_first : own.k_first + count] for own in places])


def _as_batch(some: list[Tensor]) -> Tensor:
    return some[0][None] if len(some) == 1 else torch.stack(some)
