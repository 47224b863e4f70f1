"""Attention over a pattern as a module of torch.nn, so that `print(model)` shows the pattern.

import sparsec.nn

self.attend = sparsec.nn.Attend(sparsec.load("longformer.spat", w=256))
out = self.attend(q, k, v)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsec.diagnostics import torch_for

with torch_for("sparsec.nn"):
    import torch

    from sparsec.kernels.chosen.indexer import index_keys
    from sparsec.kernels.program.checks import checked_flag, integer
    from sparsec.kernels.sequences.positions import Positions, checked_positions
    from sparsec.kernels.weights.dropout import checked_probability

if TYPE_CHECKING:
    from sparsec.runtime.attend import Attend as Operator


class Attend(torch.nn.Module):
    """A module without parameters around what `sparsec.load` or `sparsec.compile` returned; called as that is.

    It has no state_dict of its own, can be copied and pickled, and prints the pattern with what is bound.  `dropout` is
    the probability with which attention weights are dropped in training; after `eval()` none are.
    """

    def __init__(self, attend: Operator, *, dropout: float = 0.0) -> None:
        super().__init__()
        if not hasattr(attend, "pattern"):
            raise TypeError(f"what sparsec.load or sparsec.compile returned is wrapped, not {type(attend).__name__}")
        self.attend, self.dropout = attend, checked_probability(dropout, "dropout")

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *more: Any, **keywords: Any) -> Any:
        """q [B, H, n_q, D]; k, v [B, H_kv, n, D or D_v] -> [B, H, n_q, D_v]; else as of `sparsec.Attend`."""
        keywords.setdefault("dropout_p", self.dropout if self.training and self.dropout else 0)
        return self.attend(q, k, v, *more, **keywords)

    def extra_repr(self) -> str:
        dropped = f", dropout={self.dropout}" if self.dropout else ""
        return f"{self.attend.pattern!r}{dropped}"


@torch.no_grad()
def updated_centroids(centroids: torch.Tensor, q: torch.Tensor, k: torch.Tensor, decay: float = 0.999) -> torch.Tensor:
    """The centroids of `routed` after a step of training, as an exponential moving average: like centroids, new.

    centroids [G, clusters, D], G being 1, the key heads or the query heads; q [B, H, n_q, D]; k [B, H_kv, n, D], as
    the call had them.  Each token belongs to the centroid with the largest product, ties to the first; a centroid is
    then decay * centroid + (1 - decay) / 2 * (the sum of its queries + the sum of its keys), as in algorithm 1 of the
    Routing Transformer (Roy et al., 2020, arXiv:2003.05997).  Heads that share a centroid are summed, in one order: the
    same bits every time.  ValueError for shapes that do not fit.
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"[SP0606] decay must lie between 0 and 1, got {decay}")
    fits = centroids.dim() == 3 and q.dim() == k.dim() == 4 and q.shape[3] == k.shape[3] == centroids.shape[2]
    if not fits or q.shape[1] % k.shape[1] or len(centroids) not in (1, k.shape[1], q.shape[1]):
        shapes = f"{list(centroids.shape)}, {list(q.shape)} and {list(k.shape)}"
        wanted = "[G, clusters, D], [B, H, n_q, D] and [B, H_kv, n, D], G being 1, H_kv or H"
        raise ValueError(f"[SP0601] centroids, q and k must be {wanted}, got {shapes}")
    exact = torch.promote_types(centroids.dtype, torch.float32)
    mu = centroids.to(exact)
    with torch.autocast(q.device.type, enabled=False):  # which would reach the products
        total = sum(_assigned(mu, x.to(exact)) for x in (q, k))
    return (decay * mu + (1 - decay) / 2 * total).to(centroids.dtype)


