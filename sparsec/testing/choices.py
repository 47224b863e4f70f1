"""What `top_blocks` has to choose, pair by pair: every score in float64, every candidate looked at.

All that an operator chooses is compared with what it has to; groups are those of `sparsec.testing.grouping`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from sparsec.ir import reference
from sparsec.ir.chosen import Choice, Hashing, Routing
from sparsec.ir.nodes import FALSE, Pattern
from sparsec.testing.grouping import assert_hashed, assert_routed

_NEVER, _ALWAYS = -np.inf, np.inf
_SHARE_ERROR = 1e-4  # of softmax in float32, far above what it is


def block_scores(
    choice: Choice, q: np.ndarray, k: np.ndarray, scale: float, q_offset: int, given: np.ndarray | None = None
) -> np.ndarray:
    """float64 [B, G, blocks of queries, blocks of keys]: -inf for blocks that may not be chosen, inf for those that
    come before all others.  q [B, H, n_q, D], k [B, H_kv, n, D]; scores that are `given` have the shape of the result,
    or all query heads where some of them choose alike.
    """
    (batch, heads, n_q, _), (kv_heads, n) = q.shape, k.shape[1:3]
    group = heads // kv_heads
    among, first = (reference.mask(some, n_q, n, q_offset) for some in (choice.among, choice.keep))
    pairs = np.einsum("bhqd,bhkd->bhqk", q.astype(np.float64), k.astype(np.float64).repeat(group, 1))
    rows, blocks = -(-n_q // choice.rows), -(-n // choice.size)
    found = np.full((batch, heads, rows, blocks), _NEVER) if given is None else given.astype(np.float64)
    for row in range(rows if given is None else 0):
        queries = slice(row * choice.rows, (row + 1) * choice.rows)
        for block in range(blocks):
            keys = slice(block * choice.size, (block + 1) * choice.size)
            if choice.score == "bound":
                found[:, :, row, block] = _bound(q[:, :, queries], k[:, :, keys].repeat(group, 1))
            else:
                found[:, :, row, block] = _pooled(choice.score, pairs[:, :, queries, keys], scale)
    if choice.shared and found.shape[1] > kv_heads:
        found = found.reshape(batch, kv_heads, group, rows, blocks).sum(2)
    for row in range(rows):
        queries = slice(row * choice.rows, (row + 1) * choice.rows)
        for block in range(blocks):
            keys = slice(block * choice.size, (block + 1) * choice.size)
            if not among[queries, keys].any():
                found[:, :, row, block] = _NEVER
            elif first[queries, keys].any():
                found[:, :, row, block] = _ALWAYS
    return found


def index_keys(
    q: np.ndarray, k: np.ndarray, weights: np.ndarray, t: int, q_offset: int, causal: bool = True
) -> list[list[list[int]]]:
    """The keys that an indexer chooses (DeepSeek sparse attention), of each row of the batch and query, ascending.

    q [B, H_I, n_q, D_I], k [B, n, D_I], weights [B, H_I, n_q]; the first query stands at `q_offset`.
    """
    products = np.einsum("bhqd,bkd->bhqk", q.astype(np.float64), k.astype(np.float64))
    scores = (np.maximum(products, 0) * weights.astype(np.float64)[..., None]).sum(1)
    found = []
    for rows in scores:
        ends = (min(k.shape[1], max(0, q_offset + row + 1)) if causal else k.shape[1] for row in range(len(rows)))
        found.append(
            [sorted(np.argsort(-row[:end], kind="stable")[:t].tolist()) for row, end in zip(rows, ends, strict=True)]
        )
    return found


def _pooled(score: str, pairs: np.ndarray, scale: float) -> np.ndarray:
    """[B, H] of pairs [B, H, queries, keys]."""
    if score == "lse":
        return np.log(np.exp(pairs * scale).sum((2, 3)))
    return pairs.mean((2, 3)) if score == "mean" else pairs.max((2, 3))


def _bound(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Quest (Tang et al., 2024, arXiv:2406.10774): in each channel the larger of q * smallest and q * largest key."""
    low, high = k.min(2, keepdims=True).astype(np.float64), k.max(2, keepdims=True).astype(np.float64)
    return np.maximum(q * low, q * high).sum(3).max(2)


def best_blocks(choice: Choice, scores: np.ndarray) -> np.ndarray:
    """int64 [B, G, blocks of queries, count]: the best of `block_scores`, ties to the lowest, -1 where none is left."""
    order = np.argsort(-scores, axis=3, kind="stable")[..., : choice.count]
    order = np.where(np.take_along_axis(scores, order, 3) == _NEVER, -1, order)
    return np.pad(order, [(0, 0)] * 3 + [(0, choice.count - order.shape[3])], constant_values=-1)


