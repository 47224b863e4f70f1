"""Exact numbers for conditions with tables, from the pairs that the tables list.

Where no table lists a pair, the condition is the affine one that is left with every table empty.  So its sets
count all pairs, and only the listed pairs, O(n * listed keys) of them, are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sparsec.analysis.replaced import replaced
from sparsec.ir import nodes as ir
from sparsec.ir import random, vector

_CHUNK = 1 << 20  # pairs looked at together
MOST_PAIRS = 1 << 29  # about a minute


@dataclass(frozen=True, eq=False)
class Table:
    """Row i lists units of `size` keys for queries [i * size, (i + 1) * size): int64 [rows, width], -1 for none."""

    size: int
    rows: np.ndarray

    def holds(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        row, unit = q // self.size, (k // self.size)[..., None]
        listed = self.rows[np.clip(row, 0, len(self.rows) - 1)] if len(self.rows) else np.zeros((*row.shape, 0))
        return (listed == unit).any(-1) & (row >= 0) & (row < len(self.rows))

    def pairs(self, n: int, queries: range) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All pairs of `queries` and keys below n that the table lists, each once, in chunks of flat arrays."""
        row, _ = at = np.nonzero(self.rows >= 0)
        entries = np.unique(np.stack([row, self.rows[at]], axis=1), axis=0)
        within = np.arange(self.size)
        step = max(1, _CHUNK // self.size**2)
        for start in range(0, len(entries), step):
            corner = entries[start : start + step] * self.size
            q = corner[:, 0, None, None] + within[:, None]
            k = corner[:, 1, None, None] + within
            q, k = (side.ravel() for side in np.broadcast_arrays(q, k))
            inside = (queries.start <= q) & (q < queries.stop) & (k < n)
            yield q[inside], k[inside]


def tables(condition: ir.Set, n: int) -> dict[ir.Leaf, Table]:
    """The tables of a condition at n."""
    return {leaf: table(leaf, n) for leaf in ir.leaves(condition)}


def table(leaf: ir.Leaf, n: int) -> Table:
    """What a leaf lists at n."""
    match leaf:
        case ir.RandomKeys(count, seed):
            return Table(1, np.asarray(random.random_keys(count, seed, n)))
        case ir.RandomBlocks(size, count, seed, past):
            return Table(size, np.asarray(random.random_blocks(size, count, seed, n, past)))
        case ir.Blocks(size, rows):
            width = max(map(len, rows), default=0)
            filled = [[*row, *[-1] * (width - len(row))] for row in rows]
            return Table(size, np.array(filled, np.int64).reshape(len(rows), width))
    raise TypeError(f"not a table: {leaf!r}")


def affine(condition: ir.Set) -> ir.Set:
    """The condition with every table empty."""
    return replaced(condition, dict.fromkeys(ir.leaves(condition), ir.FALSE))


def listed(
    condition: ir.Set, n: int, queries: range | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(q, k, change) for every listed pair of `queries`, by default 0..n, once.

    `change` is the condition minus the affine one, -1, 0 or 1.
    """
    queries = range(n) if queries is None else queries
    known = tables(condition, n)
    plain, done = affine(condition), {}
    for leaf, table in known.items():
        here = replaced(condition, {**dict.fromkeys(done, ir.FALSE), leaf: ir.TRUE})
        for q, k in table.pairs(n, queries):
            for other in done.values():
                fresh = ~other.holds(q, k)
                q, k = q[fresh], k[fresh]
            change = np.subtract(holds(here, q, k, n, known), holds(plain, q, k, n, known), dtype=np.int8)
            yield q, k, np.broadcast_to(change, q.shape)
        done[leaf] = table


def size(condition: ir.Set, n: int) -> int:
    """How many pairs `listed` goes through, at most."""
    return sum(int((table.rows >= 0).sum()) * table.size**2 for table in tables(condition, n).values())


def holds(node: ir.Set, q: np.ndarray, k: np.ndarray, n: int, known: dict[ir.Leaf, Table]) -> np.ndarray:
    """Bool, broadcast from q and k: is the pair kept?"""
    at = {"q": q, "k": k, "n": np.int64(n)}
    return vector.holds(node, at, lambda leaf: known[leaf].holds(*np.broadcast_arrays(q, k)))
