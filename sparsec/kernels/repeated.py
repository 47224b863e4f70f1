"""Calls like one before, without gradients: straight to the prepared kernels.

torch's dispatcher and the checks of a call take longer than the launch of a kernel.  A decoding step or an evaluation
repeats calls whose tensors differ in their data alone; what was found sound once is sound again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.arguments import Call
from sparsec.kernels.device import LOG2_E_FLOAT
from sparsec.kernels.forward import data_of_sinks, prepared_forward
from sparsec.kernels.hardware import dot_precision
from sparsec.kernels.inputs import spread
from sparsec.kernels.kernel_inputs import for_kernels
from sparsec.kernels.launch import Environment, Pass
from sparsec.kernels.memory import as_readable
from sparsec.kernels.packed import at_once
from sparsec.kernels.positions import Positions, looks
from sparsec.kernels.program import Program
from sparsec.kernels.sequence_table import table_inputs, table_pass

_MOST = 128  # signatures that are kept


class Repeated:
    """The forward passes of a program by the signatures of calls."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.passes: dict[tuple, _Known] = {}
        self.chooses = any(own.by_row for own in program.inputs)

    def signature(
        self, q: Tensor, k: Tensor, v: Tensor, scale: Any, positions: Positions, sinks: Any, inputs: Mapping[str, Any]
    ) -> tuple | None:
        """All that a call's checks and launches depend on; None for a call that torch has to see."""
        if self.chooses or _watched() or not (type(q) is type(k) is type(v) is Tensor and q.is_cuda):
            return None
        if sinks is not None and (type(sinks) is not Tensor or sinks.dtype != torch.float32):
            return None
        tensors = (x for x in (q, k, v, sinks, *inputs.values()) if isinstance(x, Tensor))
        if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
            return None
        if type(scale) not in (float, _NONE):
            return None
        kinds = [_kind_of(x) for x in (*positions, sinks, *inputs.values())]
        if _UNKNOWN in kinds or (looks() and not positions.plain):
            return None
        shapes = q.shape, k.shape, v.shape, q.stride(), k.stride(), v.stride()
        types = q.dtype, k.dtype, v.dtype, q.device, k.device, v.device
        return *shapes, *types, *kinds, *inputs, scale, dot_precision(q.dtype)

    def run(
        self,
        signature: tuple,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        positions: Positions,
        sinks: Tensor | None,
        inputs: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor] | None:
        """out and the log-sum-exp of a call whose signature is known, None for others."""
        known = self.passes.get(signature)
        if known is None or (q.data_ptr() | k.data_ptr() | v.data_ptr()) % 16:
            return None
        env: Environment = {"Q": q, "K": k, "V": v, "scale_log2": known.scale * LOG2_E_FLOAT}
        if known.table is not None:
            env["SEQUENCES"] = known.table(table_inputs(positions))["SEQUENCES"]
        if inputs:
            env |= for_kernels(self.program, spread(self.program.inputs, inputs, q.dtype), known.most, k.shape[2])
        if sinks is not None:
            env |= data_of_sinks(sinks[None])
        known.forward(env)
        return env["OUT"], env["LSE"]

    def remember(
        self,
        signature: tuple,
        positions: Positions,
        call: Call,
    ) -> None:
        """Keeps the passes of a call that went well, with its scale.

        Not those of a call whose tensors had to be copied or changed first, nor of one without pairs, nor of one whose
        sequences ran one by one.
        """
        given, (q, k, v) = signature[-2], call[:3]
        if call.is_empty or (given is not None and given <= 0):
            return
        table = None
        if call.table is not None:
            if not at_once(self.program):
                return
            table = table_pass(self.program, positions, q, k)
        if all(as_readable(x) is x for x in (q, k, v)):
            while len(self.passes) >= _MOST:
                self.passes.pop(next(iter(self.passes)), None)
            data = for_kernels(self.program, call.inputs, call.positions, k.shape[2]) | data_of_sinks(call.sinks)
            run = prepared_forward(self.program, q, k, v, call.q_offset, call.table, data)
            self.passes[signature] = _Known(run, call.scale, call.positions, table)


class _Known(NamedTuple):
    """The pass of calls, and what it needs of them."""

    forward: Pass
    scale: float
    most: int  # positions of queries and keys
    table: Pass | None  # which writes the table of their sequences


_NONE = type(None)
_UNKNOWN = object()


def _kind_of(x: Any) -> Any:
    """What checks and launches depend on: of tensors all but their values."""
    if x is None or type(x) is int:
        return x
    return (x.shape, x.dtype, x.device) if type(x) is Tensor and x.is_contiguous() else _UNKNOWN


def _watched() -> bool:
    """Whether torch does more with an operator than run its kernel: traces it, transforms it, counts or profiles it."""
    c = torch._C
    return (
        torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cuda")
        or c._len_torch_dispatch_stack() > 0
        or c._len_torch_function_stack() > 0
        or c._are_functorch_transforms_active()
        or c._get_tracing_state() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or torch.autograd._profiler_enabled()
    )
