"""Exact numbers for conditions with tables, from the pairs that the tables list.

Where no table lists a pair, the condition is the affine one that is left with every table empty.  So its sets
count all pairs, and only the listed pairs, O(n * listed keys) of them, are looked at one by one: some queries at a
time, whose rows alone are drawn.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np

from sparsec.analysis.replaced import replaced
from sparsec.ir import nodes as ir
from sparsec.ir import random, vector
from sparsec.ir.boxes import Decided, decided
from sparsec.sets.context import OutOfBudget, afford

_CHUNK = 1 << 20  # pairs, or entries of tables, looked at together
_MOST_ENTRIES, _MOST_PAIRS = 1 << 23, 1 << 28  # of tables that are drawn, and looked at in one go: seconds
_PAIR_STEPS = 60  # of a budget, for a thousand listed pairs


@dataclass(frozen=True, eq=False)
class Boxes:
    """Rectangles of `high` queries from q on by `wide` keys from k on; what is said of all pairs of each: [boxes]."""

    q: np.ndarray
    k: np.ndarray
    high: np.ndarray
    wide: np.ndarray
    change: np.ndarray

    @property
    def pairs(self) -> int:
        """The sum of the changes, over all pairs."""
        return int((self.high * self.wide * self.change.astype(np.int64)).sum())

    def chosen(self, some: np.ndarray) -> Boxes:
        return Boxes(self.q[some], self.k[some], self.high[some], self.wide[some], self.change[some])

    def single(self) -> Iterator[Boxes]:
        """The same pair by pair, in chunks."""
        ends = np.cumsum(self.high)  # of the queries of each box, one after the other
        within = np.arange(int(self.wide.max(initial=1)))
        lines = max(1, _CHUNK // len(within))
        for line in range(0, int(ends[-1]) if len(ends) else 0, lines):
            some = np.arange(line, min(line + lines, int(ends[-1])))
            box = np.searchsorted(ends, some, "right")
            q, k = self.q[box] + self.high[box] - ends[box] + some, self.k[box][:, None] + within
            inside = within < self.wide[box][:, None]
            change, one = (np.broadcast_to(each[:, None], k.shape)[inside] for each in (self.change[box], q * 0 + 1))
            yield Boxes(np.broadcast_to(q[:, None], k.shape)[inside], k[inside], one, one, change)


@dataclass(frozen=True, eq=False)
class Table:
    """Row first + i lists the units entries[starts[i] : starts[i + 1]], rising: of `size` keys, for as many queries.

    starts is int64 [rows + 1], entries int64; rows that are not there list nothing.
    """

    size: int
    first: int
    starts: np.ndarray
    entries: np.ndarray

    @cached_property
    def rows(self) -> np.ndarray:
        """The row of each entry, counted from the first: int64 [entries]."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    @cached_property
    def _units(self) -> int:
        return 2 + int(self.entries.max(initial=-1))

    @cached_property
    def _codes(self) -> np.ndarray:
        return self.rows * self._units + self.entries

    def holds(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Bool: are these pairs, of any shape, listed?"""
        if not len(self.entries):
            return np.zeros(np.shape(q), bool)
        wanted = (q // self.size - self.first) * self._units + np.minimum(k // self.size, self._units - 1)
        return self._codes[np.minimum(np.searchsorted(self._codes, wanted), len(self._codes) - 1)] == wanted

    def blocks(self, queries: range, n: int) -> Boxes:
        """What is listed of these queries and n keys, each block once and cut off where they end."""
        low = (self.rows + self.first) * self.size
        start, stop = np.maximum(low, queries.start), np.minimum(low + self.size, queries.stop)
        there = np.flatnonzero((start < stop) & (self.entries < -(-n // self.size)))
        start, stop, k = start[there], stop[there], self.entries[there] * self.size
        return Boxes(start, k, stop - start, np.minimum(self.size, n - k), np.ones(len(k), np.int8))


def tables(condition: ir.Set, n: int, queries: range) -> dict[ir.Table, Table]:
    """What the tables of a condition list for some consecutive queries at n."""
    return {leaf: source(leaf)(n, queries) for leaf in ir.tables(condition)}


def source(leaf: ir.Table) -> Callable[[int, range], Table]:
    """A function of n and of some consecutive queries to what a leaf lists for them."""
    if isinstance(leaf, ir.Blocks):
        return _explicit(leaf)

    def drawn(n: int, queries: range) -> Table:
        rows = _rows(queries, leaf.size, -(-n // leaf.size))
        found = np.sort(_drawn(leaf, n, np.arange(rows.start, rows.stop)), axis=1)
        there = found >= 0
        return Table(leaf.size, rows.start, np.concatenate([[0], np.cumsum(there.sum(1))]), found[there])

    return drawn


def _explicit(leaf: ir.Blocks) -> Callable[[int, range], Table]:
    lengths = np.fromiter(map(len, leaf.rows), np.int64, len(leaf.rows))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    entries = np.fromiter(chain.from_iterable(leaf.rows), np.int64, int(starts[-1]))

    def cut(n: int, queries: range) -> Table:
        rows = _rows(queries, leaf.size, len(leaf.rows))
        ends = starts[rows.start : rows.stop + 1]
        return Table(leaf.size, rows.start, ends - ends[0], entries[ends[0] : ends[-1]])

    return cut


def _rows(queries: range, size: int, height: int) -> range:
    """The rows of some queries, of those that there are."""
    first = min(max(queries.start // size, 0), height)
    return range(first, min(max(first, -(-queries.stop // size)), height))


def _drawn(leaf: ir.RandomBlocks | ir.RandomKeys, n: int, rows: np.ndarray) -> np.ndarray:
    if isinstance(leaf, ir.RandomKeys):
        return random.random_keys(leaf.count, leaf.seed, n, rows)
    return random.random_blocks(leaf.size, leaf.count, leaf.seed, n, leaf.past, rows)


def affine(condition: ir.Set) -> ir.Set:
    """The condition with every table empty."""
    return replaced(condition, dict.fromkeys(ir.tables(condition), ir.FALSE))


def listed(condition: ir.Set, n: int, queries: range, side: int = 1) -> Iterator[Iterator[Boxes]]:
    """Every listed pair of some queries once: the condition minus the affine one, -1, 0 or 1.

    They come for some of the queries at a time, which are whole tiles of `side`.  Blocks of which intervals tell that
    all pairs change alike come as a whole, where all tables have blocks of one size.  Raises OutOfBudget.
    """
    leaves = ir.tables(condition)
    sources = {leaf: source(leaf) for leaf in leaves}
    step = min(leaf.size * max(1, _CHUNK // _width(leaf, n)) for leaf in leaves)
    step = max(1, step // side) * side
    plain = affine(condition)
    apart = {
        leaf: replaced(condition, {**dict.fromkeys(leaves[:place], ir.FALSE), leaf: ir.TRUE})
        for place, leaf in enumerate(leaves)
    }
    alike = len({leaf.size for leaf in leaves}) == 1

    def among(some: range) -> Iterator[Boxes]:
        known = {leaf: made(n, some) for leaf, made in sources.items()}
        for place, leaf in enumerate(leaves):
            blocks = known[leaf].blocks(some, n)
            if alike:
                blocks = _fresh(blocks, [known[other] for other in leaves[:place]])
                whole, sure = _decided(blocks, apart[leaf], plain, n, known)
                yield whole
                blocks = blocks.chosen(~sure)
            number = int((blocks.high * blocks.wide).sum())
            if number > _MOST_PAIRS or not afford(_PAIR_STEPS * number // 1000):
                raise OutOfBudget
            for each in blocks.single():
                pairs = _fresh(each, [known[other] for other in leaves[:place]])
                here, before = (holds(one, pairs.q, pairs.k, n, known) for one in (apart[leaf], plain))
                yield replace(pairs, change=np.broadcast_to(np.subtract(here, before, dtype=np.int8), pairs.q.shape))

    return (among(queries[start : start + step]) for start in range(0, len(queries), step))


def _fresh(boxes: Boxes, before: list[Table]) -> Boxes:
    """Those that no table before lists, which are pairs or blocks of the size of all tables."""
    for table in before:
        boxes = boxes.chosen(~table.holds(boxes.q, boxes.k))
    return boxes


def _decided(
    blocks: Boxes, here: ir.Set, plain: ir.Set, n: int, known: dict[ir.Table, Table]
) -> tuple[Boxes, np.ndarray]:
    """Blocks that change as a whole from `plain` to `here`, and for all of them whether intervals tell that."""
    q, k = (blocks.q, blocks.q + blocks.high - 1), (blocks.k, blocks.k + blocks.wide - 1)
    at = {"q": q, "k": k, "n": (np.asarray(n), np.asarray(n))}

    def listed(leaf: ir.Leaf) -> Decided:
        assert not isinstance(leaf, ir.DataTest), leaf  # what asks counts, and does not where data decides
        inside = known[leaf].holds(blocks.q, blocks.k)
        return ~inside, inside

    shape = blocks.q.shape
    (none, all_), (none_before, all_before) = (
        [np.broadcast_to(each, shape) for each in decided(condition, at, listed)] for condition in (here, plain)
    )
    sure = (none | all_) & (none_before | all_before)
    change = np.subtract(all_, all_before, dtype=np.int8)
    return replace(blocks, change=change).chosen(sure & (change != 0)), sure


def _width(leaf: ir.Table, n: int) -> int:
    """Entries of a row, on average; at least 1."""
    if isinstance(leaf, ir.Blocks):
        return 1 + sum(map(len, leaf.rows)) // max(1, len(leaf.rows))
    return max(1, min(leaf.count, -(-n // leaf.size)))


def are_few(condition: ir.Set, n: int, queries: range) -> bool:
    """Whether tables are soon drawn.  Nothing is drawn to find out."""
    return sum(_entries(leaf, n, queries) for leaf in ir.tables(condition)) <= _MOST_ENTRIES


def _entries(leaf: ir.Table, n: int, queries: range) -> int:
    """The most entries that name keys below n for some queries."""
    blocks = -(-n // leaf.size)
    if isinstance(leaf, ir.Blocks):
        return sum(bisect_left(leaf.rows[row], blocks) for row in _rows(queries, leaf.size, len(leaf.rows)))
    return len(_rows(queries, leaf.size, blocks)) * min(leaf.count, blocks)


def holds(node: ir.Set, q: np.ndarray, k: np.ndarray, n: int, known: dict[ir.Table, Table]) -> np.ndarray:
    """Bool, broadcast from q and k: is the pair kept?"""
    at: vector.Values = {"q": q, "k": k, "n": n}

    def listed(leaf: ir.Leaf) -> np.ndarray:
        assert not isinstance(leaf, ir.DataTest), leaf
        return known[leaf].holds(*np.broadcast_arrays(q, k))

    return vector.holds(node, at, listed)
