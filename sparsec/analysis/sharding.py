"""A sequence cut over several ranks: who holds which positions, which keys each rank needs, and how work is spread.

All of it follows from the pattern and the lengths alone, so every rank works out the same without a word to another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from sparsec.analysis.chunks import in_chunks, keys_by_chunk, pairs_by_chunk
from sparsec.analysis.count import pattern_count
from sparsec.analysis.numbers import Uncounted
from sparsec.analysis.touch import Segment, touch
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import bounded

LAYOUTS = ("contiguous", "head-tail", "balanced")
_EVEN = 1.05  # work of the busiest rank over the mean, up to which a layout counts as even
_GRAIN = 128  # positions, to whose multiples long sequences are cut
_ROOM = 1 << 28  # bytes of what is known of all ranks, beyond which it is worked out anew

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
        work = _works(pattern, n, shares)
    except Uncounted:
        return None
    return max(work) * len(work) / max(1, sum(work))


def _works(pattern: ir.Pattern, n: int, shares: Sequence[Sequence[Segment]]) -> list[int]:
    """The work of each rank.  Raises Uncounted."""
    if chunks := in_chunks(shares, n):
        with suppress(Uncounted):
            heads = Counter(pattern.head_conditions or (0,))
            pairs = [count * pairs_by_chunk(pattern.conditions[number], chunks) for number, count in heads.items()]
            of_chunks = np.sum(pairs, 0)
            return [int(of_chunks[[*own]].sum()) + chunks.held(rank) for rank, own in enumerate(chunks.of_ranks)]
    return [sum(_work(pattern, n, segment) for segment in segments) for segments in shares]


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
            alike = self._by_chunk(conditions)
            for rank in range(self.ranks):
                if rank in alike:
                    found[rank] += count * alike[rank]
                    continue
                away = self.needed(rank, conditions) & (self.owner != rank)
                found[rank] += count * np.bincount(self.owner[away], minlength=self.ranks)
        return found

    def _by_chunk(self, conditions: tuple[int, ...]) -> dict[int, np.ndarray]:
        """int64 [ranks], by rank: the keys that it gets from others, where it holds as many whole chunks as most do."""
        chunks = in_chunks(self.shares, self.length) if len(self.documents) == 1 else None
        ranks = chunks.alike() if chunks else []
        if chunks is None or not ranks:  # of few positions, no rank may hold as many as it could
            return {}
        try:
            seen = keys_by_chunk([self.pattern.conditions[number] for number in conditions], chunks, ranks)
        except Uncounted:
            return {}
        found = np.zeros((self.ranks, len(ranks)), np.int64)
        np.add.at(found, self.owner[chunks.firsts], seen.T)
        found[ranks, np.arange(len(ranks))] = 0
        return dict(zip(ranks, found.T, strict=True))
