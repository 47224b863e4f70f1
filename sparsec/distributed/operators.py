"""The two operators of torch that a sharded call is, so that it can be traced, checkpointed and differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from sparsec.distributed.passes import Part, backward, forward
from sparsec.kernels.derivatives import NO_DERIVATIVE, under_autograd
from sparsec.kernels.memory import empty_as
from sparsec.kernels.sinks import sink_gradient


class Owner(Protocol):
    """What a call belongs to: it knows the rank's part in calls of given lengths."""

    def part(self, ends: tuple[int, ...], q: Tensor, k: Tensor) -> Part:
        """The part; `ends` as of `Shards`."""
        ...

    def received(self, ends: tuple[int, ...], q: Tensor, k: Tensor) -> int:
        """How many rows it receives."""
        ...


OWNERS: WeakValueDictionary[int, Owner] = WeakValueDictionary()  # operators take numbers


def _forward(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, scale: float, owner: int, ends: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    return forward(OWNERS[owner].part(tuple(ends), q, k), q, k, v, sinks, scale)


def _backward(
    g: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, received: Tensor,
    scale: float, owner: int, ends: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    part = OWNERS[owner].part(tuple(ends), q, k)
    return backward(part, g, dlse, q, k, v, out, lse, received, scale)


def _forward_meta(q: Tensor, k: Tensor, v: Tensor, sinks: Any, scale: float, owner: int, ends: Sequence[int]) -> Any:
    exact = torch.promote_types(q.dtype, torch.float32)
    rows = OWNERS[owner].received(tuple(ends), q, k)
    columns = k.shape[3] + v.shape[3]
    return empty_as(q, v.shape[3]), q.new_empty(q.shape[:3], dtype=exact), k.new_empty(rows + 1, columns)


def _backward_meta(g: Tensor, dlse: Any, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return empty_as(q), empty_as(k), empty_as(k, v.shape[3])


class _Sharded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            out, lse, received = sharded(*arguments)
        q, k, v, sinks, *ctx.rest = arguments
        ctx.save_for_backward(q, k, v, sinks, out, lse, received)
        ctx.mark_non_differentiable(received)
        ctx.set_materialize_grads(False)
        return out, lse, received

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, dlse: Tensor | None, _: Any) -> Any:
        q, k, v, sinks, out, lse, received = ctx.saved_tensors
        g = torch.zeros_like(out) if g is None else g
        found = sharded_backward(g, dlse, q, k, v, out, lse, received, *ctx.rest)
        of_sinks = sink_gradient(g, out, lse, dlse, sinks) if ctx.needs_input_grad[3] else None
        return *found, of_sinks, None, None, None


class _Gradients(torch.autograd.Function):
    """The gradients as a function of their own, so that asking for its derivative is an error and never a zero."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return sharded_backward(*arguments)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(NO_DERIVATIVE.format("double backward"))


def _register() -> torch.library.Library:
    library = torch.library.Library("sparsec", "FRAGMENT")
    tensors, rest = "Tensor q, Tensor k, Tensor v", "float scale, int owner, int[] ends"
    library.define(f"sharded({tensors}, Tensor? sinks, {rest}) -> (Tensor, Tensor, Tensor)")
    more = "Tensor out, Tensor lse, Tensor received"
    library.define(f"sharded_backward(Tensor g, Tensor? dlse, {tensors}, {more}, {rest}) -> (Tensor, Tensor, Tensor)")
    for name, run, meta, function in (
        ("sharded", _forward, _forward_meta, _Sharded),
        ("sharded_backward", _backward, _backward_meta, _Gradients),
    ):
        op = getattr(torch.ops.sparsec, name).default
        torch.library.register_fake(op, meta, lib=library)
        for key in ("CPU", "CUDA"):
            library.impl(op, run, key)
        library.impl(op, under_autograd(op, function), "Autograd")
    return library


_LIBRARY = _register()
sharded = torch.ops.sparsec.sharded.default
sharded_backward = torch.ops.sparsec.sharded_backward.default
