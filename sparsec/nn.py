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

if TYPE_CHECKING:
    from sparsec.runtime.attend import Attend as Operator


class Attend(torch.nn.Module):
    """A module without parameters around what `sparsec.load` or `sparsec.compile` returned; called as that is.

    It has no state_dict of its own, can be copied and pickled, and prints the pattern with what is bound.
    """

    def __init__(self, attend: Operator) -> None:
        super().__init__()
        if not hasattr(attend, "pattern"):
            raise TypeError(f"what sparsec.load or sparsec.compile returned is wrapped, not {type(attend).__name__}")
        self.attend = attend

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *more: Any, **keywords: Any) -> Any:
        """q [B, H, n_q, D]; k, v [B, H_kv, n, D] -> [B, H, n_q, D]; keywords and errors as of `sparsec.Attend`."""
        return self.attend(q, k, v, *more, **keywords)

    def extra_repr(self) -> str:
        return repr(self.attend.pattern)
