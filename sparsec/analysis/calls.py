"""Single calls looked at pair by pair, for conditions with tables and those whose sets take too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sparsec.analysis import tables
from sparsec.analysis.tables import Table
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import without_data
from sparsec.ir.vector import distinct
from sparsec.sets.witness import Witness

EVERY = 64  # `searched` looks at every pair of every n up to this one
_FURTHER = {96, 128, 200, 257, 512, 1024, 2048, 4096}
_MOST_ROWS = 256
_MOST_DRAWN = 1 << 20  # entries of a table at one n
_MOST_PAIRS = 1 << 21

_Sources = dict[ir.Table, Callable[[int, range], Table]]


def searched(condition: ir.Set) -> Witness | None:
    """A pair with 0 <= q < 2 n at the first n that shows one, preferably with q < n; None when none is found.

    Every pair of every n up to EVERY is looked at, and some rows of a few longer ones.  Where data of the call decides,
    the pair is kept whatever that is.
    """
    condition = without_data(condition, "under")
    beyond, leaves = None, ir.tables(condition)
    sources = {leaf: tables.source(leaf) for leaf in leaves}
    for n in _lengths(leaves):
        q = distinct(np.linspace(0, 2 * n - 1, min(2 * n, _MOST_ROWS)).astype(np.int64))
        if _is_affordable(leaves, n, len(q) * n):
            kept = _holds(condition, sources, q[:, None], np.arange(n), n)
            if kept.any():
                row, k = np.argwhere(kept)[0]  # the least q of all
                found = Witness(n, int(q[row]), int(k))
                if found.q < n:
                    return found
                beyond = beyond or found
    return beyond


def keeps(condition: ir.Set, pair: Witness) -> bool:
    """Whether the condition, with its tables, keeps a pair, whatever the data of a call.

    False also where tables are too large to look.
    """
    condition = without_data(condition, "under")
    q, k, leaves = np.array([[pair.q]]), np.array([pair.k]), ir.tables(condition)
    sources = {leaf: tables.source(leaf) for leaf in leaves}
    return _is_affordable(leaves, pair.n, 1) and bool(_holds(condition, sources, q, k, pair.n).all())


def _lengths(leaves: tuple[ir.Table, ...]) -> Iterator[int]:
    yield from range(1, EVERY + 1)
    # With one block more than are drawn, not all can be.
    telling = {getattr(leaf, "size", 1) * (getattr(leaf, "count", 1) + 2) + 1 for leaf in leaves}
    yield from sorted(n for n in _FURTHER | telling if EVERY < n <= max(_FURTHER))


def _is_affordable(leaves: tuple[ir.Table, ...], n: int, pairs: int) -> bool:
    for leaf in leaves:
        units = -(-n // leaf.size)
        drawn = 0 if isinstance(leaf, ir.Blocks) else units * min(leaf.count, units)
        if drawn > _MOST_DRAWN or pairs > _MOST_PAIRS:
            return False
    return True


def _holds(condition: ir.Set, sources: _Sources, q: np.ndarray, k: np.ndarray, n: int) -> np.ndarray:
    """Bool [len(q), len(k)], from q [rows, 1] and k [columns]."""
    known = {leaf: made(n, range(int(q.max()) + 1)) for leaf, made in sources.items()}
    return np.broadcast_to(tables.holds(condition, q, k, n, known), (len(q), len(k)))
