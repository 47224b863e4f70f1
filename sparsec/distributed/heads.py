"""Attention on DTensors cut over batches and heads (tensor parallelism): each rank attends with what it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.distributed.tensor import DTensor, Replicate, Shard

from sparsec.diagnostics import NotSharded, SparsecError
from sparsec.ir import nodes as ir
from sparsec.runtime.attend import Attend
from sparsec.runtime.derived import function_of

_AXES = {0: "rows of the batch", 1: "heads"}


class OverHeads(torch.nn.Module):
    """Attention on DTensors [B, H, n, D] that are cut over batches and heads, as a module without parameters.

        heads = sparsec.distributed.OverHeads(attend)
        out = heads(q, k, v)  # DTensors in, a DTensor out

    A pattern by head serves on each rank the heads that it has.  A sequence is cut by `sparsec.distributed.shard`.
    """

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.attend = attend

    def forward(self, q: DTensor, k: DTensor, v: DTensor, **keywords: Any) -> Any:
        """q [B, H, n_q, D]; k, v [B, H_kv, n, D] -> out like q, and with `return_lse` lse [B, H, n_q], cut as q is.

        All of one mesh and the same placements: Shard(0), Shard(1) or Replicate() for each of its dimensions.  Other
        keywords as of the operator; DTensors among them are taken as their local parts.  Nothing is sent.  Dropout
        counts the rows and heads that a rank has, from 0: ranks that share none of them take seeds that differ.

        SparsecError for other placements, for numbers of rows or heads that the ranks do not divide, and for dropout
        without `dropout_seed`.
        """
        if keywords.get("dropout_p") and keywords.get("dropout_seed") is None:
            cure = "pass dropout_seed: the same on ranks that hold the same heads, and another on others"
            raise SparsecError(NotSharded(problem="dropout_p draws a seed on each rank", way_out=cure))
        placements = _placements(q, k, v)
        local = [x.to_local() for x in (q, k, v)]
        given = {name: x.to_local() if isinstance(x, DTensor) else x for name, x in keywords.items()}
        found = self._of_rank(q, local[0].shape[1])(*local, **given)

        def whole(x: torch.Tensor) -> DTensor:
            return DTensor.from_local(x, q.device_mesh, placements, run_check=False)

        return tuple(map(whole, found)) if isinstance(found, tuple) else whole(found)

    def _of_rank(self, q: DTensor, own: int) -> Any:
        """What this rank's heads are served by."""
        pattern = self.attend.pattern.nodes
        if pattern.heads is None or own == q.shape[1]:
            return self.attend
        if pattern.heads != q.shape[1]:
            problem = f"the pattern was compiled for {pattern.heads} query heads, got {q.shape[1]}"
            raise SparsecError(NotSharded(problem=problem, way_out=f"compile it with heads={q.shape[1]}"))
        first, size = 0, q.shape[1]
        for dim, placement in enumerate(q.placements):
            if placement == Shard(1):
                size //= q.device_mesh.size(dim)
                first += q.device_mesh.get_local_rank(dim) * size
        return function_of(of_heads(pattern, range(first, first + own)))

    def extra_repr(self) -> str:
        return repr(self.attend.pattern)


def of_heads(pattern: ir.Pattern, heads: Sequence[int]) -> ir.Pattern:
    """A pattern by head for some of its heads, which count from 0 again."""
    numbers = [pattern.head_conditions[head] for head in heads]
    kept = sorted(set(numbers))
    return replace(
        pattern,
        conditions=tuple(pattern.conditions[number] for number in kept),
        head_conditions=tuple(kept.index(number) for number in numbers),
        scores=tuple(pattern.scores[number] for number in kept) if pattern.scores else (),
    )


def _placements(q: DTensor, k: DTensor, v: DTensor) -> Sequence[Any]:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, DTensor):
            raise TypeError(f"{name} must be a DTensor, got {type(x).__name__}: call the operator itself")
        if x.device_mesh != q.device_mesh or x.placements != q.placements:
            problem = f"q is {q.placements} and {name} {x.placements}"
            raise SparsecError(NotSharded(problem=problem, way_out="redistribute them: all need the same placements"))
        for dim, placement in enumerate(x.placements):
            if not (placement == Replicate() or (type(placement) is Shard and placement.dim in _AXES)):
                cure = "use Shard(0), Shard(1) or Replicate(); sparsec.distributed.shard cuts sequences"
                raise SparsecError(NotSharded(problem=f"{name} is {placement} over the mesh", way_out=cure))
            if placement != Replicate() and x.shape[placement.dim] % _ranks(x, placement):
                what = f"{x.shape[placement.dim]} {_AXES[placement.dim]} over {x.device_mesh.size(dim)} ranks"
                raise SparsecError(NotSharded(problem=f"{name} has {what}", way_out="ranks must hold equally many"))
    return q.placements


def _ranks(x: DTensor, placement: Any) -> int:
    """Over how many ranks a dimension is cut."""
    found = 1
    for dim, other in enumerate(x.placements):
        found *= x.device_mesh.size(dim) if other == placement else 1
    return found
