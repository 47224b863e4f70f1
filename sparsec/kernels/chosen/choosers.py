"""All that an operator chooses itself in a call, by its queries and keys: lists of blocks, and labels of groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.chosen.choose import Choice, choose, chosen_shape
from sparsec.kernels.chosen.grouping import Hashing, Routing, grouped_shape, hashed_labels, routed_labels
from sparsec.kernels.dispatch.derivatives import folded_input, folded_table
from sparsec.kernels.launches.direct import current
from sparsec.kernels.program.inputs import Input
from sparsec.kernels.sequences.inputs import FirstLists, input_alone, most_lists
from sparsec.kernels.sequences.sequences import known

Chooser = Choice | Hashing | Routing


class Asked(NamedTuple):
    """What is chosen by: q [B, H, n_q, D]; k [B, H_kv, n, D]; `reals` [B or 1, G, .., ..], scores of blocks and
    centroids; `scale`, which is positive; `q_offset`, the position of the first query.
    """

    q: Tensor
    k: Tensor
    reals: Sequence[Tensor]
    scale: float
    q_offset: int


@torch.no_grad()
def run_chooser(own: Chooser, asked: Asked) -> Tensor:
    """int32: the lists of a `Choice`, or labels."""
    q, k, reals, scale, q_offset = asked
    if isinstance(own, Choice):
        return choose(own, q, k, reals, scale, q_offset)
    if q.shape[0] * q.shape[1] * k.shape[2] == 0:
        return q.new_zeros(chooser_shape(own, asked), dtype=torch.int32)
    if isinstance(own, Hashing):
        return hashed_labels(own, q, k, q_offset)
    return routed_labels(own, q, k, reals[own.given])


def chooser_shape(own: Chooser, asked: Asked, sequences: Tensor | None = None) -> tuple[int, ...]:
    """Of what is chosen; `sequences`: a table of those that the call is about."""
    q, k, reals, *_ = asked
    if not isinstance(own, Choice):
        return grouped_shape(own, q, k, reals)
    batch, heads, lists, listed = chosen_shape(own, q, k, reals)
    return batch, heads, lists if sequences is None else most_lists(q.shape[2], own.rows, len(sequences)), listed


# ---------------------------------------------------------------- as an operator of torch


def run_choosers(
    choosers: Sequence[Chooser],
    chosen_by: Sequence[Input],
    q: Tensor,
    k: Tensor,
    reals: list[Tensor],
    scale: float,
    q_offset: int,
    sequences: Tensor | None = None,
) -> list[Tensor]:
    """All of them, one after the other.  `chosen_by`: the declarations of `reals`.

    `sequences`: a table of those that the call is about.  Each of them has what it would choose alone, in its place:
    lists as `sparsec.kernels.sequences.inputs` has them, labels beside its queries and keys.
    """
    asked = Asked(q, k, reals, scale, q_offset)
    # Autocast would reach the products, and Triton launches on the device that is current.
    with torch.autocast(q.device.type, enabled=False), current(q.device):
        if sequences is None:
            return [run_chooser(own, asked) for own in choosers]
        return _of_sequences(choosers, chosen_by, asked, sequences)


def _of_sequences(
    choosers: Sequence[Chooser], chosen_by: Sequence[Input], asked: Asked, sequences: Tensor
) -> list[Tensor]:
    """What each sequence chooses alone.  What is for rows of none stays -1, and nobody reads it."""
    q, k, reals, *_ = asked
    n_q, lines = q.shape[2], known(sequences)
    shapes = (chooser_shape(own, asked, sequences) for own in choosers)
    found = [q.new_full(shape, -1, dtype=torch.int32) for shape in shapes]
    firsts = FirstLists(lines)
    for line in lines:
        if line.k_begin:
            gone = f"the keys before position {line.k_begin} of a sequence are not passed (k_offset)"
            raise ValueError(f"[SP0622] {gone}, and this pattern chooses among all of them: pass all keys")
        rows = slice(line.q_first, line.q_first + line.n_q)
        keys = slice(line.k_first, line.k_first + line.n)
        some_q, some_k = q[line.row : line.row + 1, :, rows], k[line.row : line.row + 1, :, keys]
        some = [input_alone(own, x, line, firsts, n_q) for own, x in zip(chosen_by, reals, strict=True)]
        alone = Asked(some_q, some_k, some, asked.scale, line.q_offset)
        for own, x in zip(choosers, found, strict=True):
            made = run_chooser(own, alone)[0]
            if isinstance(own, Choice):
                first = firsts.of(line, own.rows)
                x[line.row, :, first : first + made.shape[1]] = made
            else:
                x[line.row, ..., rows] = made[..., : line.n_q]
                x[line.row, ..., n_q + keys.start : n_q + keys.stop] = made[..., line.n_q :]
    return found


def choosers_batched(
    op: Callable,
    info: Any,
    places: Any,
    q: Tensor,
    k: Tensor,
    reals: list[Tensor],
    scale: float,
    q_offset: int,
    sequences: Tensor | None = None,
) -> tuple[list, list]:
    """As the rows of one batch."""
    count, batch = info.batch_size, q.shape[0 if places[0] != 0 else 1]
    tensors = zip((q, k), places, strict=False)
    moved = (x.expand(count, *x.shape) if at is None else x.movedim(at, 0) for x, at in tensors)
    dims = places[2] or [None] * len(reals)
    folded = [folded_input(x, at, count, batch) for x, at in zip(reals, dims, strict=True)]
    table = None if sequences is None else folded_table(sequences, places[5], count, batch)
    made = op(*(x.flatten(0, 1) for x in moved), folded, scale, q_offset, table)
    return [x.unflatten(0, (count, batch)) for x in made], [0] * len(made)


def choosers_meta(
    choosers: Sequence[Chooser],
    q: Tensor,
    k: Tensor,
    reals: list[Tensor],
    scale: float,
    q_offset: int,
    sequences: Tensor | None = None,
) -> list[Tensor]:
    """Empty tensors like the results."""
    asked = Asked(q, k, reals, scale, q_offset)
    return [q.new_empty(chooser_shape(own, asked, sequences), dtype=torch.int32) for own in choosers]
