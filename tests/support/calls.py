"""What calls about documents, lengths and offsets mean, row by row and from the reference alone: dense masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch

from sparsec.ir import nodes
from support.generated import mask_of


def of_documents(pattern: nodes.Pattern, ends: list[int], length: int) -> torch.Tensor:
    """Bool [1, H or 1, length, length]: each document sees itself alone."""
    mask = _empty(pattern, 1, length, length)
    for first, stop in pairwise(ends):
        if stop > first:
            mask[0, :, first:stop, first:stop] = _mask(pattern, stop - first, stop - first, 0)
    return torch.from_numpy(mask)


def of_starts(pattern: nodes.Pattern, starts: list[list[int]]) -> torch.Tensor:
    """Bool [B, H or 1, length, length]: `starts` has the first position of each token's document."""
    masks = []
    for row in starts:
        firsts = [place for place, start in enumerate(row) if start == place]
        masks.append(of_documents(pattern, [*firsts, len(row)], len(row)))
    return torch.cat(masks)


def of_rows(
    pattern: nodes.Pattern,
    n_q: int,
    n_k: int,
    lengths: list[int] | None,
    q_lengths: list[int] | None,
    q_offset: list[int] | int | None,
    k_offset: list[int] | int | None,
    batch: int,
) -> torch.Tensor:
    """Bool [B, H or 1, n_q, n_k]."""
    mask = _empty(pattern, batch, n_q, n_k)

    def number(x: list[int] | int, row: int) -> int:
        return x[row] if isinstance(x, list) else x

    for row in range(batch):
        first_key = 0 if k_offset is None else number(k_offset, row)
        n = first_key + n_k if lengths is None else min(number(lengths, row), first_key + n_k)
        tokens = q_offset is None and q_lengths is None and n_q == n_k
        queries = n_q if q_lengths is None else min(number(q_lengths, row), n_q)
        first_query = first_key if tokens else max(n - queries, 0) if q_offset is None else number(q_offset, row)
        if n <= 0:
            continue
        positions = [first_query + i for i in range(queries)]
        last = max([n, *positions]) + 1
        whole = _mask(pattern, last, n, 0)  # of all queries from position 0 on
        for i, q in enumerate(positions):
            if q < 0 or (tokens and q >= n):
                continue
            for j in range(n_k):
                if 0 <= first_key + j < n:
                    mask[row, :, i, j] = whole[:, q, first_key + j]
    return torch.from_numpy(mask)


def _empty(pattern: nodes.Pattern, batch: int, n_q: int, n_k: int) -> np.ndarray:
    return np.zeros((batch, pattern.heads or 1, n_q, n_k), dtype=bool)


def _mask(pattern: nodes.Pattern, n_q: int, n: int, q_offset: int) -> np.ndarray:
    mask = mask_of(pattern, n_q, n, q_offset)
    return mask if pattern.heads else mask[None]


@contextmanager
def no_synchronisation() -> Iterator[None]:
    """Whatever waits for a CUDA device raises."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
