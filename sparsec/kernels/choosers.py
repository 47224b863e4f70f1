"""All that an operator chooses itself in a call, by its queries and keys: lists of blocks, and labels of groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.choose import Choice, choose, chosen_shape
from sparsec.kernels.derivatives import folded_input
from sparsec.kernels.grouping import Hashing, Routing, grouped_shape, hashed_labels, routed_labels

Chooser = Choice | Hashing | Routing


@torch.no_grad()
def run_chooser(own: Chooser, q: Tensor, k: Tensor, reals: Sequence[Tensor], scale: float, q_offset: int) -> Tensor:
    """int32: the lists of a `Choice`, or labels.

    q [B, H, n_q, D]; k [B, H_kv, n, D]; `reals` [B or 1, G, .., ..]: scores of blocks and centroids; `scale` is
    positive; `q_offset` is the position of the first query.
    """
    if isinstance(own, Choice):
        return choose(own, q, k, reals, scale, q_offset)
    if q.shape[0] * q.shape[1] * k.shape[2] == 0:
        return q.new_zeros(chooser_shape(own, q, k, reals), dtype=torch.int32)
    if isinstance(own, Hashing):
        return hashed_labels(own, q, k, q_offset)
    return routed_labels(own, q, k, reals[own.given])


def chooser_shape(own: Chooser, q: Tensor, k: Tensor, reals: Sequence[Tensor]) -> tuple[int, ...]:
    """Of what is chosen."""
    return chosen_shape(own, q, k, reals) if isinstance(own, Choice) else grouped_shape(own, q, k, reals)


# ---------------------------------------------------------------- as an operator of torch


def run_choosers(
    choosers: Sequence[Chooser], q: Tensor, k: Tensor, reals: list[Tensor], scale: float, q_offset: int
) -> list[Tensor]:
    """All of them, one after the other."""
    with torch.autocast(q.device.type, enabled=False):  # it would reach the products
        return [run_chooser(own, q, k, reals, scale, q_offset) for own in choosers]


def choosers_batched(
    op: Callable, info: Any, places: Any, q: Tensor, k: Tensor, reals: list[Tensor], *rest: Any
) -> tuple[list, list]:
    """As the rows of one batch."""
    count, batch = info.batch_size, q.shape[0 if places[0] != 0 else 1]
    tensors = zip((q, k), places, strict=False)
    moved = (x.expand(count, *x.shape) if at is None else x.movedim(at, 0) for x, at in tensors)
    dims = places[2] or [None] * len(reals)
    folded = [folded_input(x, at, count, batch) for x, at in zip(reals, dims, strict=True)]
    made = op(*(x.flatten(0, 1) for x in moved), folded, *rest)
    return [x.unflatten(0, (count, batch)) for x in made], [0] * len(made)


def choosers_meta(choosers: Sequence[Chooser], q: Tensor, k: Tensor, reals: list[Tensor], *rest: Any) -> list[Tensor]:
    """Empty tensors like the results."""
    return [q.new_empty(chooser_shape(own, q, k, reals), dtype=torch.int32) for own in choosers]
