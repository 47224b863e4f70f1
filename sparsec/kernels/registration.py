"""Operators of a program as torch knows them: schemas, devices, autograd, batching, counted operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sparsec.kernels.arguments import Call, Dropout, Upstream
from sparsec.kernels.backward import backward_gpu
from sparsec.kernels.choose import Choice, choose, chosen_shape
from sparsec.kernels.derivatives import NO_DERIVATIVE, batched, differentiable, under_autograd
from sparsec.kernels.flops import backward_flops, forward_flops
from sparsec.kernels.forward import forward_gpu
from sparsec.kernels.memory import empty_as
from sparsec.kernels.one_by_one import backward_each, forward_each
from sparsec.kernels.packed import backward_packed, forward_packed
from sparsec.kernels.program import Program
from sparsec.kernels.sinks import sink_gradient
from sparsec.kernels.torch_path import backward_cpu, forward_cpu


def _forward_meta(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    exact = torch.promote_types(q.dtype, torch.float32)
    return empty_as(q), q.new_empty(q.shape[:3], dtype=exact)


def _backward_meta(g: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return empty_as(q), empty_as(k), empty_as(k)


def _choose_each(choices: Sequence[Choice], q: Tensor, k: Tensor, scale: float, q_offset: int) -> list[Tensor]:
    with torch.autocast(q.device.type, enabled=False):  # it would reach the products
        return [choose(choice, q, k, scale, q_offset) for choice in choices]


def _choose_batched(op: Callable, info: Any, places: Any, q: Tensor, k: Tensor, *rest: Any) -> tuple[list, list]:
    """As the rows of one batch."""
    tensors = zip((q, k), places, strict=False)
    moved = (x.expand(info.batch_size, *x.shape) if at is None else x.movedim(at, 0) for x, at in tensors)
    lists = op(*(x.flatten(0, 1) for x in moved), *rest)
    return [x.unflatten(0, (info.batch_size, -1)) for x in lists], [0] * len(lists)


def _choices_meta(choices: Sequence[Choice], q: Tensor, k: Tensor, *rest: Any) -> list[Tensor]:
    return [q.new_empty(chosen_shape(choice, q, k), dtype=torch.int32) for choice in choices]


def _refused_meta(dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (*_backward_meta(dq, dq, dk, dv), _forward_meta(dq, dk, dv)[1])


def _refused(dq: Tensor, dk: Tensor, dv: Tensor) -> None:
    """An operator, so that a graph that is traced for both derivatives still runs where only the first is asked for."""
    raise RuntimeError(NO_DERIVATIVE.format("double backward"))


def register(name: str, program: Program) -> torch.library.Library | None:
    """Once per process and content: the same text may be loaded from a cache and from a copy of it."""
    if hasattr(torch.ops.sparsec, name):
        return None
    library = torch.library.Library("sparsec", "FRAGMENT")
    tensors, more = "Tensor q, Tensor k, Tensor v", "Tensor? sequences, Tensor[] inputs, float scale, SymInt q_offset"
    more += ", Tensor? streams, float dropout_p"
    library.define(f"{name}({tensors}, Tensor? sinks, {more}) -> (Tensor, Tensor)")
    library.define(
        f"{name}_backward(Tensor g, {tensors}, Tensor out, Tensor lse, Tensor? dlse, {more})"
        " -> (Tensor, Tensor, Tensor)"
    )
    library.define(f"{name}_refused(Tensor dq, Tensor dk, Tensor dv) -> (Tensor, Tensor, Tensor, Tensor)")
    library.define(f"{name}_choose(Tensor q, Tensor k, float scale, SymInt q_offset) -> Tensor[]")
    choices = [own.choice for own in program.inputs if own.choice]
    chooser = getattr(torch.ops.sparsec, f"{name}_choose").default
    library.impl(chooser, partial(_choose_each, choices), "CompositeExplicitAutograd")
    torch.library.register_vmap(chooser, partial(_choose_batched, chooser), lib=library)
    torch.library.register_fake(chooser, partial(_choices_meta, choices), lib=library)
    packets = [getattr(torch.ops.sparsec, f"{name}{end}") for end in ("", "_backward", "_refused")]
    forward, backward, refused = (packet.default for packet in packets)
    functions = differentiable(forward, backward, refused, sink_gradient)
    each_forward, each_backward = partial(forward_each, forward_cpu), partial(backward_each, backward_cpu)
    cpu_passes = (forward_cpu, each_forward), (backward_cpu, each_backward)
    gpu_passes = (forward_gpu, forward_packed), (backward_gpu, backward_packed)
    for op, places, meta, cpu, gpu in (
        (forward, (4, 3), _forward_meta, _forward_of(program, *cpu_passes[0]), _forward_of(program, *gpu_passes[0])),
        (backward, (7,), _backward_meta, _backward_of(program, *cpu_passes[1]), _backward_of(program, *gpu_passes[1])),
        (refused, (None,), _refused_meta, _refused, _refused),
    ):
        torch.library.register_fake(op, meta, lib=library)
        torch.library.register_vmap(op, batched(op, *places), lib=library)
        library.impl(op, cpu, "CPU")
        library.impl(op, gpu, "CUDA")
    counts: tuple[Callable, ...] = forward_flops, backward_flops
    for packet, function, flops in zip(packets, functions, counts, strict=False):
        library.impl(packet.default, under_autograd(packet.default, function), "Autograd")
        register_flop_formula(packet, get_raw=True)(_of(program, flops))
    return library


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
        streams: Tensor | None, dropout_p: float,
    ) -> Any:  # fmt: skip
        dropout = None if streams is None else Dropout(dropout_p, streams)
        call = Call(q, k, v, scale, q_offset, inputs=inputs, sinks=sinks, table=sequences, dropout=dropout)
        return (function if sequences is None else each)(program, call)

    return run


def _backward_of(program: Program, function: Callable, each: Callable) -> Callable:
    """As `_forward_of`, of the backward pass."""

    def run(
        g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None,
        sequences: Tensor | None, inputs: list[Tensor], scale: float, q_offset: int,
        streams: Tensor | None, dropout_p: float,
    ) -> Any:  # fmt: skip
        dropout = None if streams is None else Dropout(dropout_p, streams)
        call = Call(q, k, v, scale, q_offset, inputs=inputs, table=sequences, dropout=dropout)
        return (function if sequences is None else each)(program, call, Upstream(g, out, lse, dlse))

    return run
