"""Kernels in the interpreter beside the CPU path, in float32: the same tensors, and results up to the order of sums."""

from __future__ import annotations

import torch


def drawn(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """Normal numbers, the same each time."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Within 64 places of the largest finite number."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=64 * 2**-23 * wanted[wanted.isfinite()].abs().max().item())
