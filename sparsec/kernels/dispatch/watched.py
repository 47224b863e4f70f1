"""Whether torch does more with an operator than run its kernel: where it does not, its dispatcher can be passed by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def watched() -> bool:
    """Whether calls of this thread are traced, transformed, cast, counted or profiled."""
    c = torch._C
    return (
        torch.compiler.is_compiling()
        or watched_beside_dispatcher()
        or torch.is_autocast_enabled("cuda")
        or c._len_torch_dispatch_stack() > 0
        or c._are_functorch_transforms_active()
        or c._get_tracing_state() is not None
    )


def watched_beside_dispatcher() -> bool:
    """As `watched` while nothing is compiled, of what the dispatcher does not say of a tensor (`likeness`)."""
    return (
        torch._C._len_torch_function_stack() > 0
        or torch.autograd.forward_ad._current_level >= 0
        or torch.autograd._profiler_enabled()
    )


def likeness(*tensors: Tensor, of_any_length: Tensor | None = None) -> Callable[..., bool] | None:
    """Whether other tensors are like these in all but their values, and the dispatcher would treat them alike.

    `of_any_length`: the one among them that may be longer or shorter, of one dimension.  torch.compile asks so before
    it runs what it has compiled, in C.  None where this torch can't be asked.
    """
    try:
        from torch._C._dynamo.guards import TensorGuards

        sizes: list[Any] = [[None] if x is of_any_length else [*x.shape] for x in tensors]
        strides: list[Any] = [[*x.stride()] for x in tensors]
        check = TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides).check
        return check if check(*tensors) else None
    except Exception:  # whatever a private class has become
        return None


def past_dispatcher(otherwise: Callable, on_gpu: Callable) -> Callable:
    """A pass without its derivative: by `on_gpu`, the operator's kernel, where the dispatcher would do nothing else."""

    def run(*arguments: Any) -> Any:
        if arguments[0].is_cuda and not watched() and _are_plain(arguments):
            with torch._C._AutoDispatchBelowAutograd():
                return on_gpu(*arguments)
        return otherwise(*arguments)

    return run


_PLAIN = {Tensor, list, int, float, type(None)}


def _are_plain(arguments: Iterable[Any]) -> bool:
    """Whether no argument is, or holds, a tensor of a kind of its own or a number that is not known."""
    return _PLAIN.issuperset(map(type, arguments)) and all(_are_plain(x) for x in arguments if type(x) is list and x)
