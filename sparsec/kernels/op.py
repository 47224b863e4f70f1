"""The registered operators of a pattern: schema, autograd, batching, counted operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Protocol, overload

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sparsec.kernels.backward import backward_gpu
from sparsec.kernels.call import checked, first_position
from sparsec.kernels.choosers import choosers_batched, choosers_meta, run_choosers
from sparsec.kernels.derivatives import NO_DERIVATIVE, batched, differentiable, under_autograd
from sparsec.kernels.flops import backward_flops, forward_flops
from sparsec.kernels.forward import forward_gpu
from sparsec.kernels.inputs import checked_inputs, refuse_lists
from sparsec.kernels.memory import empty_as
from sparsec.kernels.one_by_one import backward_each, forward_each
from sparsec.kernels.packed import backward_packed, forward_packed
from sparsec.kernels.positions import Positions, checked_positions, packed
from sparsec.kernels.program import Program
from sparsec.kernels.repeated import Repeated
from sparsec.kernels.sequence_table import sequence_table
from sparsec.kernels.sinks import checked_sinks, sink_gradient
from sparsec.kernels.torch_path import backward_cpu, forward_cpu


class Attention(Protocol):
    """The public function of a generated module, and its types."""

    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = ...,
        sinks: Tensor | None = ...,
        q_offset: int | Tensor | None = ...,
        k_offset: int | Tensor | None = ...,
        documents: Tensor | None = ...,
        lengths: Tensor | None = ...,
        q_lengths: Tensor | None = ...,
        return_lse: Literal[False] = ...,
        **inputs: Tensor,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = ...,
        sinks: Tensor | None = ...,
        q_offset: int | Tensor | None = ...,
        k_offset: int | Tensor | None = ...,
        documents: Tensor | None = ...,
        lengths: Tensor | None = ...,
        q_lengths: Tensor | None = ...,
        return_lse: Literal[True],
        **inputs: Tensor,
    ) -> tuple[Tensor, Tensor]: ...
    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = ...,
        sinks: Tensor | None = ...,
        q_offset: int | Tensor | None = ...,
        k_offset: int | Tensor | None = ...,
        documents: Tensor | None = ...,
        lengths: Tensor | None = ...,
        q_lengths: Tensor | None = ...,
        return_lse: bool,
        **inputs: Tensor,
    ) -> Tensor | tuple[Tensor, Tensor]: ...


def typed(function: Callable) -> Attention:
    """The function itself, which type checkers then know as `Attention`."""
    return function


class Operator:
    """Attention over a program, registered with torch under a name that stands for its content."""

    def __init__(self, name: str, program: Program, heads: int | None = None) -> None:
        self.program, self.heads = program, heads
        self.repeated = Repeated(program)
        self._library = _register(name, program)  # the operators live as long as this does: as long as the module
        self.forward = getattr(torch.ops.sparsec, name).default
        self.backward = getattr(torch.ops.sparsec, f"{name}_backward").default
        self.choose = getattr(torch.ops.sparsec, f"{name}_choose").default

    def __call__(
        self,
        function: Callable,
        q: Any,
        k: Any,
        v: Any,
        scale: Any,
        return_lse: bool,
        positions: Positions,
        sinks: Any = None,
        inputs: Mapping[str, Any] = MappingProxyType({}),
    ) -> Any:
        """What the public `function` of a module returns for these arguments."""
        if not all(isinstance(x, torch.Tensor) for x in (q, k, v)):
            if torch.overrides.has_torch_function((q, k, v)):  # torch.fx and others that stand in for tensors
                given = {"scale": scale, "return_lse": return_lse}
                given |= {name: x for name, x in positions._asdict().items() if name == "q_offset" or x is not None}
                given |= {"sinks": sinks, **inputs} if sinks is not None else dict(inputs)
                return torch.overrides.handle_torch_function(function, (q, k, v), q, k, v, **given)
            kinds = ", ".join(type(x).__name__ for x in (q, k, v))
            raise ValueError(f"[SP0601] q, k and v must be tensors, got {kinds}")
        rows = packed(q, k, v, positions.documents)
        q, k, v = rows[:3]
        if rows.documents is not positions.documents:
            positions = positions._replace(documents=rows.documents)
        signature = self.repeated.signature(q, k, v, scale, positions, sinks, inputs)
        if signature and (made := self.repeated.run(signature, q, k, v, positions, sinks, inputs)):
            out, lse = made
            return (rows.out(out), rows.lse(lse)) if return_lse else rows.out(out)
        q, k, v = self._cast(q, k, v)
        most = self.program.most_positions
        scale = checked(q, k, v, scale, self.heads, most)
        plain = positions.plain
        q_offset = first_position(positions.q_offset, q.shape[2], k.shape[2], most) if plain else 0
        sequences = None
        if not plain:
            refuse_lists(self.program.inputs)
            positions = checked_positions(positions, q, k, most)
            sequences = sequence_table(self.program, positions, q, k)
        data = checked_inputs((*self.program.inputs, *self.program.reals), inputs, q, k)
        q, scale = positive(q, scale)
        if any(own.choice for own in self.program.inputs):
            count = len(data) - len(self.program.reals)
            reals = [x.detach() for x in data[count:]]
            data = data[:count] + self.choose(q.detach(), k.detach(), reals, scale, q_offset)
        sinks = checked_sinks(sinks, q)
        out, lse = self.forward(q, k, v, sinks, sequences, data, scale, q_offset)
        if signature:
            self.repeated.remember(signature, q, k, v, scale, q_offset, positions, sinks, sequences, data)
        return (rows.out(out), rows.lse(lse)) if return_lse else rows.out(out)

    def choices(
        self, q: Tensor, k: Tensor, scale: Any = None, q_offset: Any = None, **inputs: Any
    ) -> dict[str, Tensor]:
        """What a call with these tensors chooses: lists and labels by the names of the inputs that have them."""
        scale = checked(q, k, k, scale, self.heads, self.program.most_positions)
        first = first_position(q_offset, q.shape[2], k.shape[2], self.program.most_positions)
        q, scale = positive(q.detach(), scale)
        reals = [x.detach() for x in checked_inputs(self.program.reals, inputs, q, k)]
        made = self.choose(q, k.detach(), reals, scale, first)
        return dict(zip((own.name for own in self.program.inputs if own.choice), made, strict=True))

    def _cast(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v in the type that autocast asks for."""
        if q.device.type in ("cpu", "cuda") and torch.is_autocast_enabled(q.device.type):
            dtype = torch.get_autocast_dtype(q.device.type)
            return _cast(q, dtype), _cast(k, dtype), _cast(v, dtype)
        return q, k, v


