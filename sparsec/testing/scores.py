"""Scores of dense attention: those of a pattern, read literally by the reference, and their derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from sparsec.analysis.score_gradient import gradient
from sparsec.ir import reference
from sparsec.ir.inputs import Input, of_row, read_by_scores
from sparsec.ir.nodes import Pattern
from sparsec.ir.scores import Real


@dataclass(frozen=True, eq=False)
class Scores:
    """The score of each query head, None where it is s itself; `queries` are positions.

    `data`: what they read by name, with all their axes, as `inputs` declare them.
    """

    by_head: tuple[Real | None, ...]
    queries: np.ndarray
    inputs: tuple[Input, ...] = ()
    data: Mapping[str, np.ndarray] = field(default_factory=dict)

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
                own = of_row(self.inputs, self.data, row, head)
                found = reference.scored(node, s[row, head].cpu().numpy(), self.queries, head, heads, own)
                made[row, head] = torch.from_numpy(found).to(s)
        return made


def scores_of(
    pattern: Pattern, heads: int, queries: np.ndarray, given: Mapping[str, Tensor] = MappingProxyType({})
) -> Scores | None:
    """The scores of a pattern at some positions of queries; None where it has none.  `given`: inputs by name."""
    if not pattern.scores:
        return None
    by_head = tuple(pattern.score(index) for index in pattern.head_conditions or (0,) * heads)
    inputs = read_by_scores(pattern)
    reals = {each.name for each in inputs if each.kind == "float"}
    data = {each.name: given[each.name].detach().cpu() for each in inputs}
    arrays = {name: (x.double() if name in reals else x.long()).numpy() for name, x in data.items()}
    return Scores(by_head, queries, inputs, arrays)
