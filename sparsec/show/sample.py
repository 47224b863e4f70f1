"""A sample of what a pattern may choose by content: blocks at random, of those that it may choose among, and groups of
tokens with random hashes, or in random clusters.
"""

from __future__ import annotations

import numpy as np

from sparsec.ir import reference
from sparsec.ir.chosen import Choice, Hashing, Routing
from sparsec.ir.inputs import Input
from sparsec.ir.nodes import Pattern, Set

MOST = 4096  # positions: every pair is looked at


_CLUSTERS = 16  # where no declaration says how many there are


def samples(pattern: Pattern, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Int64 arrays for all that a pattern chooses itself, with the axes of its inputs, of self-attention."""
    chosen = [each for each in pattern.inputs if each.choice]
    return {each.name: _sample(each, pattern.choice_inputs, n, seed)[None, None] for each in chosen}


def _sample(own: Input, reals: tuple[Input, ...], n: int, seed: int) -> np.ndarray:
    match own.choice:
        case Choice():
            return _blocks(own.choice, n, seed)
        case Hashing():
            return _chunks(own.choice, n, seed)
        case Routing():
            (count,) = (each.axes[1] for each in reals if each.name == own.choice.centroids)
            return _bits(own.choice, int(count) if count.isdigit() else _CLUSTERS, n, seed)
    raise TypeError(f"nothing is chosen: {own!r}")


def _chunks(own: Hashing, n: int, seed: int) -> np.ndarray:
    """int64 [rounds, 2 n]: of tokens that have one hash as query and as key, as in Reformer."""
    hashes = np.random.default_rng([seed, own.seed]).integers(0, own.buckets, (own.rounds, n))
    chunk = np.argsort(np.argsort(hashes, axis=1, kind="stable"), axis=1) // own.chunk
    return np.concatenate([chunk, chunk], 1)


def _bits(own: Routing, clusters: int, n: int, seed: int) -> np.ndarray:
    """int64 [lines, 2 n]: each cluster has some tokens, as queries and as keys."""
    scores = np.random.default_rng(seed).random((clusters, n))
    members = np.zeros((-(-clusters // 32) * 32, n), np.int64)
    np.put_along_axis(members[:clusters], np.argsort(scores, axis=1)[:, : own.count], 1, 1)
    lines = (members.reshape(-1, 32, n) << np.arange(32)[:, None]).sum(1)
    return np.concatenate([lines, lines], 1)


def _blocks(choice: Choice, n: int, seed: int) -> np.ndarray:
    """int64 [blocks of queries, count], -1 where nothing is left to choose."""
    eligible, first = (_with_a_pair(some, choice, n) for some in (choice.among, choice.keep))
    scores = np.random.default_rng(seed).random(eligible.shape) + first
    order = np.argsort(np.where(eligible, -scores, 1.0), axis=1, kind="stable")[:, : choice.count]
    return np.where(np.take_along_axis(eligible, order, 1), order, -1)


def _with_a_pair(some: Set, choice: Choice, n: int) -> np.ndarray:
    """Bool [blocks of queries, blocks of keys]."""
    pairs = reference.mask(some, n, n)
    padded = np.pad(pairs, ((0, -n % choice.rows), (0, -n % choice.size)))
    return np.asarray(padded.reshape(-1, choice.rows, -(-n // choice.size), choice.size).any((1, 3)))
