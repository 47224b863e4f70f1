"""The arguments of a pass, by name: one place to add another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.machine.memory import empty_as, of_one_size, widened


class Dropout(NamedTuple):
    """Dropout of attention weights: which of them are dropped follows from numbers of the call (`kernels.dropout`)."""

    p: float  # the probability that a weight is dropped, 0 < p < 1
    streams: Tensor  # int64 [B, 2], or [sequences, 2] with a table: the seed, and the number of the row or sequence

    @property
    def kept_share(self) -> float:
        """What weights that are not dropped are divided by."""
        return 1.0 - self.p

    @property
    def drop_below(self) -> int:
        """The least hash, as a signed integer of 32 bits, of a pair that is kept."""
        return min(round(self.p * 2**32), 2**32 - 1) - 2**31


class Call(NamedTuple):
    """Queries q [B, H, n_q, D], keys k [B, H_kv, n, D], values v [B, H_kv, n, D_v], and what else decides a result.

    k and v are those from position `k_begin` on, and so are inputs of positions; keys before it are not there.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    scale: float
    q_offset: int = 0  # the position of the first query; with a table, `reach`
    k_begin: int = 0
    inputs: Sequence[Tensor] = ()  # as `checked_inputs` makes them
    sinks: Tensor | None = None  # [1 or B, H]: a score more for each row, without a value
    table: Tensor | None = None  # the sequences that the call is about; positions are theirs then
    dropout: Dropout | None = None
    deterministic: bool = True  # whether sums of gradients have one order; False: where another is faster, any

    @property
    def is_empty(self) -> bool:
        """Whether there is no row to fill, or no key to fill it from."""
        return self.q.numel() * self.k.numel() == 0

    @property
    def reach(self) -> int:
        """Below what positions of the sequences of a table stay; 0: nobody knows."""
        return 0 if self.table is None else self.q_offset

    @property
    def offset_of_kernels(self) -> int:
        """The position of the first query as kernels take it; with a table, whose lines have their own, 0."""
        return self.q_offset if self.table is None else 0

    @property
    def positions(self) -> int:
        """How many there are, of queries and keys."""
        return max(self.k_begin + self.k.shape[2], self.q_offset + self.q.shape[2])

    def of_one_size(self) -> Call:
        """The same with columns of zeros, so that q, k and v have one head size."""
        q, k, v = of_one_size(*self[:3])
        return self._replace(q=q, k=k, v=v)

    def no_results(self) -> tuple[Tensor, Tensor]:
        """out and the log-sum-exp where no row has a key."""
        exact = torch.promote_types(self.q.dtype, torch.float32)
        return empty_as(self.q, self.v.shape[3]).zero_(), self.q.new_full(self.q.shape[:3], float("-inf"), dtype=exact)

    def no_gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of q, k and v where no row has a key."""
        return empty_as(self.q).zero_(), empty_as(self.k).zero_(), empty_as(self.k, self.v.shape[3]).zero_()


class Upstream(NamedTuple):
    """What a backward pass starts from: the results of the forward pass, and the gradients that come back into them."""

    g: Tensor  # of out
    out: Tensor  # [B, H, n_q, D_v]
    lse: Tensor  # the log-sum-exp [B, H, n_q]
    dlse: Tensor | None = None

    def of(self, rows: Callable[[Tensor], Tensor]) -> Upstream:
        """Some rows of everything."""
        return Upstream(rows(self.g), rows(self.out), rows(self.lse), None if self.dlse is None else rows(self.dlse))

    def of_size(self, size: int) -> Upstream:
        """The same with columns of zeros up to a head size."""
        return self._replace(g=widened(self.g, size), out=widened(self.out, size))
