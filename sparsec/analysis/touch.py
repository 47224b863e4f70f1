"""Which keys some queries of a condition see, and which queries see some keys: exact where that can be said."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from sparsec.analysis import tables
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import affine_over
from sparsec.ir.vector import Values, holds
from sparsec.sets.touched import touched

_LOOKED_AT = 1 << 24  # pairs of one question that are looked at, where tables decide
_PAIRS_AT_ONCE = 1 << 20

Segment = tuple[int, int]  # positions first..stop-1


@dataclass(frozen=True)
class Touch:
    """What runs of positions of one condition see, and are seen by."""

    condition: ir.Set

    @cached_property
    def _affine(self) -> ir.Set:
        return affine_over(self.condition)

    @cached_property
    def _of_queries(self) -> ir.Set | None:
        return touched(self._affine, "q")

    @cached_property
    def _of_keys(self) -> ir.Set | None:
        return touched(self._affine, "k")

    def exact(self, queries: int, n: int) -> bool:
        """Whether `keys` names no key that none of so many queries sees."""
        if self._affine == self.condition:
            return self._of_queries is not None
        return not _asks_data(self.condition) and queries * n <= _LOOKED_AT

    def keys(self, queries: Segment, n: int) -> np.ndarray:
        """Bool [n]: the keys that some of the queries sees; where that can't be said exactly, some more."""
        first, stop = queries
        if first == stop:
            return np.zeros(n, bool)
        if self._affine != self.condition and self.exact(stop - first, n):
            return self._looked(queries, n)
        if self._of_queries is None:
            return np.ones(n, bool)
        at: Values = {"q_lo": first, "q_hi": stop - 1, "k": np.arange(n), "n": n}
        return np.broadcast_to(holds(self._of_queries, at), n)

    def key_condition(self, queries: int, n: int) -> ir.Set | None:
        """On k, and the ends q_lo and q_hi of so many queries: what `keys` has; None where it looks at pairs."""
        if self._affine != self.condition and self.exact(queries, n):
            return None
        return ir.TRUE if self._of_queries is None else self._of_queries

    def queries(self, queries: Segment, keys: Segment, n: int) -> Segment | None:
        """From the first to behind the last of some queries that see any of some keys, or more; None: none does."""
        if self._of_keys is None:
            return queries
        at: Values = {"k_lo": keys[0], "k_hi": keys[1] - 1, "q": np.arange(*queries), "n": n}
        seen = np.flatnonzero(np.broadcast_to(holds(self._of_keys, at), queries[1] - queries[0]))
        return (queries[0] + int(seen[0]), queries[0] + int(seen[-1]) + 1) if len(seen) else None

    def _looked(self, queries: Segment, n: int) -> np.ndarray:
        """`keys`, pair by pair: tables are read."""
        seen, keys, rows = np.zeros(n, bool), np.arange(n), max(1, _PAIRS_AT_ONCE // n)
        for first in range(*queries, rows):
            some = range(first, min(queries[1], first + rows))
            read = tables.tables(self.condition, n, some)
            kept = tables.holds(self.condition, np.arange(first, some.stop)[:, None], keys, n, read)
            seen |= np.broadcast_to(kept, (len(some), n)).any(0)  # conditions may be about keys alone
        return seen


def _asks_data(condition: ir.Set) -> bool:
    return any(isinstance(leaf, ir.DataTest) for leaf in ir.leaves(condition))


@lru_cache(maxsize=64)
def touch(condition: ir.Set) -> Touch:
    """What is known of a condition, worked out once."""
    return Touch(condition)
