"""The forward pass of GPU tensors: which kernels are launched, on what, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from sparsec.kernels.launches.kernel_inputs import for_kernels
from sparsec.kernels.launches.launch import Environment, Meta, Pass, Slot, remember
from sparsec.kernels.machine.device import LOG2_E_FLOAT
from sparsec.kernels.machine.hardware import dot_precision
from sparsec.kernels.machine.memory import as_contiguous, as_readable, dense_strides, lying_as
from sparsec.kernels.passes.chosen_keys import lists_of_keys, unread_lists
from sparsec.kernels.passes.heads_as_rows import as_heads, as_rows, rows_of_query
from sparsec.kernels.passes.rows import launch_rows
from sparsec.kernels.program.arguments import Call, Dropout
from sparsec.kernels.program.program import Kernel, Program


def forward_gpu(program: Program, call: Call) -> tuple[Tensor, Tensor]:
    """out [B, H, n_q, D_v], and the log-sum-exp [B, H, n_q] in float32."""
    check_begin(call.k_begin)
    if call.is_empty:
        return call.no_results()
    q = call.q
    if q.shape[3] != call.v.shape[3] and program.grouped:
        out, lse = forward_gpu(program, call.of_one_size())
        return lying_as(out[..., : call.v.shape[3]], q), lse
    listed = lists_of_keys(program, call)
    rows = 1 if listed else rows_of_call(program, call)
    own, k, v = as_readable(as_rows(q, rows)), as_readable(call.k), as_readable(call.v)
    unread = unread_lists(program, listed, k.shape[2])
    data = for_kernels(program, call.inputs, call.positions, k.shape[2], rows, unread) | listed | data_besides(call)
    run = prepared_forward(program, own, k, v, call.q_offset, data=data, rows_of_query=rows, dropout=call.dropout)
    env = run({"Q": own, "K": k, "V": v, "scale_log2": call.scale * LOG2_E_FLOAT, **data})
    return as_heads(env["OUT"], q, rows), as_heads(env["LSE"], q, rows)


def rows_of_call(program: Program, call: Call) -> int:
    """How many heads stand side by side: 1 where kernels ask for the head of a tile."""
    alone = call.sinks is None and call.dropout is None
    return rows_of_query(program, call.q, call.k, call.inputs) if alone else 1


def data_besides(call: Call) -> dict[str, Tensor]:
    """What kernels read of a call besides its inputs, by name."""
    return data_of_sinks(call.sinks) | data_of_dropout(call.dropout)


def data_of_dropout(dropout: Dropout | None) -> dict[str, Tensor]:
    """What kernels read of dropout, by name."""
    return {} if dropout is None else {"STREAMS": as_contiguous(dropout.streams)}


def values_of_dropout(dropout: Dropout | None) -> Environment:
    """What kernels take about dropout, by name."""
    if dropout is None:
        return {}
    return {"STREAMS": Slot("STREAMS"), "drop_below": dropout.drop_below, "kept_share": dropout.kept_share}


def data_of_sinks(sinks: Tensor | None) -> dict[str, Tensor]:
    """What kernels read of the sinks of a call, by name."""
    return {} if sinks is None else {"SINKS": as_contiguous(sinks)}


def check_begin(k_begin: int) -> None:
    """ValueError for keys that begin after position 0."""
    if k_begin:
        raise ValueError(f"[SP0612] k_offset must be 0 or less on a GPU, got {k_begin}: pass all keys")


def prepared_forward(
    program: Program,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_offset: int,
    sequences: Tensor | None = None,
    data: Mapping[str, Tensor] = MappingProxyType({}),
    rows_of_query: int = 1,
    dropout: Dropout | None = None,
) -> Pass:
    """The forward pass for such tensors, all readable.

    `sequences`: a table of those that the call is about; `data`: what kernels read of inputs, sinks and dropout, by
    name; `rows_of_query`: heads that stand side by side in q.
    """
    strides, lines = (q.stride(), k.stride(), v.stride()), 0 if sequences is None else len(sequences)
    key: tuple = "forward", q.shape, k.shape, v.shape, strides, q.dtype, q.device, q_offset, lines
    key += dot_precision(q.dtype), rows_of_query, dropout and dropout.p
    key += tuple((x.shape, x.dtype) for x in data.values())
    run = program.passes.get(key)
    if run is None:
        given = {"Q": q, "K": k, "V": v, **({} if sequences is None else {"SEQUENCES": sequences}), **data}
        metas = {name: Meta.of(x) for name, x in given.items()}
        run = remember(program, key, _forward_pass(program, metas, q_offset, rows_of_query, dropout))
    return run


def _forward_pass(
    program: Program, metas: Environment, q_offset: int, rows_of_query: int, dropout: Dropout | None
) -> Pass:
    run, q = Pass(program, **metas), metas["Q"]
    run.rows_of_query = rows_of_query
    shape = *q.shape[:3], metas["V"].shape[3]
    run.empty("OUT", shape, q.dtype, dense_strides(shape, q.strides))
    run.empty("LSE", q.shape[:3], torch.float32)
    always: Environment = {"LSE": Slot("LSE")} | values_of_dropout(dropout)
    started = always.copy()
    if sinks := metas.get("SINKS"):
        started |= {"SINKS": Slot("SINKS"), "sinks_b": sinks.strides[0] if sinks.shape[0] > 1 else 0}

    def more(kernel: Kernel) -> Environment:
        return started if kernel.begin == "init" else always

    launch_rows(run, "forward", {"Q": q}, q.shape[2], more, q_offset)
    return run
