"""Calls like one before: straight to the prepared kernels, or with gradients to the function that autograd knows.

torch's dispatcher and the checks of a call take longer than the launch of a kernel.  A model repeats calls whose
tensors differ in their data alone; what was found sound once is sound again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from sparsec.kernels.scratch import Room, Scratch
from sparsec.kernels.sequence_table import table_inputs, table_pass
from sparsec.kernels.watched import likeness, watched, watched_beside_dispatcher

_MOST = 128  # signatures that are kept
_SIGNED = {type(None), int, str, type(Tensor)}  # of what a signature holds besides tensors and their scale


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
        if torch.compiler.is_compiling():  # before anything that differs from call to call
            return None
        q_offset, k_offset, documents, lengths, q_lengths = positions
        plain = k_offset is documents is lengths is q_lengths is sinks is None and type(q_offset) is not Tensor
        if plain and not inputs:
            tensors: tuple[Tensor, ...] = (q, k, v)
            given: tuple = (torch.is_grad_enabled(), scale, q_offset)
        elif looks():
            return None
        else:
            others = *positions, sinks, *inputs.values()
            tensors = q, k, v, *[x for x in others if type(x) is Tensor]
            places = [Tensor if type(x) is Tensor else x for x in others]
            given = torch.is_grad_enabled(), scale, *places, *inputs
        last = self.last  # once: other threads may call
        if last.serves(given, tensors):
            return last.signature
        if self.chooses or watched() or any(type(x) is not Tensor for x in tensors):
            return None
        if not (scale is None or type(scale) is float) or any(type(x) not in _SIGNED for x in given[2:]):
            return None
        if not all(x.is_contiguous() for x in tensors[3:]) or (sinks is not None and sinks.dtype != torch.float32):
            return None
        asks = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
        kinds = ((x.shape, x.stride(), x.dtype, x.device) for x in tensors)
        signature = asks, given, dot_precision(q.dtype), *kinds
        # Seen twice in a row, it is asked for in C; products of float32 follow a switch.
        twice = signature == last.signature and q.dtype != torch.float32
        self.last = _Last(signature, given, [*map(type, given)], likeness(*tensors) if twice else None)
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
        asks, (_, scale, *_), *_ = signature
        q, k, v = call[:3]
        if call.is_empty or (scale is not None and scale <= 0) or not all(as_readable(x) is x for x in (q, k, v)):
            return
        table = run = None
        if call.table is not None:
            if not at_once(self.program, anywhere=not call.reach):
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
    """The signature of the last call, and the arguments that are no tensors."""

    signature: tuple = ()
    given: tuple = ()
    types: Sequence[type] = ()  # True is not 1
    alike: Callable[..., bool] | None = None

    def serves(self, given: tuple, tensors: tuple[Tensor, ...]) -> bool:
        """Whether a call has the same signature."""
        return (
            self.alike is not None
            and [*map(type, given)] == self.types
            and given == self.given
            and not watched_beside_dispatcher()
            and self.alike(*tensors)
        )


class _Known(NamedTuple):
    """What a call needs besides its tensors."""

    forward: Pass | None  # None: autograd has to see it
    scale: float
    q_offset: int
    most: int  # positions of queries and keys
    table: Pass | None  # which writes the table of their sequences, before the forward pass or in it


def joined(first: Pass, second: Pass) -> Pass:
    """Both passes as one.  What the first one makes is for the kernels of the second alone."""
    made = Pass(second.program, **first.metas | second.metas)
    for one in (first, second):
        for step in one.steps:
            if isinstance(step, Scratch) or (isinstance(step, Room) and one is first):
                made.scratch(step.name, step.shape, step.dtype)
            else:
                made.steps.append(step)
    return made
