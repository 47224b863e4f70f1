"""Blocks of keys that an operator chooses by its queries and keys, in slabs of scores: by kernels, or by torch.

A score pools q . k over the pairs of a block of queries and a block of keys.  Nothing here has an entry for each pair,
looks at a number of the device on the host, or depends on how slabs are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.chosen.choice_kernels import LOOKED_AT, list_best_blocks, mean_of_blocks
from sparsec.kernels.launches.compiling import launched
from sparsec.kernels.program.program import cdiv

SLAB = {"cuda": 1 << 25, "cpu": 1 << 21}  # scores that are held together
MOST_TAKEN = 256  # blocks of a list that a kernel takes
_NEVER, _LOW = -(1 << 63), (1 << 32) - 1
_ROWS_AT_ONCE = 32
# Blocks that a program sorts together, at most and for each that is taken; a warp that sorts alone waits for no other.
_BLOCKS_AT_ONCE, _BLOCKS_FOR_EACH, _BLOCKS_OF_WARP = 1024, 16, 256


class Eligible(NamedTuple):
    """A set of pairs: the blocks that hold one may be chosen."""

    keep: Callable[..., Any]  # (q, k, n) -> mask, on tensors
    ranges: Callable[..., list] | None = None  # (q_lo, q_hi, n) -> half-open ranges of keys; None: pairs are looked at


class Choice(NamedTuple):
    """The `listed` blocks of `size` keys that each block of `rows` queries scores best, of all with a pair of `among`.

    Blocks with a pair of `first` come before all others.  `shared`: query heads that share a key head add up their
    scores, and choose alike.  `percent`: of the best only as many as it takes for their share of the softmax of all
    scores, those of `first` always.
    """

    listed: int
    size: int
    rows: int
    score: str  # "mean", "max", "bound", "lse", or "given"
    among: Eligible
    first: Eligible | None = None
    shared: bool = False
    given: int = 0  # which of the real numbers of a call are the scores, where these are given
    percent: int = 100


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
    keys = _pooled(choice, k) if choice.score != "given" else ()
    at_once = max(1, SLAB["cuda" if q.is_cuda else "cpu"] // _numbers_of_list(choice, q, k))
    for begin in range(0, shape[2], at_once):
        end = min(begin + at_once, shape[2])
        if choice.score == "given":
            scores = _given_scores(choice, _exact(reals[choice.given][:, :, begin:end]), k.shape[1])
        else:
            rows = q[:, :, begin * choice.rows : min(end * choice.rows, n_q)]
            scores = _scores(choice, rows, keys, scale, n)
        first = q_offset + torch.arange(begin, end, device=q.device) * choice.rows
        last = torch.clamp(first + choice.rows, max=q_offset + n_q) - 1
        takes = best_by_kernel if q.is_cuda and choice.listed <= MOST_TAKEN and scores.dtype != torch.float64 else _best
        takes(choice, scores, first, last, n, found[:, :, begin:end])
        if choice.percent < 100:
            _cut_by_share(choice, scores, first, last, n, scale, found[:, :, begin:end])
    return found


def _numbers_of_list(choice: Choice, q: Tensor, k: Tensor) -> int:
    """The most numbers that are held for one block of queries, of all rows of the batch and heads."""
    (batch, heads, _, size), (kv_heads, n) = q.shape, k.shape[1:3]
    every, blocks = choice.rows * n, cdiv(n, choice.size)
    own = max(blocks, size)
    held = {"mean": own, "given": own, "bound": choice.rows * own, "max": every, "lse": every}
    alone = choice.shared and choice.score in ("mean", "given")  # else heads add up scores that are all there
    looked_at = any(some is not None and some.ranges is None for some in (choice.among, choice.first))
    return max(held[choice.score] * batch * (kv_heads if alone else heads), every if looked_at else 1)


# ---------------------------------------------------------------- the best


def _best(choice: Choice, scores: Tensor, first: Tensor, last: Tensor, n: int, found: Tensor) -> None:
    """Fills in `found` [B, G, lists, listed] by scores [B or 1, G, lists, blocks], for queries first..last."""
    numbers = torch.arange(scores.shape[3], device=scores.device)
    scores = scores + 0.0  # -0.0 is 0.0
    if choice.first is not None:
        scores = scores.masked_fill(_with_a_pair(choice.first, first, last, n, choice), float("inf"))
    codes = ordered(scores) << 32 | (_LOW - numbers)
    codes = codes.masked_fill(~_with_a_pair(choice.among, first, last, n, choice), _NEVER)
    best = codes.topk(min(choice.listed, len(numbers))).values
    found[..., : best.shape[3]] = torch.where(best == _NEVER, -1, _LOW - (best & _LOW))


def best_by_kernel(choice: Choice, scores: Tensor, first: Tensor, last: Tensor, n: int, found: Tensor) -> None:
    """As `_best`, by a program for each list; `found` is a range of lists of a contiguous tensor."""
    batch, groups, lists, listed = found.shape
    scores = scores.expand(batch, -1, -1, -1).contiguous()
    blocks, told, ranges = scores.shape[3], list[Tensor | None](), list[int]()
    for some in (choice.among, choice.first):
        spans = some and _block_spans(some, first, last, n, choice.size)
        if spans is None and some is not None:
            told.append(_with_a_pair(some, first, last, n, choice).view(torch.int8))
            ranges.append(LOOKED_AT)
        else:
            told.append(spans)
            ranges.append(0 if spans is None else len(spans))
    taken = 1 << max(listed - 1, 1).bit_length()
    most = min(_BLOCKS_AT_ONCE, max(_BLOCKS_OF_WARP, _BLOCKS_FOR_EACH * taken))
    at_once = max(taken, min(most, 1 << (blocks - 1).bit_length()))
    sizes = lists, found.stride(1) // listed, blocks, listed
    constants = {"RANGES": ranges[0], "FIRST_RANGES": ranges[1], "AT_ONCE": at_once, "TAKEN": taken}
    warps = min(4, max(1, at_once // _BLOCKS_OF_WARP))
    launched(list_best_blocks, (lists, batch * groups), scores, found, *told, *sizes, **constants, num_warps=warps)


def _cut_by_share(
    choice: Choice, scores: Tensor, first: Tensor, last: Tensor, n: int, scale: float, found: Tensor
) -> None:
    """Leaves of `found`, the best first, as many as it takes for `percent` of the softmax of scores."""
    may = _with_a_pair(choice.among, first, last, n, choice)
    scores = (scores if choice.score in ("lse", "given") else scores * scale).masked_fill(~may, float("-inf"))
    place = found.clamp(min=0).long()
    own = scores.expand(len(found), -1, -1, -1).gather(3, place)
    shares = (own - scores.logsumexp(3, keepdim=True)).double().exp().masked_fill(found < 0, 0.0)
    before = torch.nn.functional.pad(shares.cumsum(3)[..., :-1], (1, 0))
    gone = before >= choice.percent / 100
    if choice.first is not None:
        kept = _with_a_pair(choice.first, first, last, n, choice)
        gone &= ~kept.expand(*found.shape[:2], -1, -1).gather(3, place)
    found.masked_fill_(gone, -1)


def ordered(x: Tensor) -> Tensor:
    """int64 that rise as floats do, of 32 bits; float64 is rounded first."""
    bits = x.float().view(torch.int32)
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).long()


def _with_a_pair(some: Eligible, first: Tensor, last: Tensor, n: int, choice: Choice) -> Tensor:
    """Bool [blocks of queries, blocks of keys]: which hold a pair, for queries first..last."""
    blocks, device = cdiv(n, choice.size), first.device
    spans = _block_spans(some, first, last, n, choice.size)
    if spans is not None:
        numbers = torch.arange(blocks, device=device)
        held = torch.zeros((len(first), blocks), dtype=torch.bool, device=device)
        for span in spans:
            held |= (numbers >= span[:, :1]) & (numbers <= span[:, 1:])
        return held
    q = (first[:, None] + torch.arange(choice.rows, device=device))[:, :, None]
    k = torch.arange(blocks * choice.size, device=device)
    pairs = some.keep(q, k, n) & (q <= last[:, None, None]) & (k < n)
    return pairs.any(1).view(len(first), blocks, choice.size).any(2)


def _block_spans(some: Eligible, first: Tensor, last: Tensor, n: int, size: int) -> Tensor | None:
    """int32 [ranges, blocks of queries, 2]: the first and the last block of keys with a pair, of each range.

    None: pairs have to be looked at.
    """
    if some.ranges is None:
        return None
    spans = torch.zeros((0, len(first), 2), dtype=torch.int32, device=first.device)
    for ends in some.ranges(first, last, n):
        begin, stop = (_on(end, first).clamp(0, n) for end in ends)
        there = begin < stop
        span = torch.where(there, begin // size, 0), torch.where(there, (stop - 1) // size, -1)
        spans = torch.cat([spans, torch.stack(span, 1)[None].int()])
    return spans


def _on(end: Any, like: Tensor) -> Tensor:
    """An end of ranges, a tensor or one number for all."""
    return end.to(like.device).expand_as(like) if isinstance(end, Tensor) else torch.full_like(like, end)


# ---------------------------------------------------------------- scores


def _blocks(x: Tensor, size: int, fill: float) -> Tensor:
    """x [.., n, D] as [.., blocks, size, D], with `fill` behind the end."""
    return torch.nn.functional.pad(x, (0, 0, 0, -x.shape[-2] % size), value=fill).unflatten(-2, (-1, size))


def _exact(x: Tensor) -> Tensor:
    """In the type of scores."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _means(x: Tensor, size: int, group: int = 1) -> Tensor:
    """x [B, H, n, D] -> [B, H / group, blocks, D], the means of some heads added up."""
    if x.is_cuda and x.dtype != torch.float64:
        return means_by_kernel(x, size, group)
    n = x.shape[2]
    begins = torch.arange(0, n, size, device=x.device)
    means = _blocks(_exact(x), size, 0.0).sum(-2) / torch.clamp(n - begins, max=size)[:, None]
    return means.unflatten(1, (-1, group)).sum(2) if group > 1 else means


