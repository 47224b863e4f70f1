"""Dense attention with sinks: a key more that every row sees, whose score is the sink and whose value is 0."""

from __future__ import annotations

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
    return scores.softmax(-1)[..., :-1] @ v, scores.logsumexp(-1)
