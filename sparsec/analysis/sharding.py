"""A sequence cut over several ranks: who holds which positions, which keys each rank needs, and how work is spread.

All of it follows from the pattern and the lengths alone, so every rank works out the same without a word to another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from sparsec.analysis import tables
from sparsec.analysis.count import pattern_count
from sparsec.analysis.numbers import Uncounted
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import affine_over, bounded
from sparsec.ir.vector import Values, holds
from sparsec.sets.touched import touched

LAYOUTS = ("contiguous", "head-tail", "balanced")
_EVEN = 1.05  # work of the busiest rank over the mean, up to which a layout counts as even
_GRAIN = 128  # positions, to whose multiples long sequences are cut
_LOOKED_AT = 1 << 24  # pairs of one question that are looked at, where tables decide
_PAIRS_AT_ONCE = 1 << 20
_ROOM = 1 << 28  # bytes of what is known of all ranks, beyond which it is worked out anew

Segment = tuple[int, int]  # positions first..stop-1
Shares = tuple[tuple[Segment, ...], ...]  # the segments of each rank


# ---------------------------------------------------------------- layouts


def split(layout: str, n: int, ranks: int, pattern: ir.Pattern) -> Shares:
    """For each rank the segments of 0..n-1 that it holds, rising, none empty and none next to another.

    contiguous: ceil(n / ranks) positions each, as torch.chunk and DTensor cut; head-tail: of 2 * ranks such chunks
    rank r holds r and 2 * ranks - 1 - r, as torch's load balancer for causal attention does; balanced: one segment
    each, with as many kept pairs.
    """
    if layout == "head-tail":
        ends = _chunks(n, 2 * ranks)
        return tuple(_joined([ends[rank], ends[-1 - rank]]) for rank in range(ranks))
    if layout == "balanced":
        cuts = _even_cuts(pattern, n, ranks)
        return tuple(_joined([(cuts[rank], cuts[rank + 1])]) for rank in range(ranks))
    return tuple(_joined([chunk]) for chunk in _chunks(n, ranks))


def _chunks(n: int, count: int) -> list[Segment]:
    size = -(-n // count)
    return [(min(n, place * size), min(n, (place + 1) * size)) for place in range(count)]


def _joined(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Rising segments without empty ones, neighbours as one."""
    found: list[Segment] = []
    for first, stop in segments:
        if first == stop:
            continue
        if found and found[-1][1] == first:
            found[-1] = found[-1][0], stop
        else:
            found.append((first, stop))
    return tuple(found)


