"""Kernels in the interpreter beside the CPU path, in float32: what both are given, also in float64."""

from __future__ import annotations

import torch

from sparsec.kernels.program.arguments import Call


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
