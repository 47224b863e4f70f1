"""The registered operators of a pattern: schema, autograd, batching, counted operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, overload

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sparsec.kernels.backward import backward_gpu
from sparsec.kernels.call import checked
from sparsec.kernels.flops import backward_flops, forward_flops
from sparsec.kernels.forward import forward_gpu
from sparsec.kernels.memory import empty_as
from sparsec.kernels.program import Program
from sparsec.kernels.repeated import Repeated
from sparsec.kernels.torch_path import backward_cpu, forward_cpu

_NO_DERIVATIVE = "[SP0607] {} of sparse attention is not supported; only first derivatives, in reverse mode, are"


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
        q_offset: int | None = ...,
        return_lse: Literal[False] = ...,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = ...,
        q_offset: int | None = ...,
        return_lse: Literal[True],
    ) -> tuple[Tensor, Tensor]: ...
    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = ...,
        q_offset: int | None = ...,
        return_lse: bool,
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

    def __call__(self, function: Callable, q: Any, k: Any, v: Any, scale: Any, q_offset: Any, return_lse: bool) -> Any:
        """What the public `function` of a module returns for these arguments."""
        if not all(isinstance(x, torch.Tensor) for x in (q, k, v)):
            if torch.overrides.has_torch_function((q, k, v)):  # torch.fx and others that stand in for tensors
                given = {"scale": scale, "q_offset": q_offset, "return_lse": return_lse}
                return torch.overrides.handle_torch_function(function, (q, k, v), q, k, v, **given)
            kinds = ", ".join(type(x).__name__ for x in (q, k, v))
            raise ValueError(f"[SP0601] q, k and v must be tensors, got {kinds}")
        signature = self.repeated.signature(q, k, v, scale, q_offset)
        if signature and (made := self.repeated.run(signature, q, k, v)):
            return made if return_lse else made[0]
        if q.device.type in ("cpu", "cuda") and torch.is_autocast_enabled(q.device.type):
            q, k, v = (_cast(x, torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
        scale, q_offset = checked(q, k, v, scale, q_offset, self.heads, self.program.most_positions)
        if scale <= 0:  # kernels take the largest score before they scale it
            q, scale = (q * -1, -scale) if scale < 0 else (q * 0, 1.0)
        out, lse = self.forward(q, k, v, scale, q_offset)
        if signature:
            self.repeated.remember(signature, q, k, v, scale, q_offset)
        return (out, lse) if return_lse else out


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What autocast makes of a tensor: float64 and what is no floating-point number stay as they are."""
    return x.to(dtype) if x.is_floating_point() and x.dtype != torch.float64 else x


# ---------------------------------------------------------------- registration


def _forward_meta(q: Tensor, k: Tensor, v: Tensor, scale: Any, q_offset: Any) -> tuple[Tensor, Tensor]:
    exact = torch.promote_types(q.dtype, torch.float32)
    return empty_as(q), q.new_empty(q.shape[:3], dtype=exact)


