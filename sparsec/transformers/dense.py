"""Attention over masks that are written out, in torch's operations: to compare with, and for keys that lie apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsec.runtime.flex import mask_mod
from sparsec.runtime.flex_scores import score_mod
from sparsec.transformers.layers import LayerPattern, layer_pattern
from sparsec.transformers.refusal import refusal

NAME = "sparsec_dense"  # the implementation, registered beside "sparsec"
_MOST_PAIRS = 1 << 22  # of a mask


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
    """As `attention`, for a layer with a pattern of its own, of whole rows; takes memory for every pair.

    The mask is the reference's, which shares no code with operators.
    """
    own = layer_pattern(module)
    if own is None or query.shape[2] != key.shape[2]:
        raise refusal("attention over the mask of a pattern", "it is for rows of tokens, and layers that `use` changed")
    n = key.shape[2]
    kept = torch.from_numpy(own.attend.pattern.mask(n, n)).to(query.device)
    places = torch.arange(n, device=query.device)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = _over(own, query, key, value, places, places, n, kept, scale, s_aux if sinks is None else sinks)
    return out.transpose(1, 2), None


def over_kept_keys(
    own: LayerPattern, query: Tensor, key: Tensor, value: Tensor, places: Tensor, scale: float, aux: Tensor | None
) -> Tensor:
    """Queries that are the last tokens, over keys at the positions `places` [n], rising; [B, H, n_q, D_v].

    A mask has a few queries at a time.
    """
    n, nodes = int(places[-1]) + 1, own.attend.pattern.nodes
    keep, heads = mask_mod(nodes, n, query.device), torch.arange(query.shape[1], device=query.device)[:, None, None]
    parts = []
    for q, rows in zip(
        *(x.split(max(1, _MOST_PAIRS // len(places)), dim) for x, dim in ((query, 2), (places[-query.shape[2] :], 0))),
        strict=True,
    ):
        kept = keep(heads.new_zeros(()), heads, rows[:, None], places)
        parts.append(_over(own, q, key, value, rows, places, n, kept, scale, aux))
    return torch.cat(parts, 2)


def _over(
    own: LayerPattern, query: Tensor, key: Tensor, value: Tensor,
    q_places: Tensor, k_places: Tensor, n: int, kept: Tensor, scale: float, aux: Tensor | None,
) -> Tensor:  # fmt: skip
    """Softmax of scores where `kept` [H or 1, n_q, n]; rows without a key are 0."""
    heads, groups = query.shape[1], query.shape[1] // key.shape[1]
    scores = (query.unflatten(1, (-1, groups)) @ key.mT[:, :, None]).flatten(1, 2) * scale
    change = score_mod(own.attend.pattern.nodes, n, heads, query.device, 0)
    if change is not None:
        head = torch.arange(heads, device=query.device)[:, None, None]
        scores = change(scores, head.new_zeros(()), head, q_places[:, None], k_places)
    scores = scores.masked_fill(~kept, float("-inf"))
    if aux is not None:
        sink = aux.to(scores.dtype).view(1, heads, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sink], -1)
    weights = scores.softmax(-1)[..., : len(k_places)].masked_fill(~kept, 0.0)
    return (weights.unflatten(1, (-1, groups)) @ value[:, :, None]).flatten(1, 2)