def _even_cuts(pattern: ir.Pattern, n: int, ranks: int) -> list[int]:
    """ranks + 1 rising positions from 0 to n between which the pattern keeps about as many pairs."""
    grain = _GRAIN if n >= 16 * ranks * _GRAIN else 1
    below = [0, *(min(n, stop * grain) for stop in range(1, -(-n // grain) + 1))]
    whole = _work(pattern, n, (0, n))
    cuts = [0]
    for rank in range(1, ranks):
        low, high = 0, len(below) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (middle + 1, high) if _work(pattern, n, (0, below[middle])) * ranks < rank * whole else (low, middle)
            )
        cuts.append(max(below[low], cuts[-1]))
    return [*cuts, n]


def _work(pattern: ir.Pattern, n: int, segment: Segment) -> int:
    """Kept pairs of some queries, and one for each row, so that rows without pairs are shared out, too."""
    return pattern_count(pattern, n, range(*segment)) + segment[1] - segment[0]


def balance(pattern: ir.Pattern, n: int, shares: Sequence[Sequence[Segment]]) -> float | None:
    """The work of the busiest rank over the mean, in kept pairs; None where they can't be counted."""
    try:
        work = [sum(_work(pattern, n, segment) for segment in segments) for segments in shares]
    except Uncounted:
        return None
    return max(work) * len(work) / max(1, sum(work))


def chosen_layout(pattern: ir.Pattern, n: int, ranks: int) -> str:
    """The first layout whose work is spread evenly at length n, else the most even one; contiguous where unknown."""
    found = {}
    pattern = bounded(pattern)
    for layout in LAYOUTS:
        try:
            even = balance(pattern, n, split(layout, n, ranks, pattern))
        except Uncounted:
            even = None
        if even is None:
            return "contiguous"
        if even <= _EVEN:
            return layout
        found[layout] = even
    return min(found, key=lambda layout: found[layout])


# ---------------------------------------------------------------- who needs what


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


@dataclass(frozen=True)
class Shards:
    """Documents of a packed row (one, for a sequence) over the ranks; `ends`: 0, where documents begin, the length."""

    pattern: ir.Pattern
    ends: tuple[int, ...]
    shares: Shares

    @property
    def ranks(self) -> int:
        return len(self.shares)

    @property
    def length(self) -> int:
        return self.ends[-1]

    @cached_property
    def documents(self) -> tuple[Segment, ...]:
        """First position and one behind the last of those that are not empty."""
        return tuple((first, stop) for first, stop in pairwise(self.ends) if first < stop)

    @cached_property
    def owner(self) -> np.ndarray:
        """int64 [length]: the rank that holds a position."""
        found = np.zeros(self.length, np.int64)
        for rank, segments in enumerate(self.shares):
            for first, stop in segments:
                found[first:stop] = rank
        return found

    def local(self, rank: int, positions: np.ndarray) -> np.ndarray:
        """Which rows of a rank's tensors stand at positions that it holds."""
        firsts = np.array([first for first, _ in self.shares[rank]], np.int64)
        sizes = np.array([stop - first for first, stop in self.shares[rank]], np.int64)
        segment = np.searchsorted(firsts, positions, side="right") - 1
        return positions - firsts[segment] + (np.cumsum(sizes) - sizes)[segment]

    def size(self, rank: int) -> int:
        """How many positions a rank holds."""
        return sum(stop - first for first, stop in self.shares[rank])

    def within(self, rank: int, document: Segment) -> tuple[Segment, ...]:
        """The segments of a rank in a document, counted from its begin."""
        begin, end = document
        cut = ((max(first, begin) - begin, min(stop, end) - begin) for first, stop in self.shares[rank])
        return tuple((first, stop) for first, stop in cut if first < stop)

    def conditions(self, heads: Sequence[int]) -> tuple[int, ...]:
        """The distinct conditions of some query heads, by number."""
        return tuple(sorted({self.pattern.head_conditions[head] for head in heads})) if self.pattern.heads else (0,)

    def needed(self, rank: int, conditions: tuple[int, ...]) -> np.ndarray:
        """Bool [length]: the keys that a rank's queries see by some of the conditions, its own keys among them."""
        if (found := self._known.get((rank, conditions))) is not None:
            return found
        found = np.zeros(self.length, bool)
        for begin, end in self.documents:
            for segment in self.within(rank, (begin, end)):
                for number in conditions:
                    found[begin:end] |= touch(self.pattern.conditions[number]).keys(segment, end - begin)
        if self.ranks * self.length <= _ROOM:
            self._known[rank, conditions] = found
        return found

    @cached_property
    def _known(self) -> dict[tuple[int, tuple[int, ...]], np.ndarray]:
        return {}

    def fetched(self, rank: int, source: int, conditions: tuple[int, ...]) -> np.ndarray:
        """int64: the positions of keys that a rank gets from another, rising."""
        if rank == source:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.needed(rank, conditions) & (self.owner == source))

    def exact(self) -> bool:
        """Whether no rank gets a key that it does not need."""
        return all(
            touch(condition).exact(stop - first, document[1] - document[0])
            for document in self.documents
            for rank in range(self.ranks)
            for first, stop in self.within(rank, document)
            for condition in self.pattern.conditions
        )

    def traffic(self, groups: Sequence[tuple[int, ...]]) -> np.ndarray:
        """int64 [ranks, ranks]: the keys that rank i gets from rank j; `groups`: the conditions of each key head."""
        found = np.zeros((self.ranks, self.ranks), np.int64)
        for conditions, count in Counter(groups).items():
            for rank in range(self.ranks):
                away = self.needed(rank, conditions) & (self.owner != rank)
                found[rank] += count * np.bincount(self.owner[away], minlength=self.ranks)
        return found
