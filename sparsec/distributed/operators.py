"""The two operators of torch that a sharded call is, so that it can be traced, checkpointed and differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from sparsec.distributed.data import Data
from sparsec.distributed.passes import Part, backward, forward
from sparsec.kernels.dispatch.derivatives import NO_DERIVATIVE, under_autograd
from sparsec.kernels.machine.memory import empty_as
from sparsec.kernels.weights.sinks import sink_gradient


class Owner(Protocol):
    """What a call belongs to: it knows the rank's part in calls of given lengths."""

    def part(self, ends: tuple[int, ...], q: Tensor, k: Tensor, data: Data) -> Part:
        """The part; `ends` as of `Shards`."""
        ...

    def received(self, ends: tuple[int, ...], q: Tensor, k: Tensor, data: Data) -> int:
        """How many rows it receives."""
        ...


OWNERS: WeakValueDictionary[str, Owner] = WeakValueDictionary()  # by name: operators take no objects
_FIRST, _FIRST_BACKWARD = 13, 18  # arguments of a call before its float inputs


def _forward(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, scale: float, owner: str, ends: Sequence[int], *data: Any
) -> tuple[Tensor, Tensor, Tensor]:
    known = Data(*data)
    return forward(OWNERS[owner].part(tuple(ends), q, k, known), q, k, v, sinks, scale, known)


def _backward(
    g: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, received: Tensor,
    of_reals: bool, scale: float, owner: str, ends: Sequence[int], *data: Any,
) -> list[Tensor]:  # fmt: skip
    known = Data(*data)
    part = OWNERS[owner].part(tuple(ends), q, k, known)
    return backward(part, g, dlse, q, k, v, out, lse, received, scale, known, of_reals)


def _forward_meta(
    q: Tensor, k: Tensor, v: Tensor, sinks: Any, scale: float, owner: str, ends: Sequence[int], *data: Any
) -> Any:
    exact = torch.promote_types(q.dtype, torch.float32)
    rows = OWNERS[owner].received(tuple(ends), q, k, Data(*data))
    columns = k.shape[3] + v.shape[3]
    return empty_as(q, v.shape[3]), q.new_empty(q.shape[:3], dtype=exact), k.new_empty(rows + 1, columns)


def _backward_meta(
    g: Tensor, dlse: Any, q: Tensor, k: Tensor, v: Tensor, out: Any, lse: Any, received: Any, of_reals: bool, *rest: Any
) -> list[Tensor]:
    reals = [x.new_empty(q.shape[0], *x.shape[1:]) for x in rest[-1]] if of_reals else []
    return [empty_as(q), empty_as(k), empty_as(k, v.shape[3]), *reals]


class _Sharded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        given, reals = arguments[:_FIRST], arguments[_FIRST:]
        with torch._C._AutoDispatchBelowAutograd():
            out, lse, received = sharded(*given, [*reals])
        q, k, v, sinks, *ctx.numbers, inputs, chosen_by, sequences, streams, p, deterministic = given
        ctx.last = p, deterministic
        ctx.lists = len(inputs), len(chosen_by)
        ctx.save_for_backward(q, k, v, sinks, out, lse, received, sequences, streams, *inputs, *chosen_by, *reals)
        ctx.mark_non_differentiable(received)
        ctx.set_materialize_grads(False)
        return out, lse, received

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, dlse: Tensor | None, _: Any) -> Any:
        q, k, v, sinks, out, lse, received, sequences, streams, *rest = ctx.saved_tensors
        g = torch.zeros_like(out) if g is None else g
        inputs, chosen_by, reals = (rest[slice(*ends)] for ends in _edges(*ctx.lists))
        of_reals = any(ctx.needs_input_grad[_FIRST:])
        data = inputs, chosen_by, sequences, streams, *ctx.last, reals
        dq, dk, dv, *found = sharded_backward(g, dlse, q, k, v, out, lse, received, of_reals, *ctx.numbers, *data)
        of_sinks = sink_gradient(g, out, lse, dlse, sinks) if ctx.needs_input_grad[3] else None
        pairs = zip(found, reals, strict=True) if of_reals else ()
        more = [x if len(own) > 1 else x.sum(0, keepdim=True) for x, own in pairs] or [None] * len(reals)
        return dq, dk, dv, of_sinks, *(None,) * (_FIRST - 4), *more


def _edges(first: int, second: int) -> tuple[tuple[int, int | None], ...]:
    return (0, first), (first, first + second), (first + second, None)


class _Gradients(torch.autograd.Function):
    """The gradients as a function of their own, so that asking for its derivative is an error and never a zero."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return tuple(sharded_backward(*arguments[:_FIRST_BACKWARD], [*arguments[_FIRST_BACKWARD:]]))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(NO_DERIVATIVE.format("double backward"))


def _register() -> torch.library.Library:
    library = torch.library.Library("sparsec", "FRAGMENT")
    tensors, rest = "Tensor q, Tensor k, Tensor v", "float scale, str owner, int[] ends"
    rest += ", Tensor[] inputs, Tensor[] chosen_by, Tensor? sequences, Tensor? streams, float dropout_p"
    rest += ", bool deterministic, Tensor[] reals"
    library.define(f"sharded({tensors}, Tensor? sinks, {rest}) -> (Tensor, Tensor, Tensor)")
    more = "Tensor out, Tensor lse, Tensor received, bool of_reals"
    library.define(f"sharded_backward(Tensor g, Tensor? dlse, {tensors}, {more}, {rest}) -> Tensor[]")
    for name, run, meta, function in (
        ("sharded", _forward, _forward_meta, _Sharded),
        ("sharded_backward", _backward, _backward_meta, _Gradients),
    ):
        op = getattr(torch.ops.sparsec, name).default
        torch.library.register_fake(op, meta, lib=library)
        for key in ("CPU", "CUDA"):
            library.impl(op, run, key)
        library.impl(op, under_autograd(op, function, listed=True), "Autograd")
    return library


_LIBRARY = _register()
sharded = torch.ops.sparsec.sharded.default
sharded_backward = torch.ops.sparsec.sharded_backward.default
