"""What `lsh` and `routed` have to make of queries and keys, as their papers say: token by token, in float64."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from sparsec.ir.chosen import Hashing, Routing
from sparsec.ir.random import bits

_EXACT = 2**24  # integers below it are exact in float32, and so are sums of them


def rotations(own: Hashing, head: int, number: int, size: int) -> np.ndarray:
    """int64 [D, buckets / 2]: what a key head hashes with in a round."""
    row = (head * own.rounds + number) * size + np.arange(size)[:, None]
    counter = 2 * np.arange(own.buckets // 2)
    words = np.stack([bits(own.seed, row, counter + word) for word in (0, 1)])
    return np.stack([words >> shift & 15 for shift in range(0, 32, 4)]).sum((0, 1)) - 120


def hashes(x: np.ndarray, turned: np.ndarray) -> tuple[np.ndarray, bool]:
    """int64 [tokens] of x [tokens, D]: the largest of x R and -x R, ties to the first direction of R, or its opposite;
    and whether float32 finds the same for sure.
    """
    x = x.astype(np.float64)
    products = x @ turned
    both = np.concatenate([products, -products], 1)
    terms = x.shape[1] * np.abs(x).max(initial=0) * np.abs(turned).max(initial=0)
    exact = bool((x == np.round(x)).all()) and terms < _EXACT
    best = np.sort(both, 1)
    gaps = best[:, -1] - best[:, -2]
    nearest = np.abs(products).argmax(1)
    opposite = np.take_along_axis(products, nearest[:, None], 1)[:, 0] < 0
    return nearest + opposite * products.shape[1], exact or bool((gaps > 2 * terms * np.finfo(np.float32).eps).all())


def chunks(own: Hashing, of_queries: np.ndarray, of_keys: np.ndarray, q_offset: int) -> np.ndarray:
    """int64 [n_q + n]: chunks of one round, by the hashes of queries and of keys.

    Keys are sorted by hash and then by position; a query stands behind all keys that are not after it in that order.
    Reformer (Kitaev et al., 2020, arXiv:2001.04451), section 2: with shared queries and keys, where its key stands.
    """
    order = sorted((bucket, place) for place, bucket in enumerate(of_keys.tolist()))
    asked = [(bucket, max(q_offset + place, 0)) for place, bucket in enumerate(of_queries.tolist())]
    asked += [(bucket, place) for place, bucket in enumerate(of_keys.tolist())]
    places = [bisect_right(order, own_place) - 1 for own_place in asked]
    return np.array([max(place, 0) // own.chunk for place in places], np.int64)


def assert_hashed(own: Hashing, labels: np.ndarray, q: np.ndarray, k: np.ndarray, q_offset: int) -> None:
    """AssertionError where labels [B, H, rounds, n_q + n] are not those of `own`, and rounding does not explain it."""
    (batch, heads, _, size), kv_heads = q.shape, k.shape[1]
    for b, h, number in np.ndindex(batch, heads, own.rounds):
        kv = h * kv_heads // heads
        turned = rotations(own, kv, number, size)
        (of_queries, sure), (of_keys, also) = hashes(q[b, h], turned), hashes(k[b, kv], turned)
        if sure and also:
            wanted = chunks(own, of_queries, of_keys, q_offset)
            assert (labels[b, h, number] == wanted).all(), f"row {b}, head {h}, round {number} of {own.name}"


def members(own: Routing, x: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Bool [clusters, tokens]: the `count` tokens x [tokens, D] with the largest products with each centroid.

    Routing Transformer (Roy et al., 2020, arXiv:2003.05997), algorithm 1; ties to the lowest position.
    """
    products = centroids.astype(np.float64) @ x.astype(np.float64).T
    order = np.argsort(-products, axis=1, kind="stable")[:, : own.count]
    found = np.zeros(products.shape, bool)
    np.put_along_axis(found, order, True, 1)
    return found


def assert_routed(own: Routing, labels: np.ndarray, q: np.ndarray, k: np.ndarray, centroids: np.ndarray) -> None:
    """AssertionError where labels [B, H, lines, n_q + n] are not those of `own`, and rounding does not explain it.

    centroids [G, clusters, D].
    """
    batch, heads, n_q, size = q.shape
    for b, h in np.ndindex(batch, heads):
        mu = centroids[h * len(centroids) // heads]
        words = labels[b, h].astype(np.int64)
        found = np.stack([words[cluster // 32] >> cluster % 32 & 1 for cluster in range(len(mu))]).astype(bool)
        for x, own_members in ((q[b, h], found[:, :n_q]), (k[b, h * k.shape[1] // heads], found[:, n_q:])):
            products = mu.astype(np.float64) @ x.astype(np.float64).T
            terms = size * np.abs(x).max(initial=0) * np.abs(mu).max(initial=0)
            bound = 2 * float(terms) * np.finfo(np.float32).eps
            assert (own_members.sum(1) == min(own.count, len(x))).all(), f"members of clusters of {own.name}"
            least = np.where(own_members, products, np.inf).min(1, initial=np.inf)
            most = np.where(own_members, -np.inf, products).max(1, initial=-np.inf)
            assert (most <= least + bound).all(), f"{own.name} leaves better tokens out"
            if bool((x == np.round(x)).all() and (mu == np.round(mu)).all()) and terms < _EXACT:
                assert (own_members == members(own, x, mu)).all(), f"ties of {own.name}"
