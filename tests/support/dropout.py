"""Dense attention with dropout, and the mask of dropout pair by pair, in plain integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

WORD = 0xFFFFFFFF


def dense(
    mask: Tensor | np.ndarray, kept: Tensor, q: Tensor, k: Tensor, v: Tensor, p: float, scale: float,
    score: Callable[[Tensor], Tensor] = lambda s: s,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """out and lse over a mask [.., n_q, n], weights where `kept` [B, H, n_q, n] is false dropped; differentiable."""
    mask = torch.as_tensor(mask, device=q.device)
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    scores = score(q @ k.mT * scale).masked_fill(~mask, float("-inf"))
    weights = scores.masked_fill(~mask.any(-1, keepdim=True), 0.0).softmax(-1).masked_fill(~mask, 0.0)
    weights = weights.masked_fill(~kept.to(q.device), 0.0) / (1 - p)
    return weights.to(v.dtype) @ v, scores.logsumexp(-1)  # a score that reads float32 is of that type


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Philox-4x32-10 as the paper has it."""
    (low, high), (a, b, c, d) = key, counter
    for _ in range(10):
        one, other = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = other >> 32 ^ b ^ low, other & WORD, one >> 32 ^ d ^ high, one & WORD
        low, high = low + 0x9E3779B9 & WORD, high + 0xBB67AE85 & WORD
    return a, b, c, d


def is_kept(seed: int, sequence: int, head: int, q: int, k: int, p: float) -> bool:
    """As the documentation of `sparsec.kernels.weights.dropout` says it."""
    word, _, _, _ = philox((seed & WORD, seed >> 32 & WORD), (q, head, sequence, 0))
    x = (k & ~24) * 0x61C88647 + word & WORD
    x = (x ^ x >> 16) * 0x21F0AAAD & WORD
    x = (x ^ x >> 15 ^ word) * (0x30140365, 0x606D6107, 0x7DB83D2D, 0x6856737F)[k // 8 % 4] & WORD
    return (x ^ 1 << 31) >= min(round(p * 2**32), WORD)  # signed order
