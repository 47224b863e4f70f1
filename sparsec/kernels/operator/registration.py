"""Operators of a program as torch knows them: schemas, devices, autograd, batching, counted operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sparsec.kernels.chosen.choosers import choosers_batched, choosers_meta, run_choosers
from sparsec.kernels.cpu.torch_path import backward_cpu, forward_cpu, input_gradients_cpu
from sparsec.kernels.dispatch.derivatives import (
    NO_DERIVATIVE,
    Passes,
    batched,
    below_autograd,
    differentiable,
    under_autograd,
    undifferentiable,
)
from sparsec.kernels.dispatch.watched import past_dispatcher
from sparsec.kernels.machine.memory import empty_as
from sparsec.kernels.operator.flops import backward_flops, forward_flops
from sparsec.kernels.operator.one_by_one import backward_each, forward_each, input_gradients_each
from sparsec.kernels.operator.packed import backward_packed, forward_packed, input_gradients_packed
from sparsec.kernels.operator.repeated_gradients import repeatable
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.passes.read_gradients import input_gradients_gpu
from sparsec.kernels.program.arguments import Call, Dropout, Upstream
from sparsec.kernels.program.program import Program
from sparsec.kernels.weights.sinks import sink_gradient


def _forward_meta(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    exact = torch.promote_types(q.dtype, torch.float32)
    return empty_as(q, v.shape[3]), q.new_empty(q.shape[:3], dtype=exact)


def _backward_meta(g: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return empty_as(q), empty_as(k), empty_as(k, v.shape[3])


def _reals_meta(g: Tensor, q: Tensor, *rest: Any) -> list[Tensor]:
    return [x.new_empty(q.shape[0], *x.shape[1:]) for x in rest[-1]]


def _refused_meta(dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return *_backward_meta(dq, dq, dk, dv), *_forward_meta(dq, dk, dv)


def _refused(dq: Tensor, dk: Tensor, dv: Tensor) -> None:
    """An operator, so that a graph that is traced for both derivatives still runs where only the first is asked for."""
    raise RuntimeError(NO_DERIVATIVE.format("double backward"))


class Operators(NamedTuple):
    """The operators of a program."""

    library: torch.library.Library | None  # in which they live; None where another module has them
    forward: Callable
    backward: Callable
    reals: Callable  # the gradients of float inputs
    choose: Callable
    repeatable: Callable  # the forward pass of a known call, as autograd has it


def operators(name: str, program: Program) -> Operators:
    """Those of a name that stands for the content, defined when they are first asked for.

    Once per process: the same text may be loaded from a cache and from a copy of it.
    """
    library = None if hasattr(torch.ops.sparsec, name) else _defined(name)
    forward, backward, reals, refused, choose = (getattr(torch.ops.sparsec, name + end).default for end in _ENDS)
    on_gpu = {
        "forward": _forward_of(program, forward_gpu, forward_packed),
        "backward": _backward_of(program, backward_gpu, backward_packed),
        "reals": _backward_of(program, input_gradients_gpu, input_gradients_packed),
    }
    straight = past_dispatcher(partial(below_autograd, forward), on_gpu["forward"])
    straight_back = past_dispatcher(backward, on_gpu["backward"])
    passes = Passes(straight, straight_back, backward, refused, reals, sink_gradient)
    functions = differentiable(passes)
    if library:
        _implement(library, name, program, on_gpu, functions)
        _implement_choosers(library, program, choose)
    return Operators(library, forward, backward, reals, choose, repeatable(passes))


_ENDS = "", "_backward", "_reals", "_refused", "_choose"


def _defined(name: str) -> torch.library.Library:
    """The library with the schemas."""
    library = torch.library.Library("sparsec", "FRAGMENT")
    tensors, more = "Tensor q, Tensor k, Tensor v", "Tensor? sequences, Tensor[] inputs, float scale, SymInt q_offset"
    more += ", Tensor? streams, float dropout_p, bool deterministic, Tensor[] reals"
    library.define(f"{name}({tensors}, Tensor? sinks, {more}) -> (Tensor, Tensor)")
    library.define(
        f"{name}_backward(Tensor g, {tensors}, Tensor out, Tensor lse, Tensor? dlse, {more})"
        " -> (Tensor, Tensor, Tensor)"
    )
    library.define(f"{name}_reals(Tensor g, {tensors}, Tensor out, Tensor lse, Tensor? dlse, {more}) -> Tensor[]")
    library.define(f"{name}_refused(Tensor dq, Tensor dk, Tensor dv) -> (Tensor, Tensor, Tensor, Tensor, Tensor)")
    given = "Tensor q, Tensor k, Tensor[] chosen_by, float scale, SymInt q_offset, Tensor? sequences=None"
    library.define(f"{name}_choose({given}) -> Tensor[]")
    return library


def _implement_choosers(library: torch.library.Library, program: Program, chooser: Callable) -> None:
    choices = [own.choice for own in program.inputs if own.choice]
    library.impl(chooser, partial(run_choosers, choices, program.choice_inputs), "CompositeExplicitAutograd")
    torch.library.register_vmap(chooser, partial(choosers_batched, chooser), lib=library)
    torch.library.register_fake(chooser, partial(choosers_meta, choices), lib=library)


def _implement(
    library: torch.library.Library,
    name: str,
    program: Program,
    on_gpu: Mapping[str, Callable],
    functions: tuple[Any, Any],
) -> None:
    """Kernels for devices, shapes, batching and derivatives; what operations are counted."""
    packets = [getattr(torch.ops.sparsec, name + end) for end in _ENDS[:4]]
    forward, backward, reals, refused = (packet.default for packet in packets)
    on_cpu = {
        "forward": _forward_of(program, forward_cpu, partial(forward_each, forward_cpu)),
        "backward": _backward_of(program, backward_cpu, partial(backward_each, backward_cpu)),
        "reals": _backward_of(program, input_gradients_cpu, partial(input_gradients_each, input_gradients_cpu)),
    }
    for op, places, meta, kind in (
        (forward, (4, 3), _forward_meta, "forward"),
        (backward, (7,), _backward_meta, "backward"),
        (reals, (7,), _reals_meta, "reals"),
        (refused, (None,), _refused_meta, "refused"),
    ):
        torch.library.register_fake(op, meta, lib=library)
        torch.library.register_vmap(op, batched(op, *places), lib=library)
        library.impl(op, on_cpu.get(kind, _refused), "CPU")
        library.impl(op, on_gpu.get(kind, _refused), "CUDA")
    for op, function in ((forward, functions[0]), (backward, functions[1]), (reals, undifferentiable(reals))):
        library.impl(op, under_autograd(op, function, listed=True), "Autograd")
    counts: tuple[Callable, ...] = forward_flops, backward_flops
    for packet, flops in zip(packets, counts, strict=False):
        register_flop_formula(packet, get_raw=True)(_of(program, flops))


def _of(program: Program, function: Callable) -> Callable:
    """A function of a program, with its program."""

    def run(*arguments: Any, **keywords: Any) -> Any:
        return function(program, *arguments, **keywords)

    return run


def _forward_of(program: Program, function: Callable, each: Callable) -> Callable:
    """The forward pass of one device; `each`: of sequences, where a call is about several."""

    def run(
        q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None,
        sequences: Tensor | None, inputs: list[Tensor], scale: float, q_offset: int,
        streams: Tensor | None, dropout_p: float, deterministic: bool, reals: list[Tensor],
    ) -> Any:  # fmt: skip
        dropout, data = None if streams is None else Dropout(dropout_p, streams), [*inputs, *reals]
        call = Call(q, k, v, scale, q_offset, inputs=data, sinks=sinks, table=sequences, dropout=dropout)
        return (function if sequences is None else each)(program, call)

    return run


def _backward_of(program: Program, function: Callable, each: Callable) -> Callable:
    """As `_forward_of`, of the backward pass."""

    def run(
        g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None,
        sequences: Tensor | None, inputs: list[Tensor], scale: float, q_offset: int,
        streams: Tensor | None, dropout_p: float, deterministic: bool, reals: list[Tensor],
    ) -> Any:  # fmt: skip
        dropout, data = None if streams is None else Dropout(dropout_p, streams), [*inputs, *reals]
        call = Call(q, k, v, scale, q_offset, 0, data, None, sequences, dropout, deterministic)
        return (function if sequences is None else each)(program, call, Upstream(g, out, lse, dlse))

    return run
