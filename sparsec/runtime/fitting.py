"""Queries, keys and values of sizes that operators do not take, made to fit."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad


def fitting(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """q, k and v with columns of zeros, which change nothing, so that they have sizes that operators take; and the
    columns of the result that v has.
    """
    sizes = [max(x.shape[-1] + -x.shape[-1] % 8, 16) for x in (q, k, v)]
    found = (
        x if x.shape[-1] == size else pad(x, (0, size - x.shape[-1])) for x, size in zip((q, k, v), sizes, strict=True)
    )
    return *found, v.shape[-1]
