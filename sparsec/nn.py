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

    from sparsec.kernels.dropout import checked_probability

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
        if self.training and self.dropout:
            keywords.setdefault("dropout_p", self.dropout)
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
