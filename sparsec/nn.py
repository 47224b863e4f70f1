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
        """q [B, H, n_q, D]; k, v [B, H_kv, n, D] -> [B, H, n_q, D]; keywords and errors as of `sparsec.Attend`."""
        if self.training and self.dropout:
            keywords.setdefault("dropout_p", self.dropout)
        return self.attend(q, k, v, *more, **keywords)

    def extra_repr(self) -> str:
        dropped = f", dropout={self.dropout}" if self.dropout else ""
        return f"{self.attend.pattern!r}{dropped}"