def positive(q: Tensor, scale: float) -> tuple[Tensor, float]:
    """Queries and a scale above 0 with the same scores: kernels take the largest score before they scale it."""
    return (q, scale) if scale > 0 else (q * -1, -scale) if scale < 0 else (q * 0, 1.0)


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What autocast makes of a tensor: float64 and what is no floating-point number stay as they are."""
    return x.to(dtype) if x.is_floating_point() and x.dtype != torch.float64 else x


# ---------------------------------------------------------------- registration


def _forward_meta(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    exact = torch.promote_types(q.dtype, torch.float32)
    return empty_as(q), q.new_empty(q.shape[:3], dtype=exact)


def _backward_meta(g: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return empty_as(q), empty_as(k), empty_as(k)


def _refused_meta(dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (*_backward_meta(dq, dq, dk, dv), _forward_meta(dq, dk, dv)[1])


def _refused(dq: Tensor, dk: Tensor, dv: Tensor) -> None:
    """An operator, so that a graph that is traced for both derivatives still runs where only the first is asked for."""
    raise RuntimeError(NO_DERIVATIVE.format("double backward"))


def _register(name: str, program: Program) -> torch.library.Library | None:
    """Once per process and content: the same text may be loaded from a cache and from a copy of it."""
    if hasattr(torch.ops.sparsec, name):
        return None
    library = torch.library.Library("sparsec", "FRAGMENT")
    tensors, more = "Tensor q, Tensor k, Tensor v", "Tensor? sequences, Tensor[] inputs, float scale, SymInt q_offset"
    library.define(f"{name}({tensors}, Tensor? sinks, {more}) -> (Tensor, Tensor)")
    library.define(
        f"{name}_backward(Tensor g, {tensors}, Tensor out, Tensor lse, Tensor? dlse, {more})"
        " -> (Tensor, Tensor, Tensor)"
    )
    library.define(f"{name}_refused(Tensor dq, Tensor dk, Tensor dv) -> (Tensor, Tensor, Tensor, Tensor)")
    library.define(f"{name}_choose(Tensor q, Tensor k, Tensor[] reals, float scale, SymInt q_offset) -> Tensor[]")
    choices = [own.choice for own in program.inputs if own.choice]
    chooser = getattr(torch.ops.sparsec, f"{name}_choose").default
    library.impl(chooser, partial(run_choosers, choices), "CompositeExplicitAutograd")
    torch.library.register_vmap(chooser, partial(choosers_batched, chooser), lib=library)
    torch.library.register_fake(chooser, partial(choosers_meta, choices), lib=library)
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
    ) -> Any:  # fmt: skip
        if sequences is None:
            return function(program, q, k, v, scale, q_offset, 0, inputs, sinks)
        return each(program, q, k, v, sequences, inputs, scale, sinks)

    return run


def _backward_of(program: Program, function: Callable, each: Callable) -> Callable:
    """As `_forward_of`, of the backward pass."""

    def run(
        g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None,
        sequences: Tensor | None, inputs: list[Tensor], scale: float, q_offset: int,
    ) -> Any:  # fmt: skip
        tensors = g, q, k, v, out, lse, dlse
        if sequences is None:
            return function(program, *tensors, scale, q_offset, *([0, inputs] if inputs else []))
        return each(program, *tensors, sequences, inputs, scale)

    return run
