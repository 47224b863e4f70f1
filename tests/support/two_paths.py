"""Kernels in the interpreter beside the CPU path, in float32: bounds come from what the CPU path makes of float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsec.kernels.arguments import Call

_ROUNDINGS = 8  # of the largest number: products and exponentials of kernels round at other places


def drawn(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """Normal numbers, the same each time."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def double(x: torch.Tensor) -> torch.Tensor:
    """Real numbers in float64; others as they are."""
    return x.double() if x.is_floating_point() else x


def in_double(call: Call) -> Call:
    """A call with all real numbers in float64."""
    q, k, v = map(double, call[:3])
    sinks = None if call.sinks is None else double(call.sinks)
    return call._replace(q=q, k=k, v=v, inputs=[*map(double, call.inputs)], sinks=sinks)


def assert_close(found: Sequence[torch.Tensor], rounded: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> None:
    """No further from `exact`, in float64, than twice what `rounded` is, another path in float32, and some roundings
    of the largest number.
    """
    for x, other, wanted in zip(found, rounded, exact, strict=True):
        there = wanted.isfinite()
        assert torch.equal(x.isfinite(), there)
        torch.testing.assert_close(x[~there].double(), wanted[~there], equal_nan=True)
        error, own = ((some[there].double() - wanted[there]).abs().max().item() for some in (x, other))
        bound = 2 * own + _ROUNDINGS * torch.finfo(torch.float32).eps * wanted[there].abs().max().item()
        assert error <= bound, f"{error:.2e} > {bound:.2e}"
