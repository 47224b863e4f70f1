"""Real numbers of scores: functions on the device, and the same on tensors of a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.machine.device import tl, triton


@triton.jit
def real(x):
    """An integer as a real number."""
    return x.to(tl.float32)


@triton.jit
def real_zeros(x):
    """Zeros like x.  Of Triton's own ones, Gluon would want to know their layout."""
    return tl.where(x == x, 0.0, 0.0)


@triton.jit
def real_distance(x, NEAR: tl.constexpr):
    """A difference of positions as a real number; NEAR: all positions are below 2**22.

    Processors convert an integer in the time of eight sums.  A small one is made the last bits of 1.5 * 2**23 instead.
    """
    if NEAR:
        found = (x.to(tl.int32) + 0x4B400000).to(tl.float32, bitcast=True) - 12582912.0
    else:
        found = x.to(tl.float32)
    return found


def as_real(x: Any, s: Tensor) -> Tensor:
    """Integers as real numbers of the type of s."""
    return torch.as_tensor(x, dtype=s.dtype)


def choose_real(test: Any, then: Any, other: Any, s: Tensor) -> Tensor:
    """`then` where the test holds, else `other`: tensors or numbers."""
    return torch.where(torch.as_tensor(test), as_real(then, s), as_real(other, s))
