"""Calls like one before: straight to the prepared kernels, or with gradients to the function that autograd knows.

torch's dispatcher and the checks of a call take longer than the launch of a kernel.  A model repeats calls whose tensors
differ in their data alone; what was found sound once is sound again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.arguments import Call
from sparsec.kernels.device import LOG2_E_FLOAT
from sparsec.kernels.forward import data_of_sinks, prepared_forward
from sparsec.kernels.hardware import dot_precision
from sparsec.kernels.inputs import spread
from sparsec.kernels.kernel_inputs import for_kernels
from sparsec.kernels.launch import Environment, Pass, joined
from sparsec.kernels.memory import as_readable
from sparsec.kernels.packed import at_once
from sparsec.kernels.positions import Positions, looks
from sparsec.kernels.program import Program
from sparsec.kernels.sequence_table import table_inputs, table_pass
from sparsec.kernels.watched import alike, watched, watched_beside_dispatcher

_MOST = 128  # signatures that are kept


class Repeated:
    """The calls of a program that went well, by their signatures."""

    def __init__(self, program: Program, differentiable: Callable) -> None:
        """`differentiable`: the forward pass as autograd has it."""
        self.program, self.differentiable = program, differentiable
        self.known: dict[tuple, _Known] = {}
        self.last = _Last()
        self.chooses = any(own.by_row for own in program.inputs)

    def signature(
        self, q: Tensor, k: Tensor, v: Tensor, scale: Any, positions: Positions, sinks: Any, inputs: Mapping[str, Any]
    ) -> tuple | None:
        """All that a call's checks and launches depend on; None for a call that torch has to see."""
        q_offset, k_offset, documents, lengths, q_lengths = positions
        plain = k_offset is documents is lengths is q_lengths is sinks is None and not inputs
        plain = plain and (q_offset is None or type(q_offset) is int)
        last = self.last  # once: other threads may call
        if plain and last.serves(q, k, v, scale, q_offset):
            return last.signature
        if not (type(q) is type(k) is type(v) is Tensor) or self.chooses or watched():
            return None
        if scale is not None and type(scale) is not float:
            return None
        more = q_offset if plain else _more(positions, sinks, inputs)
        if more is None and not plain:
            return None
        asks = q.requires_grad or k.requires_grad or v.requires_grad
        asks = asks or any(isinstance(x, Tensor) and x.requires_grad for x in (sinks, *inputs.values()))
        signature = (
            *(q.shape, k.shape, v.shape, q.stride(), k.stride(), v.stride()),
            *(q.dtype, k.dtype, v.dtype, q.device, k.device, v.device),
            *(scale, more, dot_precision(q.dtype), asks and torch.is_grad_enabled()),
        )
        if plain:  # seen twice in a row, it is asked for in C
            twice = signature == last.signature and q.dtype != torch.float32
            self.last = _Last(signature, scale, q_offset, torch.is_grad_enabled(), alike(q, k, v) if twice else None)
        return signature

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
        known = self.known.get(signature)
        if known is None or (q.data_ptr() | k.data_ptr() | v.data_ptr()) % 16:
            return None
        of_rows = table_inputs(positions) if known.table is not None else {}
        data = spread(self.program.inputs, inputs, q.dtype) if inputs else []
        if known.forward is None:
            table = known.table and known.table(of_rows)["SEQUENCES"]
            rows = None if sinks is None else sinks[None]
            count = len(data) - self.program.score_inputs
            given = q, k, v, rows, table, data[:count], known.scale, known.q_offset, None, 0.0
            return self.differentiable(*given, *data[count:])
        env: Environment = {"Q": q, "K": k, "V": v, "scale_log2": known.scale * LOG2_E_FLOAT, **of_rows}
        if data:
            env |= for_kernels(self.program, data, known.most, k.shape[2])
        if sinks is not None:
            env |= data_of_sinks(sinks[None])
        known.forward(env)
        return env["OUT"], env["LSE"]

    def remember(self, signature: tuple, positions: Positions, call: Call) -> None:
        """Keeps what a call needs that went well on a GPU.

        Not where tensors had to be copied or changed first, nor of a call without pairs, nor of one whose sequences ran
        one by one.
        """
        *_, given, _, _, asks = signature
        q, k, v = call[:3]
        if call.is_empty or (given is not None and given <= 0) or not all(as_readable(x) is x for x in (q, k, v)):
            return
        table = run = None
        if call.table is not None:
            if not at_once(self.program):
                return
            table = table_pass(self.program, positions, q, k)
        if not asks:
            data = for_kernels(self.program, call.inputs, call.positions, k.shape[2]) | data_of_sinks(call.sinks)
            run = prepared_forward(self.program, q, k, v, call.q_offset, call.table, data)
            run = joined(table, run) if table else run
        while len(self.known) >= _MOST:
            self.known.pop(next(iter(self.known)), None)
        self.known[signature] = _Known(run, call.scale, call.q_offset, call.positions, table)


class _Last(NamedTuple):
    """The signature of the last call that says nothing of positions but its q_offset, and has no data."""

    signature: tuple = ()
    scale: float | None = None
    q_offset: int | None = None
    gradients: bool = False  # whether they are enabled
    alike: Callable[..., bool] | None = None

    def serves(self, q: Any, k: Any, v: Any, scale: Any, q_offset: int | None) -> bool:
        """Whether a call has the same signature."""
        return (
            self.alike is not None
            and (scale is None if self.scale is None else type(scale) is float and scale == self.scale)
            and q_offset == self.q_offset
            and torch.is_grad_enabled() is self.gradients
            and not watched_beside_dispatcher()
            and self.alike(q, k, v)
        )


class _Known(NamedTuple):
    """What a call needs besides its tensors."""

    forward: Pass | None  # None: autograd has to see it
    scale: float
    q_offset: int
    most: int  # positions of queries and keys
    table: Pass | None  # which writes the table of their sequences, before the forward pass or in it


def _more(positions: Positions, sinks: Any, inputs: Mapping[str, Any]) -> tuple | None:
    """What checks and launches depend on besides q, k and v: of tensors all but their values.  None as of a signature."""
    if looks() and not positions.plain:
        return None
    if sinks is not None and (type(sinks) is not Tensor or sinks.dtype != torch.float32):
        return None
    found: list[Any] = [*inputs]
    for x in (*positions, sinks, *inputs.values()):
        if x is None or type(x) is int:
            found.append(x)
        elif type(x) is Tensor and x.is_contiguous():
            found.append((x.shape, x.dtype, x.device))
        else:
            return None
    return tuple(found)