def assert_shares(choice: Choice, lists: np.ndarray, scores: np.ndarray, plain: np.ndarray) -> None:
    """That lists, the best first, end where their share of the softmax of `plain` reaches that of a choice, and not
    before the last block that comes before all others; as `block_scores`, `plain` without those that do.
    """
    wanted = choice.percent / 100
    for place in np.ndindex(lists.shape[:3]):
        chosen, own = lists[place][lists[place] >= 0], scores[place]
        there, kept = own > _NEVER, own[chosen] == _ALWAYS
        if not there.any():
            continue  # then no list is a choice
        weights = np.exp(plain[place] - plain[place][there].max(), where=there, out=np.zeros_like(own))
        reached = np.cumsum(weights[chosen]) / weights.sum()
        assert all(kept[1:] | (reached[:-1] < wanted + _SHARE_ERROR)), "a block too many is chosen"
        every = len(chosen) == min(there.sum(), choice.count)
        enough = len(chosen) and reached[-1] >= wanted - _SHARE_ERROR and (own == _ALWAYS).sum() <= len(chosen)
        assert every or enough, "a block is missing"


def worst_mistake(lists: np.ndarray, scores: np.ndarray, fewer: bool = False) -> float:
    """By how much a block that was left out is better than one that was chosen; inf where lists are no choice at all.

    Rounding alone explains little; 0 for the best blocks themselves.  `fewer`: lists may be shorter than they could be.
    """
    worst = 0.0
    for place in np.ndindex(lists.shape[:3]):
        chosen, own = lists[place][lists[place] >= 0], scores[place]
        candidates = np.flatnonzero(own > _NEVER)
        wanted = len(chosen) if fewer and len(chosen) else min(lists.shape[3], len(candidates))
        if len(chosen) != wanted or len(set(chosen)) < wanted or not set(chosen) <= set(candidates):
            return _ALWAYS
        left = np.setdiff1d(candidates, chosen)
        if len(left) and len(chosen) and own[left].max() > own[chosen].min():
            worst = max(worst, own[left].max() - own[chosen].min())
    return worst


def checked_choices(
    choices: Callable[..., dict[str, Tensor]],
    pattern: Pattern,
    q: Tensor,
    k: Tensor,
    scale: float,
    q_offset: int,
    inputs: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """What an operator chooses, by the names of its inputs.  AssertionError where rounding does not explain it.

    `inputs`: all that the call gives, of which scores of blocks and centroids are taken.
    """
    reals = {each.name: inputs[each.name] for each in pattern.choice_inputs}
    made = choices(q, k, scale=scale, q_offset=q_offset, **reals)
    found = {name: x.cpu().numpy() for name, x in made.items()}
    own_q, own_k = (x.detach().double().cpu().numpy() for x in (q, k))
    own_q = own_q * np.sign(scale)  # as the operator, without a rounding
    numbers = {name: x.detach().double().cpu().numpy() for name, x in reals.items()}
    for own in (each.choice for each in pattern.inputs if each.choice):
        if isinstance(own, Hashing):
            assert_hashed(own, found[own.name], own_q, own_k, q_offset)
            continue
        if isinstance(own, Routing):
            assert_routed(own, found[own.name], own_q, own_k, numbers[own.centroids])
            continue
        given = numbers[own.score] if own.given else None
        scores = block_scores(own, own_q, own_k, abs(scale), q_offset, given)
        if own.percent < 100:
            plain = block_scores(replace(own, keep=FALSE), own_q, own_k, abs(scale), q_offset, given)
            assert_shares(
                own, found[own.name], scores, plain if own.score == "lse" or own.given else plain * abs(scale)
            )
        fewer = own.percent < 100
        if given is not None:
            error = np.finfo(np.float32).eps * float(np.abs(given).max(initial=0)) * q.shape[1]
            assert worst_mistake(found[own.name], scores, fewer) <= error, f"{own.name} leaves a better block out"
            continue
        terms = own_q.shape[3] * np.abs(own_q).max(initial=0) * np.abs(own_k).max(initial=0) * q.shape[1] // k.shape[1]
        mistake = worst_mistake(found[own.name], scores, fewer)
        assert mistake <= terms * torch.finfo(torch.float32).eps, f"{own.name} leaves a better block out, by {mistake}"
    return found
