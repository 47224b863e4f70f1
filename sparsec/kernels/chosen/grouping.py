"""Groups of queries and keys that an operator makes by content, as labels: by hash (Reformer), and by cluster (Routing
Transformer).

Labels are int32 [B, H, lines, n_q + n], those of the queries of a call and then those of its keys.  Like choices of
blocks they are made in slabs, by torch's operations, without a look at a number of the device on the host.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.chosen.choose import SLAB, ordered
from sparsec.kernels.chosen.cluster_kernel import mark_members
from sparsec.kernels.chosen.hash_kernel import hash_tokens
from sparsec.kernels.launches.compiling import launched
from sparsec.kernels.lists.tables import random_bits
from sparsec.kernels.program.program import cdiv

_CLUSTERS_OF_LINE = 32  # clusters that share a line of labels, a bit for each
_HASHED_AT_ONCE, _SCORED_AT_ONCE = 64, 4096  # tokens; of long rows, or in float32, half as many are hashed
_DIRECTIONS_AT_ONCE, _HASH_WARPS = 32, 4
_CANDIDATES = 2048  # tokens that may be members of a cluster, at most half of whom are taken
_CANDIDATE_ROWS = 2  # times as many tokens are looked at together
_MARKING = {"num_warps": 8, "maxnreg": 80}  # three programs side by side on a processor
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
    """Numbers of chunks.  A hash is that of the largest of x R and -x R, R being `rotations`, as `hash_tokens` says."""
    (batch, heads, n_q, size), (kv_heads, n) = q.shape, k.shape[1:3]
    group, turned = heads // kv_heads, _known_rotations(own, kv_heads, size, q.device)
    sides = q.reshape(batch, kv_heads, group * n_q, size), k
    hashes = torch.cat([_hashes(own, x, turned) for x in sides], -1).flatten(0, 2)  # [lines, tokens]
    by_position = _by_position(n_q, n, q_offset, group, q.device)
    lines, tokens = hashes.shape
    # One sort of all lines: of each by itself takes longer.
    kind = torch.int32 if lines * own.buckets < 1 << 31 else torch.int64
    line = torch.arange(lines, device=q.device, dtype=kind)[:, None]
    codes = hashes.index_select(1, by_position) + line * own.buckets
    token = by_position[codes.flatten().sort(stable=True).indices % tokens]
    keys = (token >= group * n_q).cumsum(0, dtype=torch.int32).view(lines, tokens) - line.int() * n
    chunk = torch.empty_like(keys).scatter_(1, token.view(lines, tokens), (keys - 1).clamp_(min=0) // own.chunk)
    chunk = chunk.view(batch, kv_heads, own.rounds, tokens)
    of_queries = chunk[..., :-n].unflatten(-1, (group, n_q)).transpose(2, 3)  # [B, H_kv, group, rounds, n_q]
    of_keys = chunk[:, :, None, :, -n:].expand(*of_queries.shape[:4], n)
    return torch.cat([of_queries, of_keys], -1).flatten(1, 2)


def _by_position(n_q: int, n: int, q_offset: int, group: int, device: torch.device) -> Tensor:
    """int64: the queries of `group` heads, then keys, from `group * n_q` on, by position; a key before its queries."""
    query, key = torch.arange(n_q, device=device), torch.arange(n, device=device)
    keys_before = (q_offset + query).clamp(min=0, max=max(n - 1, 0)) + 1
    of_queries = keys_before + group * query + torch.arange(group, device=device)[:, None]
    of_keys = key + group * torch.where(key > 0, (key - q_offset).clamp(0, n_q), 0)
    place = torch.cat([of_queries.flatten(), of_keys])
    return torch.empty_like(place).scatter_(0, place, torch.arange(len(place), device=device))


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


@functools.lru_cache(maxsize=16)
def _kept_rotations(own: Hashing, kv_heads: int, size: int, device: torch.device) -> Tensor:
    return rotations(own, kv_heads, size, device)


def _known_rotations(own: Hashing, kv_heads: int, size: int, device: torch.device) -> Tensor:
    """The rotations, kept for the next call; those that belong to a graph under capture are not."""
    captured = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    return (rotations if captured else _kept_rotations)(own, kv_heads, size, device)


def _hashes(own: Hashing, x: Tensor, turned: Tensor) -> Tensor:
    """int32 [B, H_kv, rounds, rows] of x [B, H_kv, rows, D]."""
    if x.is_cuda and x.dtype != torch.float64:
        return _hashes_on_gpu(own, x.contiguous(), turned)
    exact = torch.promote_types(x.dtype, torch.float32)
    x, turned = x.to(exact), turned.to(exact)
    at_once = max(1, SLAB["cpu"] // (x.shape[0] * x.shape[1] * own.rounds * own.buckets))
    found = x.new_empty(*x.shape[:3], own.rounds, dtype=torch.int32)
    for begin in range(0, x.shape[2], at_once):
        products = (x[:, :, begin : begin + at_once] @ turned).unflatten(-1, (own.rounds, -1))
        best = products.abs().argmax(-1, keepdim=True)
        opposite = products.gather(-1, best) < 0
        found[:, :, begin : begin + at_once] = (best + opposite * (own.buckets // 2)).squeeze(-1)
    return found.transpose(2, 3).contiguous()


def _hashes_on_gpu(own: Hashing, x: Tensor, turned: Tensor) -> Tensor:
    """Products of 16-bit numbers are exact, and so are directions in these: integers below 2**8."""
    (batch, heads, rows, size), half = x.shape, own.buckets // 2
    found = x.new_empty(batch, heads, own.rounds, rows, dtype=torch.int32)
    columns, block_d = (max(16, 1 << (length - 1).bit_length()) for length in (min(half, _DIRECTIONS_AT_ONCE), size))
    blocks = cdiv(half, columns)
    behind = (0, blocks * columns - half, 0, 0, 0, block_d - size)
    turned = torch.nn.functional.pad(turned.to(x.dtype).unflatten(2, (own.rounds, half)), behind).contiguous()
    block = _HASHED_AT_ONCE if size * x.dtype.itemsize <= 256 else _HASHED_AT_ONCE // 2
    constants = {"HEAD_DIM": size, "BLOCK": block, "COLUMNS": columns, "BLOCK_D": block_d, "PRECISION": "ieee"}
    grid, sizes = (cdiv(rows, block), batch * heads), (rows, own.rounds, half, blocks, heads)
    launched(hash_tokens, grid, x, turned, found, *sizes, **constants, num_warps=_HASH_WARPS)
    return found


# ---------------------------------------------------------------- by cluster


def routed_labels(own: Routing, q: Tensor, k: Tensor, centroids: Tensor) -> Tensor:
    """Bits, one for each cluster.  centroids [B or 1, G, clusters, D], G being 1, the key heads or the query heads."""
    lines = []
    for x in (q, k):
        heads = max(x.shape[1], centroids.shape[1])
        x, mu = _over_heads(x, heads), _over_heads(centroids, heads)
        lines.append(_over_heads(_members(own, x, mu), q.shape[1]))
    return torch.cat(lines, -1)


def _over_heads(x: Tensor, heads: int) -> Tensor:
    """x [B, G, ..] for `heads`, which share its lines evenly."""
    if x.shape[1] == heads:
        return x
    return x[:, :, None].expand(-1, -1, heads // x.shape[1], *x.shape[2:]).flatten(1, 2)


def _products(centroids: Tensor, x: Tensor) -> Tensor:
    """[B, heads, clusters, tokens] of float32 at least; of 16-bit numbers products are exact."""
    if x.dtype.itemsize > 2:
        return centroids @ x.mT
    centroids = centroids.expand(len(x), -1, -1, -1).flatten(0, 1)
    return torch.bmm(centroids, x.flatten(0, 1).mT, out_dtype=torch.float32).unflatten(0, x.shape[:2])


def _members(own: Routing, x: Tensor, centroids: Tensor) -> Tensor:
    """int32 [B, heads, lines, tokens]: bits of the clusters that a token x [B, heads, tokens, D] is one of."""
    if not (x.is_cuda and x.dtype == centroids.dtype):
        exact = torch.promote_types(x.dtype, torch.float32)
        x, centroids = x.to(exact), centroids.to(exact)
    if x.is_cuda:
        return _members_on_gpu(own, x, centroids)
    (batch, heads, tokens), clusters = x.shape[:3], centroids.shape[2]
    found = torch.zeros(batch, heads, cdiv(clusters, _CLUSTERS_OF_LINE), tokens, dtype=torch.int64, device=x.device)
    at_once = min(_CLUSTERS_OF_LINE, max(1, SLAB["cpu"] // max(1, batch * heads * tokens)))
    number = torch.arange(tokens, device=x.device)
    for line in range(0, clusters, _CLUSTERS_OF_LINE):
        for first in range(line, min(line + _CLUSTERS_OF_LINE, clusters), at_once):
            some = centroids[:, :, first : min(first + at_once, line + _CLUSTERS_OF_LINE)]
            codes = ordered(_products(some, x) + 0.0) << 32 | (_LAST_TOKEN - number)  # -0.0 is 0.0
            best = codes.topk(min(own.taken, tokens)).values
            place = _LAST_TOKEN - (best & _LAST_TOKEN)
            member = torch.zeros_like(codes).scatter_(-1, place, 1)
            shift = first - line + torch.arange(some.shape[2], device=x.device)
            found[:, :, line // _CLUSTERS_OF_LINE] |= (member << shift[:, None]).sum(2)
    return found.to(torch.int32)


def _members_on_gpu(own: Routing, x: Tensor, centroids: Tensor) -> Tensor:
    (batch, heads, tokens), clusters = x.shape[:3], centroids.shape[2]
    lines = cdiv(clusters, _CLUSTERS_OF_LINE)
    found = torch.zeros(batch, heads, lines, tokens, dtype=torch.int32, device=x.device)
    at_once = max(SLAB["cuda"] // max(1, batch * heads * tokens), x.shape[3] // 2)  # or what takes the room of 16-bit x
    few = 2 * own.taken <= _CANDIDATES <= tokens // 4
    candidates = x.new_empty(batch * heads, min(at_once, clusters), 2, _CANDIDATES, dtype=torch.int32) if few else None
    constants = {"BLOCK": _SCORED_AT_ONCE, "ROOM": _CANDIDATES, "ROWS": _CANDIDATE_ROWS, **_MARKING}
    for first in range(0, clusters, at_once):
        scores = _products(centroids[:, :, first : first + at_once], x).contiguous()
        sizes = tokens, scores.shape[2], first, min(own.taken, tokens), lines
        launched(mark_members, (scores.shape[2], batch * heads), scores, found, candidates, *sizes, **constants)
    return found
