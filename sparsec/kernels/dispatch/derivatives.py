"""How an operator is differentiated and batched: torch's Autograd key, torch.func and torch.vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_OF_FORWARD, _OF_BACKWARD = 11, 14  # arguments of the passes before those of float inputs
NO_DERIVATIVE = "[SP0607] {} of sparse attention is not supported; only first derivatives, in reverse mode, are"


def batched(op: Callable, place: int | None, sinks_place: int | None = None) -> Callable:
    """The rule of an operator for torch.vmap: a batch of batches is one long batch.

    `place`: of the sequences among its arguments; `sinks_place`: of the sinks.
    """

    def rule(info: Any, in_dims: tuple, *arguments: Any) -> tuple:
        def folded(x: Any, dim: Any) -> Any:
            if isinstance(x, list):
                dims = dim or [None] * len(x)
                return [folded_input(each, at, info.batch_size, batch) for each, at in zip(x, dims, strict=True)]
            if not isinstance(x, torch.Tensor):
                return x
            if sinks_place is not None and x is arguments[sinks_place]:
                return folded_input(x, dim, info.batch_size, batch)
            if place is not None and x is arguments[place]:
                return folded_table(x, dim, info.batch_size, batch)
            many = x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            return many.flatten(0, 1)

        batch = arguments[0].shape[0 if in_dims[0] != 0 else 1]
        results = op(*map(folded, arguments, in_dims))
        if isinstance(results, Tensor):
            return results.unflatten(0, (info.batch_size, batch)), 0
        return tuple(x.unflatten(0, (info.batch_size, batch)) for x in results), (0,) * len(results)

    return rule


def folded_input(x: Tensor, dim: int | None, count: int, batch: int) -> Tensor:
    """An input or the sinks of `count` batches in a batch, [rows of a batch or 1, ..], as one of a long batch."""
    if dim is None and len(x) == 1:
        return x
    many = x.expand(count, *x.shape) if dim is None else x.movedim(dim, 0)
    return many.expand(count, batch, *many.shape[2:]).flatten(0, 1)


def folded_table(x: Tensor, dim: int | None, count: int, batch: int) -> Tensor:
    """The tables of sequences of `count` batches as one of a long batch, whose rows it names."""
    many = (x.expand(count, *x.shape) if dim is None else x.movedim(dim, 0)).clone()
    many[..., 0] += torch.arange(count, device=x.device, dtype=x.dtype)[:, None] * batch
    return many.flatten(0, 1)


# ---------------------------------------------------------------- autograd
#
# Autograd stands inside the operator, under torch's Autograd key: so it is there for whoever calls the operator, traces
# it or finds it in an exported program.  torch.func calls that kernel once for each of its levels, and what it calls
# below belongs to the next; hence `enable_grad`.


class Passes(NamedTuple):
    """An operator and what belongs to it, as derivatives need them."""

    forward: Callable  # without its derivative
    backward: Callable  # as the operator, where nobody asks for its derivative
    backward_op: Callable
    refused_op: Callable
    reals_op: Callable  # the gradients of float inputs
    sink_gradient: Callable


def differentiable(passes: Passes) -> tuple[Any, Any]:
    """The differentiable functions of the operator and of its gradients."""

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any,
            q: Tensor,
            k: Tensor,
            v: Tensor,
            sinks: Tensor | None,
            sequences: Tensor | None,
            inputs: list[Tensor],
            scale: float,
            q_offset: int,
            streams: Tensor | None,
            dropout_p: float,
            deterministic: bool,
            *reals: Tensor,
        ) -> Any:
            given = q, k, v, sinks, sequences, inputs, scale, q_offset, streams, dropout_p, deterministic
            with torch.enable_grad():
                out, lse = passes.forward(*given, [*reals])
            ctx.numbers, ctx.inputs = (scale, q_offset, dropout_p, deterministic), len(inputs)
            ctx.save_for_backward(q, k, v, sinks, out, lse, sequences, streams, *inputs, *reals)
            ctx.set_materialize_grads(False)
            return out, lse

        @staticmethod
        def backward(ctx: Any, g: Tensor | None, dlse: Tensor | None) -> Any:
            q, k, v, sinks, out, lse, sequences, streams, *data = ctx.saved_tensors
            inputs, reals = data[: ctx.inputs], data[ctx.inputs :]
            g = torch.zeros_like(out) if g is None else g
            scale, q_offset, dropout_p, deterministic = ctx.numbers
            last = inputs, scale, q_offset, streams, dropout_p, deterministic, reals
            given = g, q, k, v, out, lse, dlse, sequences, *last
            gradients = (passes.backward_op if torch.is_grad_enabled() else passes.backward)(*given)
            needs = ctx.needs_input_grad
            of_sinks, *of_reals = other_gradients(passes, given, sinks, needs[3], any(needs[_OF_FORWARD:]))
            return *gradients, of_sinks, *(None,) * (_OF_FORWARD - 4), *of_reals

    class Gradients(torch.autograd.Function):
        """The gradients as a function of their own, so that asking for its derivative is an error and never a zero."""

        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Any:
            given, reals = arguments[:_OF_BACKWARD], arguments[_OF_BACKWARD:]
            ctx.reals = len(reals)
            with torch.enable_grad():
                return below_autograd(passes.backward_op, *given, [*reals])

        @staticmethod
        def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> Any:
            like_q, like_k, like_v, like_out, like_lse = passes.refused_op(dq, dk, dv)
            like_dlse = like_lse if ctx.needs_input_grad[6] else None  # there may be no dlse
            rest = _OF_BACKWARD - 7 + ctx.reals
            return like_out, like_q, like_k, like_v, like_out, like_lse, like_dlse, *(None,) * rest

    return Attention, Gradients


def other_gradients(
    passes: Passes, given: tuple, sinks: Tensor | None, of_sinks: bool, of_reals: bool
) -> tuple[Tensor | None, ...]:
    """The gradients of the sinks and of each float input, where they are asked for.

    `given`: the arguments of the backward pass.
    """
    g, _, _, _, out, lse, dlse, *_, reals = given
    found = passes.sink_gradient(g, out, lse, dlse, sinks) if of_sinks else None
    if not of_reals:
        return found, *(None,) * len(reals)
    made = zip(passes.reals_op(*given), reals, strict=True)
    return found, *(x if len(own) > 1 else x.sum(0, keepdim=True) for x, own in made)


def single_level(function: Any) -> Callable:
    """What applies a differentiable function where no transform of torch.func is active, or to one of its levels."""
    return super(torch.autograd.Function, function).apply


def under_autograd(op: Callable, function: Any, listed: bool = False) -> Callable:
    """The kernel of an operator for the Autograd key: `function` where something asks for a gradient.

    `listed`: the last argument is a list of tensors, which are the last ones of the function: autograd sees them.
    """
    apply = single_level(function)

    def kernel(*arguments: Any) -> Any:
        flat = (*arguments[:-1], *arguments[-1]) if listed else arguments
        tensors = [x for x in flat if isinstance(x, torch.Tensor)]
        if _has_tangent(tensors):
            raise RuntimeError(NO_DERIVATIVE.format("forward-mode differentiation"))
        if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
            if not torch._C._are_functorch_transforms_active():
                return apply(*flat)
            with torch._functorch.utils.enable_single_level_autograd_function():
                return apply(*flat)
        return below_autograd(op, *arguments)

    return kernel


def undifferentiable(op: Callable) -> Any:
    """The function of an operator whose result can't be differentiated: asking for it is an error and never a zero."""

    class Undifferentiable(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Any:
            with torch.enable_grad():
                return tuple(below_autograd(op, *arguments[:_OF_BACKWARD], [*arguments[_OF_BACKWARD:]]))

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            raise RuntimeError(NO_DERIVATIVE.format("double backward"))

    return Undifferentiable


def below_autograd(op: Callable, *arguments: Any) -> Any:
    with torch._C._AutoDispatchBelowAutograd():
        return op(*arguments)


def _has_tangent(tensors: list[Tensor]) -> bool:
    """Forward-mode differentiation is on, and would take the operator's tangents for zeros."""
    forward_ad = torch.autograd.forward_ad
    return forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(x).tangent is not None for x in tensors)
