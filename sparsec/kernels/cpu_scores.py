"""Attention with scores on a CPU: torch's own takes products as they are, so it is written out here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.cpu_order import Order
from sparsec.kernels.cpu_runs import Run
from sparsec.kernels.cpu_visits import Visits
from sparsec.kernels.input_entries import Entries, place_of
from sparsec.kernels.program import Region

Sums = Mapping[int, Tensor]  # gradients of float inputs by number: [rows of the batch, entries and one for none]


class HeadNumbers(NamedTuple):
    """The query heads that some tensors are about."""

    numbers: Tensor  # int64 [X, group], X being rows of the batch by key heads
    rows: Tensor  # int64 [X]: rows of the batch
    heads: int  # of the call


def heads_of_call(
    regions: Sequence[Region], count: int, own: slice | Sequence[int], q: Tensor, k: Tensor
) -> HeadNumbers | None:
    """The query heads of tensors q and k of some of `count` heads, where regions have scores."""
    if not any(region.score for region in regions):
        return None
    numbers = torch.arange(count)[own].view(k.shape[1], -1).repeat(q.shape[0], 1)
    return HeadNumbers(numbers, torch.arange(q.shape[0]).repeat_interleave(k.shape[1]), count)


class Scored(NamedTuple):
    """The score of a batch of pairs: what a pattern says, and where the pairs are."""

    region: Region
    q: Tensor  # positions and heads, int64, which broadcast with products [.., rows, keys]
    k: Tensor
    n: int
    h: Tensor
    heads: int
    rows: Tensor  # of the batch, broadcast likewise
    entries: Sequence[Entries]

    def score(self, s: Tensor) -> Tensor:
        """Scores of scaled products."""
        return self._ask(self.region.score, s)

    def slope(self, s: Tensor) -> Tensor:
        """Their derivatives; a number where it is the same for all."""
        return self._ask(self.region.score_gradient, s)

    def _ask(self, function: Callable[..., Tensor] | None, s: Tensor) -> Tensor:
        assert function is not None
        read = self.region.read_in_scores(self.entries)
        return function(s, self.q, self.k, self.n, self.h, self.heads, *read, *self.region.more)

    def add(self, sums: Sums, s: Tensor, changes: Tensor) -> None:
        """Adds to the gradients of float inputs, where `changes` are those of scores of products s."""
        for read in self.region.reads.all if self.region.reads else ():
            slopes = self._ask(read.slope_cpu, s)
            own = (changes * slopes).masked_fill_(changes == 0, 0.0)  # where a weight is 0, whatever the slope
            indices = read.indices(self.q, self.k, self.n, self.h, self.heads, *self.region.more)
            place = place_of(self.entries[read.input], *indices) if indices else 0
            total = sums[read.input]
            place = (self.rows * total.shape[1] + place).expand(own.shape)
            total.view(-1).index_add_(0, place.flatten(), own.flatten())


def scored_run(
    order: Order, visits: Visits, run: Run, heads: HeadNumbers | None, entries: Sequence[Entries]
) -> Scored | None:
    """The score of the stacks of a run, [stacks, X, height * group * tile, keys]; None where a region has none."""
    if order.region.score is None:
        return None
    assert heads is not None
    group, stacks = heads.numbers.shape[1], len(run.tiles)
    shape = run.height, group, order.tile
    rows = order.queries(run.tiles.flatten()).view(stacks, run.height, 1, order.tile) + order.q_offset
    q = rows.expand(stacks, *shape).reshape(stacks, 1, -1, 1)
    h = heads.numbers[:, None, :, None].expand(-1, *shape).reshape(1, len(heads.numbers), -1, 1)
    if visits.listed is None:
        k = order.keys(run.keys.flatten())
    else:
        k = visits.listed.view(-1, order.block)[run.keys.flatten()]
    rows_of_batch = heads.rows.view(1, -1, 1, 1)
    return Scored(order.region, q, k.reshape(stacks, 1, 1, -1), order.n, h, heads.heads, rows_of_batch, entries)


def attend_scored(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, scored: Scored
) -> tuple[Tensor, Tensor]:
    """As `attend_densely`, with scores; the log-sum-exp is -inf for no key."""
    s = scored.score((q @ k.mT).mul_(scale))
    if mask is not None:
        s = s.masked_fill(mask != 0, float("-inf"))
    top = s.amax(-1, keepdim=True).clamp(min=torch.finfo(s.dtype).min)  # finite, so that exp(-inf - top) is 0
    weights = (s - top).exp_()
    total = weights.sum(-1, keepdim=True)
    out = (weights @ v).div_(total.where(total != 0, 1.0))
    return out, (top + total.log()).squeeze(-1)


def gradients_scored(
    g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, mask: Tensor | None, scale: float,
    scored: Scored, sums: Sums | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """dq, dk and dv of attention with scores: the counterpart of `attend_scored`, with +inf for a row without keys.

    Where a weight is 0, so are its gradients, whatever the slope.  `sums`: those of float inputs, to be added to.
    """
    s = (q @ k.mT).mul_(scale)
    weights = (scored.score(s) - lse[..., None]).exp_()
    gone = (lse == float("inf"))[..., None]
    weights = weights.masked_fill_(gone if mask is None else gone | (mask != 0), 0.0)
    ds = (g @ v.mT).sub_((out * g).sum(-1, keepdim=True)).mul_(weights)
    if sums is not None:
        scored.add(sums, s, ds.masked_fill(weights == 0, 0.0))
    ds = ds.mul_(scored.slope(s))
    ds = ds.masked_fill_(weights == 0, 0.0).mul_(scale)
    return ds @ k, ds.mT @ q, weights.mT @ g
