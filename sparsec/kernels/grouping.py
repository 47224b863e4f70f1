"""Groups of queries and keys that an operator makes by content, as labels: by hash (Reformer), and by cluster (Routing
Transformer).

Labels are int32 [B, H, lines, n_q + n], those of the queries of a call and then those of its keys.  Like choices of
blocks they are made in slabs, by torch's operations, without a look at a number of the device on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.choose import SLAB, ordered
from sparsec.kernels.program import cdiv
from sparsec.kernels.tables import random_bits

_CLUSTERS_OF_LINE = 32  # clusters that share a line of labels, a bit for each
_DRAWN_DIGITS, _DRAWN_WORDS = 8, 2  # of four bits, of which sums are drawn instead of normal numbers
_LAST_TOKEN = (1 << 32) - 1


class Hashing(NamedTuple):
    """Keys sorted by hash in each of some rounds, and cut into chunks; a query is in the chunk where it would stand."""

    buckets: int
    rounds: int
    chunk: int
    seed: int


class Routing(NamedTuple):
    """Clusters of the `taken` queries, and the `taken` keys, with the largest products with a centroid."""

    taken: int
    given: int  # which of the real numbers of a call are the centroids


def grouped_shape(own: Hashing | Routing, q: Tensor, k: Tensor, reals: Sequence[Tensor]) -> tuple[int, ...]:
    """Of labels."""
    lines = own.rounds if isinstance(own, Hashing) else cdiv(reals[own.given].shape[2], _CLUSTERS_OF_LINE)
    return q.shape[0], q.shape[1], lines, q.shape[2] + k.shape[2]


# ---------------------------------------------------------------- by hash


def hashed_labels(own: Hashing, q: Tensor, k: Tensor, q_offset: int) -> Tensor:
    """Numbers of chunks.  A hash is the first of the largest of x R and -x R, R being `rotations`."""
    (heads, n_q, size), (kv_heads, n) = q.shape[1:], k.shape[1:3]
    exact = torch.promote_types(q.dtype, torch.float32)
    turned = rotations(own, kv_heads, size, q.device).to(exact)
    keys = _by_hash(_hashes(own, k.to(exact), turned), torch.arange(n, device=q.device))
    queries = _hashes(own, q.to(exact).reshape(len(q), kv_heads, -1, size), turned)
    position = (q_offset + torch.arange(n_q, device=q.device)).clamp(min=0).repeat(heads // kv_heads)
    both = torch.cat([_by_hash(queries, position), keys], -1)
    place = torch.searchsorted(keys.sort(-1).values, both, right=True) - 1
    chunk = (place.clamp(min=0) // own.chunk).int()
    group = heads // kv_heads
    of_queries = chunk[..., :-n].unflatten(-1, (group, n_q)).transpose(2, 3)  # [B, H_kv, group, rounds, n_q]
    of_keys = chunk[:, :, None, :, -n:].expand(*of_queries.shape[:4], n)
    return torch.cat([of_queries, of_keys], -1).flatten(1, 2)


def rotations(own: Hashing, kv_heads: int, size: int, device: torch.device) -> Tensor:
    """int64 [H_kv, D, rounds * buckets / 2]: sums of 16 digits from -7.5 to 7.5, nearly normal and the same everywhere.

    From the counter-based generator of tables, by key head, round and channel, and then by direction.
    """
    row = torch.arange(kv_heads * own.rounds * size, device=device)[:, None]
    counter = torch.arange(own.buckets // 2, device=device) * _DRAWN_WORDS
    total = torch.full_like(row, -(15 * _DRAWN_DIGITS * _DRAWN_WORDS) // 2)
    for word in range(_DRAWN_WORDS):
        drawn = random_bits(own.seed, row, counter + word)
        for digit in range(_DRAWN_DIGITS):
            total = total + (drawn >> (4 * digit) & 15)
    return total.view(kv_heads, own.rounds, size, -1).transpose(1, 2).flatten(2)


def _hashes(own: Hashing, x: Tensor, turned: Tensor) -> Tensor:
    """int64 [B, H_kv, rounds, rows] of x [B, H_kv, rows, D]."""
    at_once = max(1, SLAB["cuda" if x.is_cuda else "cpu"] // (x.shape[0] * x.shape[1] * own.rounds * own.buckets))
    found = x.new_empty(*x.shape[:3], own.rounds, dtype=torch.int64)
    for begin in range(0, x.shape[2], at_once):
        products = (x[:, :, begin : begin + at_once] @ turned).unflatten(-1, (own.rounds, -1))
        found[:, :, begin : begin + at_once] = torch.cat([products, -products], -1).argmax(-1)
    return found.transpose(2, 3).contiguous()


def _by_hash(hashes: Tensor, position: Tensor) -> Tensor:
    """Numbers that rise by hash, then by position."""
    return hashes << 32 | position


# ---------------------------------------------------------------- by cluster


def routed_labels(own: Routing, q: Tensor, k: Tensor, centroids: Tensor) -> Tensor:
    """Bits, one for each cluster.  centroids [B or 1, G, clusters, D], G being 1, the key heads or the query heads."""
    exact = torch.promote_types(q.dtype, torch.float32)
    centroids = centroids.to(exact)
    lines = []
    for x in (q, k):
        heads = max(x.shape[1], centroids.shape[1])
        x, mu = _over_heads(x.to(exact), heads), _over_heads(centroids, heads)
        lines.append(_over_heads(_members(own, x, mu), q.shape[1]))
    return torch.cat(lines, -1)


def _over_heads(x: Tensor, heads: int) -> Tensor:
    """x [B, G, ..] for `heads`, which share its lines evenly."""
    if x.shape[1] == heads:
        return x
    return x[:, :, None].expand(-1, -1, heads // x.shape[1], *x.shape[2:]).flatten(1, 2)


def _members(own: Routing, x: Tensor, centroids: Tensor) -> Tensor:
    """int32 [B, heads, lines, tokens]: bits of the clusters that a token x [B, heads, tokens, D] is one of."""
    (batch, heads, tokens), clusters = x.shape[:3], centroids.shape[2]
    found = torch.zeros(batch, heads, cdiv(clusters, _CLUSTERS_OF_LINE), tokens, dtype=torch.int64, device=x.device)
    at_once = min(_CLUSTERS_OF_LINE, max(1, SLAB["cuda" if x.is_cuda else "cpu"] // max(1, batch * heads * tokens)))
    number = torch.arange(tokens, device=x.device)
    for line in range(0, clusters, _CLUSTERS_OF_LINE):
        for first in range(line, min(line + _CLUSTERS_OF_LINE, clusters), at_once):
            some = centroids[:, :, first : min(first + at_once, line + _CLUSTERS_OF_LINE)]
            codes = ordered(some @ x.mT + 0.0) << 32 | (_LAST_TOKEN - number)  # -0.0 is 0.0
            best = codes.topk(min(own.taken, tokens)).values
            place = _LAST_TOKEN - (best & _LAST_TOKEN)
            member = torch.zeros_like(codes).scatter_(-1, place, 1)
            shift = first - line + torch.arange(some.shape[2], device=x.device)
            found[:, :, line // _CLUSTERS_OF_LINE] |= (member << shift[:, None]).sum(2)
    return found.to(torch.int32)
