"""Keys that an indexer chooses for each query by heads of its own (DSA), in slabs of scores: by kernels, or by torch.

Nothing here has an entry for each pair, or looks at a number of the device on the host.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsec.kernels.chosen.choose import SLAB, ordered
from sparsec.kernels.chosen.index_kernel import list_best_keys, score_keys
from sparsec.kernels.launches.compiling import launched
from sparsec.kernels.launches.direct import current
from sparsec.kernels.machine.hardware import dot_precision
from sparsec.kernels.program.program import cdiv

_INDEXED_ROWS, _INDEXED_KEYS = 64, 128  # of a tile of scores; half as many in float32
_INDEXED_AT_ONCE = 4096  # keys that are looked at together
_NO_KEY, _LAST_KEY = -(1 << 63), (1 << 32) - 1


def index_keys(
    q: Tensor, k: Tensor, weights: Tensor, starts: Tensor | None, taken: int, causal: bool, q_offset: int
) -> Tensor:
    """int32 [B, 1, n_q, taken]: of each query the keys with the largest sum over heads of weights * relu(q . k),
    ascending, ties to the lowest; -1 behind them.

    q [B, H, n_q, D], k [B, n, D], weights [B, H, n_q].  `starts` int32 [B, n_q], with `causal`: the first key of each
    query's document, from which lists count.
    """
    batch, _, n_q, _ = q.shape
    found = q.new_full((batch, 1, n_q, taken), -1, dtype=torch.int32)
    if found.numel() and k.numel() and q.shape[1]:
        on_gpu = q.is_cuda and q.dtype != torch.float64
        (indexed_by_kernels if on_gpu else indexed_by_torch)(q, k, weights, starts, causal, q_offset, found)
    return found


def indexed_by_torch(
    q: Tensor, k: Tensor, weights: Tensor, starts: Tensor | None, causal: bool, q_offset: int, found: Tensor
) -> None:
    (batch, heads, n_q, _), n = q.shape, k.shape[1]
    exact = torch.promote_types(q.dtype, torch.float32)
    q, keys, weights = q.to(exact), k.to(exact)[:, None].mT, weights.to(exact)
    key, row = torch.arange(n, device=q.device), torch.arange(n_q, device=q.device)
    at_once = max(1, SLAB["cuda" if q.is_cuda else "cpu"] // (batch * heads * n))
    for begin in range(0, n_q, at_once):
        rows = slice(begin, begin + at_once)
        scores = ((q[:, :, rows] @ keys).relu_() * weights[:, :, rows, None]).sum(1)
        codes = ordered(scores + 0.0) << 32 | (_LAST_KEY - key)  # -0.0 is 0.0
        if causal:
            codes = codes.masked_fill(key > q_offset + row[rows, None], _NO_KEY)
        if starts is not None:
            codes = codes.masked_fill(key < starts[:, rows, None], _NO_KEY)
        best = codes.topk(min(found.shape[3], n)).values
        chosen = torch.where(best == _NO_KEY, n, _LAST_KEY - (best & _LAST_KEY)).sort(-1).values
        own = chosen if starts is None else chosen - starts[:, rows, None]
        found[:, 0, rows, : best.shape[2]] = torch.where(chosen == n, -1, own)


def indexed_by_kernels(
    q: Tensor, k: Tensor, weights: Tensor, starts: Tensor | None, causal: bool, q_offset: int, found: Tensor
) -> None:
    (batch, heads, n_q, size), n = q.shape, k.shape[1]
    q, k = (
        x if x.stride(-1) == 1 and not any(y % 8 for y in x.stride()[:-1]) else _from_multiples_of_8(x) for x in (q, k)
    )
    starts = None if starts is None else starts.contiguous()
    strides = (*(x // 8 for x in (*q.stride()[:3], *k.stride()[:2])), *weights.stride())
    block_m, block_n = (each * 2 // q.dtype.itemsize for each in (_INDEXED_ROWS, _INDEXED_KEYS))
    constants = {"CAUSAL": causal, "HEAD_DIM": size, "BLOCK_M": block_m, "BLOCK_N": block_n}
    constants |= {"BLOCK_D": max(16, 1 << (size - 1).bit_length()), "PRECISION": dot_precision(q.dtype)}
    at_once = min(n_q, max(1, SLAB["cuda"] // (batch * n)))
    scores = q.new_empty(batch, at_once, n, dtype=torch.float32)
    with current(q.device):
        for first in range(0, n_q, at_once):
            rows = min(at_once, n_q - first)
            last = min(n, q_offset + first + rows) if causal else n
            if last <= 0:
                continue
            sizes = heads, first, rows, n_q, n, q_offset
            grid = cdiv(last, block_n), cdiv(rows, block_m), batch
            launched(score_keys, grid, q, k, weights, starts, scores, *strides, *sizes, **constants, num_warps=4)
            sizes = first, rows, n_q, n, q_offset, found.shape[3]
            own = {"CAUSAL": causal, "BLOCK": _INDEXED_AT_ONCE, "num_warps": 8}
            launched(list_best_keys, (rows, batch), scores, starts, found, *sizes, **own)


def _from_multiples_of_8(x: Tensor) -> Tensor:
    """The same numbers, of which rows begin at multiples of 8."""
    size = x.shape[-1]
    return torch.nn.functional.pad(x, (0, -size % 8)).contiguous()[..., :size]
