"""Dense attention with sinks: a key more that every row sees, whose score is the sink and whose value is 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def dense(
    mask: Tensor | np.ndarray, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """out and lse over a mask [n_q, n] or [H, n_q, n], differentiable by all of the tensors."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    scores = (q @ k.mT * scale).masked_fill(~torch.as_tensor(mask), float("-inf"))
    scores = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1)], -1)
    nothing = scores.isneginf().all(-1, keepdim=True)  # no key, and a sink of -inf: out is 0, and no gradient is NaN
    scores = scores.masked_fill(nothing, 0.0)
    weights = scores.softmax(-1).masked_fill(nothing, 0.0)
    return weights[..., :-1] @ v, scores.logsumexp(-1).masked_fill(nothing[..., 0], float("-inf"))


def results(attend: Callable[..., tuple[Tensor, Tensor]], drawn: list[Tensor]) -> list[Tensor]:
    """out, lse and the gradients of q, k, v and sinks, which `drawn` holds before those of out and lse."""
    *tensors, g, dlse = drawn
    tensors = [x.clone().requires_grad_() for x in tensors]
    out, lse = attend(*tensors)
    return [out, lse, *torch.autograd.grad([out, lse], tensors, [g, dlse.to(lse.dtype)])]