def _backward_meta(g: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return empty_as(q), empty_as(k), empty_as(k)


def _refused_meta(dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (*_backward_meta(dq, dq, dk, dv), _forward_meta(dq, dk, dv, None, None)[1])


def _refused(dq: Tensor, dk: Tensor, dv: Tensor) -> None:
    """An operator, so that a graph that is traced for both derivatives still runs where only the first is asked for."""
    raise RuntimeError(_NO_DERIVATIVE.format("double backward"))


def _register(name: str, program: Program) -> torch.library.Library | None:
    """Once per process and content: the same text may be loaded from a cache and from a copy of it."""
    if hasattr(torch.ops.sparsec, name):
        return None
    library = torch.library.Library("sparsec", "FRAGMENT")
    tensors = "Tensor q, Tensor k, Tensor v"
    library.define(f"{name}({tensors}, float scale, SymInt q_offset) -> (Tensor, Tensor)")
    library.define(
        f"{name}_backward(Tensor g, {tensors}, Tensor out, Tensor lse, Tensor? dlse, float scale, SymInt q_offset)"
        " -> (Tensor, Tensor, Tensor)"
    )
    library.define(f"{name}_refused(Tensor dq, Tensor dk, Tensor dv) -> (Tensor, Tensor, Tensor, Tensor)")
    packets = [getattr(torch.ops.sparsec, f"{name}{end}") for end in ("", "_backward", "_refused")]
    forward, backward, refused = (packet.default for packet in packets)
    functions = _functions(forward, backward, refused)
    for op, meta, cpu, gpu in (
        (forward, _forward_meta, _of(program, forward_cpu), _of(program, forward_gpu)),
        (backward, _backward_meta, _of(program, backward_cpu), _of(program, backward_gpu)),
        (refused, _refused_meta, _refused, _refused),
    ):
        torch.library.register_fake(op, meta, lib=library)
        torch.library.register_vmap(op, _batched(op), lib=library)
        library.impl(op, cpu, "CPU")
        library.impl(op, gpu, "CUDA")
    counts: tuple[Callable, ...] = forward_flops, backward_flops
    for packet, function, flops in zip(packets, functions, counts, strict=False):
        library.impl(packet.default, _differentiated(packet.default, function), "Autograd")
        register_flop_formula(packet, get_raw=True)(_of(program, flops))
    return library


def _of(program: Program, function: Callable) -> Callable:
    """A function of a program, with its program."""

    def run(*arguments: Any, **keywords: Any) -> Any:
        return function(program, *arguments, **keywords)

    return run


def _batched(op: Callable) -> Callable:
    """The rule of an operator for torch.vmap: a batch of batches is one long batch."""

    def rule(info: Any, in_dims: tuple, *arguments: Any) -> tuple:
        def folded(x: Any, dim: int | None) -> Any:
            if not isinstance(x, torch.Tensor):
                return x
            return (x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)).flatten(0, 1)

        results = op(*map(folded, arguments, in_dims))
        batch = results[0].shape[0] // max(info.batch_size, 1)
        return tuple(x.unflatten(0, (info.batch_size, batch)) for x in results), (0,) * len(results)

    return rule


# ---------------------------------------------------------------- autograd
#
# Autograd stands inside the operator, under torch's Autograd key: so it is there for whoever calls the operator, traces
# it or finds it in an exported program.  torch.func calls that kernel once for each of its levels, and what it calls
# below belongs to the next; hence `enable_grad`.


def _functions(forward_op: Callable, backward_op: Callable, refused_op: Callable) -> tuple[Any, Any]:
    """The differentiable functions of the operator and of its gradients."""

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, q_offset: int) -> Any:
            with torch.enable_grad():
                out, lse = _below_autograd(forward_op, q, k, v, scale, q_offset)
            ctx.scale, ctx.q_offset = scale, q_offset
            ctx.save_for_backward(q, k, v, out, lse)
            ctx.set_materialize_grads(False)
            return out, lse

        @staticmethod
        def backward(ctx: Any, g: Tensor | None, dlse: Tensor | None) -> Any:
            q, k, v, out, lse = ctx.saved_tensors
            if g is None:
                g = torch.zeros_like(out)
            return *backward_op(g, q, k, v, out, lse, dlse, ctx.scale, ctx.q_offset), None, None

    class Gradients(torch.autograd.Function):
        """The gradients as a function of their own, so that asking for its derivative is an error and never a zero."""

        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Any:
            with torch.enable_grad():
                return _below_autograd(backward_op, *arguments)

        @staticmethod
        def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> Any:
            like_q, like_k, like_v, like_lse = refused_op(dq, dk, dv)
            like_dlse = like_lse if ctx.needs_input_grad[6] else None  # there may be no dlse
            return like_q, like_q, like_k, like_v, like_q, like_lse, like_dlse, None, None

    return Attention, Gradients


def _differentiated(op: Callable, function: Any) -> Callable:
    """The kernel of an operator for the Autograd key: `function` where something asks for a gradient."""
    apply = super(torch.autograd.Function, function).apply  # the one for a single level

    def kernel(*arguments: Any) -> Any:
        tensors = [x for x in arguments if isinstance(x, torch.Tensor)]
        if _has_tangent(tensors):
            raise RuntimeError(_NO_DERIVATIVE.format("forward-mode differentiation"))
        if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
            if not torch._C._are_functorch_transforms_active():
                return apply(*arguments)
            with torch._functorch.utils.enable_single_level_autograd_function():
                return apply(*arguments)
        return _below_autograd(op, *arguments)

    return kernel


def _below_autograd(op: Callable, *arguments: Any) -> Any:
    with torch._C._AutoDispatchBelowAutograd():
        return op(*arguments)


def _has_tangent(tensors: list[Tensor]) -> bool:
    """Forward-mode differentiation is on, and would take the operator's tangents for zeros."""
    forward_ad = torch.autograd.forward_ad
    return forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(x).tangent is not None for x in tensors)
