"""The two operators of torch that a sharded call is, so that it can be traced, checkpointed and differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from sparsec.distributed.passes import Part, backward, forward
from sparsec.kernels.memory import empty_as
from sparsec.kernels.sinks import sink_gradient


class Owner(Protocol):
    """What a call belongs to: it knows the rank's part in calls of given lengths."""

    def part(self, ends: tuple[int, ...], q: Tensor, k: Tensor) -> Part: ...

    def received(self, ends: tuple[int, ...], q: Tensor, k: Tensor) -> int: ...


OWNERS: WeakValueDictionary[int, Owner] = WeakValueDictionary()  # operators take numbers


@torch.library.custom_op("sparsec::sharded", mutates_args=())
def sharded(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, scale: float, owner: int, ends: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """out, lse and the received rows of a rank's queries."""
    return forward(OWNERS[owner].part(tuple(ends), q, k), q, k, v, sinks, scale)


@torch.library.custom_op("sparsec::sharded_backward", mutates_args=())
def sharded_backward(
    g: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, received: Tensor,
    scale: float, owner: int, ends: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of a rank's q, k and v."""
    part = OWNERS[owner].part(tuple(ends), q, k)
    return backward(part, g, dlse, q, k, v, out, lse, received, scale)


@sharded.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, sinks: Any, scale: float, owner: int, ends: Sequence[int]) -> Any:
    exact = torch.promote_types(q.dtype, torch.float32)
    rows = OWNERS[owner].received(tuple(ends), q, k)
    return empty_as(q), q.new_empty(q.shape[:3], dtype=exact), k.new_empty(rows + 1, 2, k.shape[3])


@sharded_backward.register_fake
def _(g: Tensor, dlse: Any, q: Tensor, k: Tensor, *rest: Any) -> Any:
    return empty_as(q), empty_as(k), empty_as(k)


def _setup(ctx: Any, inputs: tuple, output: tuple) -> None:
    q, k, v, sinks, ctx.scale, ctx.owner, ctx.ends = inputs
    ctx.save_for_backward(q, k, v, sinks, *output)
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, g: Tensor | None, dlse: Tensor | None, _: Any) -> tuple:
    q, k, v, sinks, out, lse, received = ctx.saved_tensors
    g = torch.zeros_like(out) if g is None else g
    found = sharded_backward(g, dlse, q, k, v, out, lse, received, ctx.scale, ctx.owner, ctx.ends)
    of_sinks = sink_gradient(g, out, lse, dlse, sinks) if ctx.needs_input_grad[3] else None
    return *found, of_sinks, None, None, None


sharded.register_autograd(_gradients, setup_context=_setup)
