"""Blocks of keys that an operator chooses by its queries and keys, in slabs of scores, by torch's operations.

A score pools q . k over the pairs of a block of queries and a block of keys.  Nothing here has an entry for each pair,
looks at a number of the device on the host, or depends on how slabs are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.program import cdiv

SLAB = {"cuda": 1 << 25, "cpu": 1 << 21}  # scores that are held together
_NEVER, _LOW = -(1 << 63), (1 << 32) - 1


class Eligible(NamedTuple):
    """A set of pairs: the blocks that hold one may be chosen."""

    keep: Callable[..., Any]  # (q, k, n) -> mask, on tensors
    ranges: Callable[..., list] | None = None  # (q_lo, q_hi, n) -> half-open ranges of keys; None: pairs are looked at


class Choice(NamedTuple):
    """The `listed` blocks of `size` keys that each block of `rows` queries scores best, of all with a pair of `among`.

    Blocks with a pair of `first` come before all others.  `shared`: query heads that share a key head add up their
    scores, and choose alike.
    """

    listed: int
    size: int
    rows: int
    score: str  # "mean", "max", "bound", "lse", or "given"
    among: Eligible
    first: Eligible | None = None
    shared: bool = False
    given: int = 0  # which of the real numbers of a call are the scores, where these are given


def chosen_shape(choice: Choice, q: Tensor, k: Tensor, reals: Sequence[Tensor]) -> tuple[int, int, int, int]:
    """Of the lists of a choice."""
    heads = reals[choice.given].shape[1] if choice.score == "given" else q.shape[1]
    heads = min(heads, k.shape[1]) if choice.shared else heads
    return q.shape[0], heads, cdiv(q.shape[2], choice.rows), choice.listed


def choose(choice: Choice, q: Tensor, k: Tensor, reals: Sequence[Tensor], scale: float, q_offset: int) -> Tensor:
    """int32 [B, G, blocks of queries, listed]: numbers of blocks, the best first, ties to the lowest; -1 for none.

    q [B, H, n_q, D], k [B, H_kv, n, D]; `reals`: scores that are given [B or 1, G, blocks of queries, blocks of keys];
    `scale` is positive; `q_offset` is the position of the first query.
    """
    shape = chosen_shape(choice, q, k, reals)
    n_q, n, blocks = q.shape[2], k.shape[2], cdiv(k.shape[2], choice.size)
    found = q.new_full(shape, -1, dtype=torch.int32)
    if found.numel() == 0 or blocks == 0:
        return found
    exact = torch.promote_types(q.dtype, torch.float32)
    keys = _pooled(choice, k.to(exact)) if choice.score != "given" else ()
    numbers = torch.arange(blocks, device=q.device)
    at_once = max(1, SLAB["cuda" if q.is_cuda else "cpu"] // _scores_of_list(choice, q.shape[0] * q.shape[1], n))
    for begin in range(0, shape[2], at_once):
        end = min(begin + at_once, shape[2])
        rows = q[:, :, begin * choice.rows : min(end * choice.rows, n_q)].to(exact)
        if choice.score == "given":
            scores = _given_scores(choice, reals[choice.given][:, :, begin:end].to(exact), k.shape[1])
        else:
            scores = _scores(choice, rows, keys, scale, n)
        scores = scores + 0.0  # -0.0 is 0.0
        first = q_offset + torch.arange(begin, end, device=q.device) * choice.rows
        last = torch.clamp(first + choice.rows, max=q_offset + n_q) - 1
        if choice.first is not None:
            scores = scores.masked_fill(_with_a_pair(choice.first, first, last, n, choice), float("inf"))
        codes = ordered(scores) << 32 | (_LOW - numbers)
        codes = codes.masked_fill(~_with_a_pair(choice.among, first, last, n, choice), _NEVER)
        best = codes.topk(min(choice.listed, blocks)).values
        found[:, :, begin:end, : best.shape[3]] = torch.where(best == _NEVER, -1, _LOW - (best & _LOW))
    return found


def _scores_of_list(choice: Choice, heads: int, n: int) -> int:
    """The most numbers that are held for one block of queries, of all rows of the batch and heads."""
    every = choice.rows * n
    blocks = cdiv(n, choice.size)
    held = {"mean": blocks, "given": blocks, "bound": choice.rows * blocks, "max": every, "lse": every}
    looked_at = any(some is not None and some.ranges is None for some in (choice.among, choice.first))
    return max(held[choice.score] * heads, every if looked_at else 1)


def ordered(x: Tensor) -> Tensor:
    """int64 that rise as floats do, of 32 bits; float64 is rounded first."""
    bits = x.float().view(torch.int32)
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).long()


def _with_a_pair(some: Eligible, first: Tensor, last: Tensor, n: int, choice: Choice) -> Tensor:
    """Bool [blocks of queries, blocks of keys]: which hold a pair, for queries first..last."""
    blocks, device = cdiv(n, choice.size), first.device
    numbers = torch.arange(blocks, device=device)
    if some.ranges is not None:
        held = torch.zeros((len(first), blocks), dtype=torch.bool, device=device)
        for ends in some.ranges(first, last, n):
            begin, stop = (_on(end, first).clamp(0, n)[:, None] for end in ends)
            held |= (begin < stop) & (numbers >= begin // choice.size) & (numbers <= (stop - 1) // choice.size)
        return held
    q = (first[:, None] + torch.arange(choice.rows, device=device))[:, :, None]
    k = torch.arange(blocks * choice.size, device=device)
    pairs = some.keep(q, k, n) & (q <= last[:, None, None]) & (k < n)
    return pairs.any(1).view(len(first), blocks, choice.size).any(2)


def _on(end: Any, like: Tensor) -> Tensor:
    """An end of ranges, a tensor or one number for all."""
    return end.to(like.device).expand_as(like) if isinstance(end, Tensor) else torch.full_like(like, end)


# ---------------------------------------------------------------- scores


def _blocks(x: Tensor, size: int, fill: float) -> Tensor:
    """x [.., n, D] as [.., blocks, size, D], with `fill` behind the end."""
    return torch.nn.functional.pad(x, (0, 0, 0, -x.shape[-2] % size), value=fill).unflatten(-2, (-1, size))


def _mean(x: Tensor, size: int) -> Tensor:
    """x [.., n, D] -> [.., blocks, D]."""
    n = x.shape[-2]
    begins = torch.arange(0, n, size, device=x.device)
    return _blocks(x, size, 0.0).sum(-2) / torch.clamp(n - begins, max=size)[:, None]


def _pooled(choice: Choice, k: Tensor) -> tuple[Tensor, ...]:
    """What scores need of keys [B, H_kv, n, D]."""
    if choice.score == "mean":
        return (_mean(k, choice.size),)
    if choice.score == "bound":
        low, high = _blocks(k, choice.size, float("inf")).amin(-2), _blocks(k, choice.size, float("-inf")).amax(-2)
        return low, high
    return (k,)


def _given_scores(choice: Choice, scores: Tensor, kv_heads: int) -> Tensor:
    """[B or 1, G, ..], those of query heads that choose alike added up."""
    if choice.shared and scores.shape[1] > kv_heads:
        return scores.unflatten(1, (kv_heads, -1)).sum(2)
    return scores


def _scores(choice: Choice, q: Tensor, keys: tuple[Tensor, ...], scale: float, n: int) -> Tensor:
    """[B, G, blocks of queries, blocks of keys], of some rows of q [B, H, rows, D] from the begin of a block on."""
    q = q.unflatten(1, (keys[0].shape[1], -1))  # [B, H_kv, group, rows, D]
    x = [each[:, :, None].mT for each in keys]
    if choice.score == "mean":
        q = _mean(q, choice.rows)
        return ((q.sum(2, keepdim=True) if choice.shared else q) @ x[0]).flatten(1, 2)
    if choice.score == "bound":
        pairs = q.clamp(min=0) @ x[1] + q.clamp(max=0) @ x[0]
        found = _blocks(pairs, choice.rows, float("-inf")).amax(-2)
    else:
        pairs = q @ x[0] if choice.score == "max" else q @ x[0] * scale
        pairs = torch.nn.functional.pad(pairs, (0, -n % choice.size), value=float("-inf"))
        pairs = _blocks(pairs, choice.rows, float("-inf")).unflatten(-1, (-1, choice.size))
        found = pairs.amax((-3, -1)) if choice.score == "max" else pairs.logsumexp((-3, -1))
    return (found.sum(2, keepdim=True) if choice.shared else found).flatten(1, 2)
