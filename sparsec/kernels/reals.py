"""Real numbers of scores: functions on the device, and the same on tensors of a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.device import tl, triton


@triton.jit
def tanh(x):
    """tanh to within some roundings: of small numbers by a polynomial (Cephes), as 1 - 2 / (exp(2 x) + 1) cancels."""
    z = x * x
    p = ((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z
    p = ((p + 1.33314422036e-1) * z - 3.33332819422e-1) * z
    large = 1.0 - 2.0 / (tl.exp2(x * 2.8853900817779268) + 1.0)
    return tl.where(tl.abs(x) < 0.625, x + x * p, large)


@triton.jit
def real(x):
    """An integer as a real number."""
    return x.to(tl.float32)


def as_real(x: Any, s: Tensor) -> Tensor:
    """Integers as real numbers of the type of s."""
    return torch.as_tensor(x, dtype=s.dtype)


def choose_real(test: Any, then: Any, other: Any, s: Tensor) -> Tensor:
    """`then` where the test holds, else `other`: tensors or numbers."""
    return torch.where(torch.as_tensor(test), as_real(then, s), as_real(other, s))
