"""Attention over the dense mask of a layer's own pattern, for comparison: the definition, in torch's operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsec.transformers.layers import layer_pattern
from sparsec.transformers.refusal import refusal

NAME = "sparsec_dense"  # the implementation, registered beside "sparsec"


def dense_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    s_aux: Tensor | None = None,
    sinks: Tensor | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """As `attention`, for a layer with a pattern of its own, of whole rows; takes memory for every pair."""
    own = layer_pattern(module)
    if own is None or query.shape[2] != key.shape[2]:
        raise refusal("attention over the mask of a pattern", "it is for rows of tokens, and layers that `use` changed")
    (heads, n), pattern = query.shape[1:3], own.attend.pattern
    key, value = (x.repeat_interleave(heads // x.shape[1], 1) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    places = [torch.arange(size, device=query.device) for size in (heads, n, n)]
    if (change := pattern.score_mod(n, heads, query.device)) is not None:
        head, q, k = (place.view(-1, *(1,) * (2 - axis)) for axis, place in enumerate(places))
        scores = change(scores, 0, head, q, k)
    kept = torch.from_numpy(pattern.mask(n, n)).to(query.device)
    scores = scores.masked_fill(~kept, float("-inf"))
    aux = s_aux if sinks is None else sinks
    if aux is not None:
        scores = torch.cat([scores, aux.to(scores.dtype).view(1, heads, 1, 1).expand(len(scores), heads, n, 1)], -1)
    weights = scores.softmax(-1)[..., :n].masked_fill(~kept, 0.0)  # rows without a key have none
    return (weights @ value).transpose(1, 2), None
