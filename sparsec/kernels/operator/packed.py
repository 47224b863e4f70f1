"""Calls about several sequences on a GPU: the kernels of a pass go over the tiles of all of them.

The table of sequences stays on the device, so that no call waits for it and no number in it compiles anything.  Where
a pattern needs what is made for one length (tables drawn from all blocks, gathered keys, lists of tiles, counted
entries, chosen blocks, groups of tokens), sequences run one by one.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from sparsec.kernels.launches.kernel_inputs import for_kernels
from sparsec.kernels.launches.stages import packs
from sparsec.kernels.machine.device import LOG2_E_FLOAT
from sparsec.kernels.machine.memory import as_readable
from sparsec.kernels.operator.one_by_one import backward_each, forward_each, input_gradients_each
from sparsec.kernels.passes.backward import backward_gpu, backward_inputs, prepared_backward
from sparsec.kernels.passes.forward import data_besides, forward_gpu, prepared_forward
from sparsec.kernels.passes.read_gradients import input_gradients_gpu
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.program import Program
from sparsec.kernels.sequences.sequences import table_lines


def forward_packed(program: Program, call: Call) -> tuple[Tensor, Tensor]:
    """out like q, and the log-sum-exp [B, H, n_q] in float32, of the sequences of a call."""
    assert call.table is not None
    if not at_once(program, anywhere=not call.reach):
        return forward_each(forward_gpu, program, call)
    if call.is_empty:
        return call.no_results()
    call = _with_empty_lines(call)
    q, k, v, table = as_readable(call.q), as_readable(call.k), as_readable(call.v), call.table
    data = for_kernels(program, call.inputs, 0, k.shape[2]) | data_besides(call)
    run = prepared_forward(program, q, k, v, call.offset_of_kernels, table, data, dropout=call.dropout)
    env = run({"Q": q, "K": k, "V": v, "SEQUENCES": table, "scale_log2": call.scale * LOG2_E_FLOAT, **data})
    return env["OUT"], env["LSE"]


def backward_packed(program: Program, call: Call, upstream: Upstream) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v over the sequences of a call; rows of none have zeros."""
    assert call.table is not None
    if not at_once(program, anywhere=not call.reach):
        return backward_each(backward_gpu, program, call, upstream)
    if call.is_empty:
        return call.no_gradients()
    call = _with_empty_lines(call)
    env = backward_inputs(call, upstream) | {"SEQUENCES": call.table}
    env |= for_kernels(program, call.inputs, 0, call.k.shape[2])
    prepared_backward(program, env, call.offset_of_kernels, 1, call.dropout, call.deterministic)(env)
    return env["DQ"], env["DK"], env["DV"]


def input_gradients_packed(program: Program, call: Call, upstream: Upstream) -> list[Tensor]:
    """The gradients of float inputs over the sequences of a call."""
    assert call.table is not None
    if at_once(program, anywhere=not call.reach):
        return input_gradients_gpu(program, call, upstream)
    return input_gradients_each(input_gradients_gpu, program, call, upstream)


@functools.lru_cache(maxsize=256)
def at_once(program: Program, *, anywhere: bool) -> bool:
    """Whether kernels can go over all sequences of a call; `anywhere`: at positions that nobody bounds.

    Not with lists whose entries are counted: nothing says how far positions of sequences reach.  Nor with what is
    chosen, whose blocks and groups are those of each sequence.
    """
    alone = any("counted" in own.uses or own.by_row for own in program.inputs)
    return not alone and all(any(packs(each, anywhere) for each in group.variants) for group in program.groups)


def _with_empty_lines(call: Call) -> Call:
    """The call with empty lines more in its table, where it has none yet, and with streams for them."""
    assert call.table is not None
    dropout = call.dropout and call.dropout._replace(streams=_longer(call.dropout.streams))
    return call._replace(table=_longer(call.table), dropout=dropout)


def _longer(lines: Tensor) -> Tensor:
    more = table_lines(lines.shape[0]) - lines.shape[0]
    return torch.nn.functional.pad(lines, (0, 0, 0, more)).contiguous() if more else lines.contiguous()
