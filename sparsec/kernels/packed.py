"""Calls about several sequences on a GPU: the kernels of a pass go over the tiles of all of them.

The table of sequences stays on the device, so that no call waits for it and no number in it compiles anything.  Where
a pattern needs what is made for one length (tables of random choices, gathered keys, lists of tiles, counted entries),
sequences run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsec.kernels.backward import backward_gpu, backward_inputs, prepared_backward
from sparsec.kernels.device import LOG2_E_FLOAT
from sparsec.kernels.forward import data_of_sinks, forward_gpu, prepared_forward
from sparsec.kernels.kernel_inputs import for_kernels
from sparsec.kernels.memory import as_readable, empty_as
from sparsec.kernels.one_by_one import backward_each, forward_each
from sparsec.kernels.program import Program
from sparsec.kernels.sequences import table_lines
from sparsec.kernels.stages import packs


def forward_packed(
    program: Program,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: Tensor,
    inputs: Sequence[Tensor],
    scale: float,
    sinks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """out like q, and the log-sum-exp [B, H, n_q] in float32, of the sequences of a table."""
    if not at_once(program):
        _refuse_capture(table)
        return forward_each(forward_gpu, program, q, k, v, table, inputs, scale, sinks)
    if q.numel() * k.numel() == 0:
        return empty_as(q).zero_(), q.new_full(q.shape[:3], float("-inf"), dtype=torch.float32)
    q, k, v, table = as_readable(q), as_readable(k), as_readable(v), _padded_table(table)
    data = for_kernels(program, inputs, 0, k.shape[2]) | data_of_sinks(sinks)
    run = prepared_forward(program, q, k, v, 0, table, data)
    env = run({"Q": q, "K": k, "V": v, "SEQUENCES": table, "scale_log2": scale * LOG2_E_FLOAT, **data})
    return env["OUT"], env["LSE"]


def backward_packed(
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
    tensors = g, q, k, v, out, lse, dlse
    if not at_once(program):
        _refuse_capture(table)
        return backward_each(backward_gpu, program, *tensors, table, inputs, scale)
    if q.numel() * k.numel() == 0:
        return empty_as(q).zero_(), empty_as(k).zero_(), empty_as(k).zero_()
    env = backward_inputs(*tensors, scale) | {"SEQUENCES": _padded_table(table)}
    env |= for_kernels(program, inputs, 0, k.shape[2])
    prepared_backward(program, env, 0)(env)
    return env["DQ"], env["DK"], env["DV"]


def at_once(program: Program) -> bool:
    """Whether kernels can go over all sequences of a call.

    Not with lists whose entries are counted: nothing says how far positions of sequences reach.
    """
    counted = any("counted" in own.uses for own in program.inputs)
    return not counted and all(any(map(packs, group.variants)) for group in program.groups)


def _refuse_capture(table: Tensor) -> None:
    """ValueError where sequences can't run one by one either."""
    if table.is_cuda and torch.cuda.is_current_stream_capturing():
        cure = "call it outside of the graph: its sequences run one by one, and their lengths are read"
        raise ValueError(f"[SP0612] documents and lengths of this pattern can't be captured in a CUDA graph: {cure}")


def _padded_table(table: Tensor) -> Tensor:
    """The table with empty lines more, where it has none yet."""
    more = table_lines(table.shape[0]) - table.shape[0]
    return torch.nn.functional.pad(table, (0, 0, 0, more)).contiguous() if more else table.contiguous()