def means_by_kernel(x: Tensor, size: int, group: int) -> Tensor:
    if x.stride(3) != 1 or any(stride % 8 for stride in x.stride()[:3]):
        x = x.contiguous()
    batch, heads, n, dim = x.shape
    found = x.new_empty(batch, heads // group, cdiv(n, size), dim, dtype=torch.float32)
    rows = min(_ROWS_AT_ONCE, 1 << (size - 1).bit_length())
    constants = {"SIZE": size, "GROUP": group, "HEAD_DIM": dim, "BLOCKS": _ROWS_AT_ONCE // rows, "ROWS": rows}
    constants["BLOCK_D"] = max(16, 1 << (dim - 1).bit_length())
    strides, sizes = (stride // 8 for stride in x.stride()[:3]), (n, found.shape[2], found.shape[1])
    grid = cdiv(found.shape[2], constants["BLOCKS"]), batch * found.shape[1]
    launched(mean_of_blocks, grid, x, found, *strides, *sizes, **constants)
    return found


def _pooled(choice: Choice, k: Tensor) -> tuple[Tensor, ...]:
    """What scores need of keys [B, H_kv, n, D]."""
    if choice.score == "mean":
        return (_means(k, choice.size),)
    k = _exact(k)
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
    kv_heads = keys[0].shape[1]
    group = q.shape[1] // kv_heads
    if choice.score == "mean":
        q = _means(q, choice.rows, group if choice.shared else 1)
        found = q.reshape(q.shape[0], kv_heads, -1, q.shape[3]) @ keys[0].mT  # heads of a group side by side
        return found.view(*q.shape[:3], -1)
    q = _exact(q).unflatten(1, (kv_heads, group))  # [B, H_kv, group, rows, D]
    x = [each[:, :, None].mT for each in keys]
    if choice.score == "bound":
        pairs = q.clamp(min=0) @ x[1] + q.clamp(max=0) @ x[0]
        found = _blocks(pairs, choice.rows, float("-inf")).amax(-2)
    else:
        pairs = q @ x[0] if choice.score == "max" else q @ x[0] * scale
        pairs = torch.nn.functional.pad(pairs, (0, -n % choice.size), value=float("-inf"))
        pairs = _blocks(pairs, choice.rows, float("-inf")).unflatten(-1, (-1, choice.size))
        found = pairs.amax((-3, -1)) if choice.score == "max" else pairs.logsumexp((-3, -1))
    return (found.sum(2, keepdim=True) if choice.shared else found).flatten(1, 2)