def _assigned(centroids: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """[G, clusters, D]: the sums of the tokens x [B, heads, n, D] of each centroid.

    Where there are fewer heads than G, each stands for the query heads that share it.
    """
    groups = len(centroids)
    if x.shape[1] < groups:
        x = x.repeat_interleave(groups // x.shape[1], 1)
    x = x.unflatten(1, (groups, -1)).transpose(0, 1).flatten(1, 3)  # [G, tokens, D]
    nearest = (x @ centroids.mT).argmax(-1)
    members = nearest[..., None] == torch.arange(centroids.shape[1], device=x.device)
    return members.to(x.dtype).mT @ x


@torch.no_grad()
def lightning_indexer(
    q: torch.Tensor,
    k: torch.Tensor,
    weights: torch.Tensor,
    t: int,
    *,
    causal: bool = True,
    q_offset: int | None = None,
    documents: torch.Tensor | None = None,
) -> torch.Tensor:
    """The t keys that an indexer with heads of its own scores best for each query, as `input best: keys[t]` wants them.

    A key's score is the sum over the indexer's heads of weights * relu(q . k), as in DeepSeek sparse attention
    (DeepSeek-AI, 2025, arXiv:2512.02556).  q [B, H_I, n_q, D_I] and k [B, n, D_I] are the indexer's own, weights
    [B, H_I, n_q]; every product is computed, and no room is taken for all of them.

    Returns int32 [B, 1, n_q, t], ascending, with -1 where there are fewer keys; equal scores go to the first key.
    `causal`: keys up to the query's own position only, which for the first query is `q_offset`, by default n - n_q: the
    queries are the last ones.  `documents`: cu_seqlens [documents + 1] of one packed row, or the start of each token's
    document [B, n], as a call takes them; queries are all tokens then, and keys count from the document's start.

    No gradient goes through the choice: train the indexer by a loss of its own, as the paper does.  ValueError for
    shapes, types and numbers that do not fit.
    """
    fits = q.dim() == 4 and k.dim() == 3 and k.shape[::2] == q.shape[::3] and weights.shape == q.shape[:3]
    if not fits:
        shapes = f"{list(q.shape)}, {list(k.shape)} and {list(weights.shape)}"
        wanted = "[B, H_I, n_q, D_I], [B, n, D_I] and [B, H_I, n_q]"
        raise ValueError(f"[SP0601] q, k and weights of an indexer must be {wanted}, got {shapes}")
    if not (q.dtype == k.dtype and q.is_floating_point() and weights.is_floating_point()):
        types = f"{q.dtype}, {k.dtype} and {weights.dtype}"
        raise ValueError(f"[SP0602] q and k must be real numbers of one type, and weights real numbers, got {types}")
    if not q.device == k.device == weights.device:
        raise ValueError(
            f"[SP0603] q, k and weights must be on one device, got {q.device}, {k.device}, {weights.device}"
        )
    if isinstance(t, bool) or not isinstance(t, int) or t < 0:
        raise ValueError(f"[SP0606] t must be 0 or a whole number above it, got {t!r}")
    causal = checked_flag("causal", causal)
    n_q, n = q.shape[2], k.shape[1]
    starts = None if documents is None else _starts(documents, q, k, causal, q_offset)
    first = n - n_q if q_offset is None else integer("q_offset", q_offset)
    return _indexed(q, k, weights, starts, t, causal, first)


@torch.library.custom_op("sparsec::lightning_indexer", mutates_args=())
def _indexed(
    q: torch.Tensor,
    k: torch.Tensor,
    weights: torch.Tensor,
    starts: torch.Tensor | None,
    t: int,
    causal: bool,
    q_offset: int,
) -> torch.Tensor:
    with torch.autocast(q.device.type, enabled=False):  # which would reach the products
        return index_keys(q, k, weights, starts, t, causal, q_offset)


@_indexed.register_fake
def _(
    q: torch.Tensor,
    k: torch.Tensor,
    weights: torch.Tensor,
    starts: torch.Tensor | None,
    t: int,
    causal: bool,
    q_offset: int,
) -> torch.Tensor:
    return q.new_empty((q.shape[0], 1, q.shape[2], t), dtype=torch.int32)


def _starts(
    documents: torch.Tensor, q: torch.Tensor, k: torch.Tensor, causal: bool, q_offset: int | None
) -> torch.Tensor:
    """int32 [B, n]: the first token of each token's document; of those in none the length."""
    if not causal or q_offset:
        raise ValueError("[SP0612] documents of an indexer are about a query for each key, causal and without q_offset")
    n = k.shape[1]
    checked_positions(Positions(documents=documents), q, k[:, None], n)
    if documents.dim() == 2:
        return documents.int()
    token = torch.arange(n, device=documents.device, dtype=torch.int32)
    place = torch.searchsorted(documents.int(), token, right=True)
    ends = torch.nn.functional.pad(documents.int(), (1, 0), value=n)
    inside = place < len(documents)
    return torch.where(inside, ends[place.clamp(max=len(documents))], n).int()[None]
