"""Calls like one before: straight to the prepared kernels, or with gradients to the function that autograd knows.

torch's dispatcher and the checks of a call take longer than the launch of a kernel.  A model repeats calls whose
tensors differ in their data alone; what was found sound once is sound again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.dispatch.watched import watched
from sparsec.kernels.launches.kernel_inputs import for_kernels
from sparsec.kernels.launches.launch import Pass
from sparsec.kernels.launches.scratch import Room, Scratch
from sparsec.kernels.launches.whole_call import in_c
from sparsec.kernels.machine.hardware import dot_precision
from sparsec.kernels.machine.memory import as_readable
from sparsec.kernels.operator.known_call import DETERMINISTIC, SINKS, Form, KnownCall, documents_in, read_as_given
from sparsec.kernels.operator.packed import at_once
from sparsec.kernels.passes.forward import data_of_sinks, prepared_forward
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.program.program import Program
from sparsec.kernels.sequences.positions import Positions, looks
from sparsec.kernels.sequences.table import lines_of, table_pass

_MOST_SIGNATURES = 128  # signatures that are kept
_SIGNED = {type(None), int, str, Tensor}  # types of positions and sinks


class Repeated:
    """The calls of a program that went well, by their signatures."""

    def __init__(self, program: Program, differentiable: Callable) -> None:
        """`differentiable`: the forward pass of a known call as autograd has it."""
        self.program, self.differentiable = program, differentiable
        self.known: dict[tuple, KnownCall] = {}
        self.last: KnownCall | None = None
        self.chooses = any(own.by_row for own in program.inputs)

    def again(
        self, q: Any, k: Any, v: Any, given: tuple, inputs: Mapping[str, Any], with_lse: bool, heads: int | None = None
    ) -> Any:
        """out, or out and the log-sum-exp, of a call like the last one, of so many query heads; None for others."""
        if torch.compiler.is_compiling():  # before anything that differs from call to call
            return None
        last = self.last  # once: other threads may call
        if last is None or (tensors := last.served(q, k, v, given, inputs, heads)) is None:
            return None
        if not last.asks and in_c(whole := last.whole(with_lse), last.forward.device):
            return whole(*tensors)  # type: ignore[misc]
        made = self._run(last, q, k, v, given, inputs)
        return made if made is None or with_lse else made[0]

    def signature(self, q: Tensor, k: Tensor, v: Tensor, given: tuple, inputs: Mapping[str, Any]) -> tuple | None:
        """All that a call's checks and launches depend on; None for a call that torch has to see."""
        scale, sinks = given[0], given[SINKS]
        tensors = q, k, v, *[x for x in (*given[1:], *inputs.values()) if type(x) is Tensor]
        if self.chooses or watched() or any(type(x) is not Tensor for x in (*tensors, *inputs.values())):
            return None
        if not (scale is None or type(scale) is float) or any(type(x) not in _SIGNED for x in given[1:-1]):
            return None
        if type(given[DETERMINISTIC]) is not bool:
            return None
        if not all(x.is_contiguous() for x in tensors[3:]) or (sinks is not None and sinks.dtype != torch.float32):
            return None
        if len(tensors) > 3 and looks():
            return None
        documents = documents_in(given)
        kinds = tuple(
            (lines_of(x) if x is documents else x.shape, x.stride(), x.dtype, x.device, x.requires_grad)
            for x in tensors
        )
        return *Form.of(given, inputs), dot_precision(q.dtype), kinds

    def run(
        self, signature: tuple, q: Tensor, k: Tensor, v: Tensor, given: tuple, inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor] | None:
        """out and the log-sum-exp of a call whose signature is known, None for others."""
        known = self.known.get(signature)
        if known is not None and known is self.last:  # the second time in a row
            known.compare_later(q, k, v, given, inputs)
        self.last = known
        return None if known is None else self._run(known, q, k, v, given, inputs)

    def _run(
        self, known: KnownCall, q: Tensor, k: Tensor, v: Tensor, given: tuple, inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor] | None:
        data = known.data(inputs, q.dtype) if inputs else []
        env = known.environment(q, k, v, given, data)
        if env is None:
            return None
        if not known.asks:
            known.forward(env)
            return env["OUT"], env["LSE"]
        sinks, count = given[SINKS], len(data) - self.program.score_inputs if data else 0
        rows = None if sinks is None else sinks[None]
        return self.differentiable(known, env, data[:count], q, k, v, rows, *data[count:])

    def remember(self, signature: tuple, given: tuple, inputs: Mapping[str, Tensor], call: Call) -> None:
        """Keeps what a call needs that went well on a GPU.

        Not where tensors had to be copied or changed first, nor of a call without pairs, nor of one whose sequences ran
        one by one.
        """
        scale, *positions, sinks, _ = given
        q, k, v = call[:3]
        if call.is_empty or (scale is not None and scale <= 0) or not all(as_readable(x) is x for x in (q, k, v)):
            return
        if call.table is not None and not at_once(self.program, anywhere=not call.reach):
            return
        data = for_kernels(self.program, call.inputs, call.positions, k.shape[2])
        table, every = call.table, data | data_of_sinks(call.sinks)
        run = prepared_forward(self.program, q, k, v, call.offset_of_kernels, table, every)
        form = Form.of(given, inputs)
        asks = form.graded and any(x.requires_grad for x in (q, k, v, sinks, *inputs.values()) if x is not None)
        if table is not None:
            run = joined(table_pass(self.program, Positions(*positions), q, k), run, ("SEQUENCES",) if asks else ())
        while len(self.known) >= _MOST_SIGNATURES:
            self.known.pop(next(iter(self.known)), None)
        known = KnownCall(self.program, signature, form, given, call, run, asks)
        known.as_given = read_as_given(self.program, inputs, data)
        self.known[signature] = known

    def forget(self) -> None:
        """Has later calls prepared anew."""
        self.known.clear()
        self.last = None


def joined(first: Pass, second: Pass, kept: Sequence[str] = ()) -> Pass:
    """Both passes as one.  What the first one makes is for the kernels of the second alone, but for what is `kept`."""
    made = Pass(second.program, **first.metas | second.metas)
    for one in (first, second):
        for step in one.steps:
            if isinstance(step, Scratch) or (isinstance(step, Room) and one is first and step.name not in kept):
                made.scratch(step.name, step.shape, step.dtype)
            else:
                made.steps.append(step)
    return made
