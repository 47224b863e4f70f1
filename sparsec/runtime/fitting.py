"""Queries, keys and values of sizes that operators do not take, made to fit."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad


def fitting(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """q, k and v with columns of zeros, which change nothing, so that all have one size that operators take; and the
    columns of the result that v has.
    """
    size = max(q.shape[-1], v.shape[-1], 16)
    size += -size % 8
    return *(x if x.shape[-1] == size else pad(x, (0, size - x.shape[-1])) for x in (q, k, v)), v.shape[-1]
