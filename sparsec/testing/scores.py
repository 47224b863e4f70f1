"""Scores of dense attention: those of a pattern, read literally by the reference, and their derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparsec.analysis.score_gradient import gradient
from sparsec.ir import reference
from sparsec.ir.nodes import Pattern
from sparsec.ir.scores import Real


@dataclass(frozen=True, eq=False)
class Scores:
    """The score of each query head, None where it is s itself; `queries` are positions."""

    by_head: tuple[Real | None, ...]
    queries: np.ndarray

    def of(self, s: Tensor) -> Tensor:
        """The scores of scaled products s [B, H, queries, keys]."""
        return self._read(s, self.by_head)

    def slopes(self, s: Tensor) -> Tensor:
        """Their derivatives by s."""
        derived = tuple(None if score is None else gradient(score) for score in self.by_head)
        return torch.where(self._scored(s), self._read(s, derived), torch.ones_like(s))

    def _scored(self, s: Tensor) -> Tensor:
        return torch.tensor([score is not None for score in self.by_head], device=s.device)[:, None, None]

    def _read(self, s: Tensor, nodes: tuple[Real | None, ...]) -> Tensor:
        made, heads = s.clone(), len(nodes)
        for head, node in enumerate(nodes):
            if node is None:
                continue
            for row in range(len(s)):
                found = reference.scored(node, s[row, head].cpu().numpy(), self.queries, head, heads)
                made[row, head] = torch.from_numpy(found).to(s)
        return made


def scores_of(pattern: Pattern, heads: int, queries: np.ndarray) -> Scores | None:
    """The scores of a pattern at some positions of queries; None where it has none."""
    if not pattern.scores:
        return None
    return Scores(tuple(pattern.score(index) for index in pattern.head_conditions or (0,) * heads), queries)
