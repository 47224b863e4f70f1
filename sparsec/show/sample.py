"""A sample of what a pattern may choose by content: blocks at random, of those that it may choose among."""

from __future__ import annotations

import numpy as np

from sparsec.ir import reference
from sparsec.ir.chosen import Choice
from sparsec.ir.nodes import Set

MOST = 4096  # positions: every pair is looked at


def sample(choice: Choice, n: int, seed: int = 0) -> np.ndarray:
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
