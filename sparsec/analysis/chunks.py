"""Ranks that hold chunks of one size: the pairs that chunks keep, and the keys that they see, by chunk.

Both are counted in a grid of chunks (`analysis/grid.py`), so that a thousand ranks take no longer than a few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsec.analysis import grid, tables
from sparsec.analysis.numbers import Uncounted
from sparsec.analysis.touch import Segment, touch
from sparsec.ir import nodes as ir
from sparsec.ir.algebra import conjunction, disjunction
from sparsec.ir.inputs import inputs_read
from sparsec.ir.shape import renamed
from sparsec.sets.context import OutOfBudget


@dataclass(frozen=True)
class Chunks:
    """The chunks of a sequence of n positions, the last one maybe shorter, and which of them each rank holds."""

    size: int
    n: int
    of_ranks: tuple[tuple[int, ...], ...]

    @property
    def firsts(self) -> np.ndarray:
        """int64: the first positions of all chunks."""
        return np.arange(0, self.n, self.size)

    def held(self, rank: int) -> int:
        """How many positions a rank holds."""
        return sum(min(self.n, (chunk + 1) * self.size) - chunk * self.size for chunk in self.of_ranks[rank])

    def alike(self) -> list[int]:
        """The ranks that hold as many whole chunks as most do."""
        most = max(map(len, self.of_ranks))
        return [rank for rank in range(len(self.of_ranks)) if self.held(rank) == most * self.size]


def in_chunks(shares: Sequence[Sequence[Segment]], n: int) -> Chunks | None:
    """The segments of ranks as chunks, one or two each, as long as the first segment; None where they are not."""
    size = shares[0][0][1] - shares[0][0][0] if shares and shares[0] else 0
    segments = [segment for own in shares for segment in own]
    if not size or n > 2 * len(shares) * size:
        return None
    if any(first % size or (stop % size and stop != n) for first, stop in segments):
        return None
    chunks = (tuple(chunk for first, stop in own for chunk in range(first // size, -(-stop // size))) for own in shares)
    return Chunks(size, n, tuple(chunks))


def pairs_by_chunk(condition: ir.Set, chunks: Chunks) -> np.ndarray:
    """int64: the pairs that the queries of each chunk keep.  Raises Uncounted."""
    n, size = chunks.n, chunks.size
    if inputs_read(condition) or (ir.leaves(condition) and not tables.are_few(condition, n, range(n))):
        raise Uncounted
    side = grid.Side(chunks.firsts, size)
    inside = (ir.Compare(ir.Var(name), "<", ir.Const(n)) for name in "qk")
    found = grid.points(conjunction(tables.affine(condition), *inside), n, size, {"q": side}, {"k": side}).sum(1)
    try:
        for some in tables.listed(condition, n, range(n)) if ir.leaves(condition) else ():
            for boxes in some:
                _add_by_chunk(found, boxes, size)
    except OutOfBudget:
        raise Uncounted from None
    return found


def _add_by_chunk(found: np.ndarray, boxes: tables.Boxes, size: int) -> None:
    """Add the changes of boxes to the pairs of the chunks that hold their queries."""
    first, stop = boxes.q // size, boxes.q + boxes.high
    for more in range(int(((stop - 1) // size - first).max(initial=-1)) + 1):
        chunk = first + more
        high = np.minimum(stop, (chunk + 1) * size) - np.maximum(boxes.q, chunk * size)
        there = high > 0
        np.add.at(found, chunk[there], (high * boxes.wide * boxes.change)[there])


def keys_by_chunk(conditions: Sequence[ir.Set], chunks: Chunks, ranks: Sequence[int]) -> np.ndarray:
    """int64 [ranks, chunks]: how many keys of each chunk some ranks see by any of the conditions, as `Touch.keys` says.

    `ranks` hold as many whole chunks each.  Raises Uncounted.
    """
    n, size, seen = chunks.n, chunks.size, []
    rows: dict[str, grid.Side] = {}
    for place, own in enumerate(np.array([chunks.of_ranks[rank] for rank in ranks], np.int64).T):
        ends = {"q_lo": f"q_lo {place}", "q_hi": f"q_hi {place}"}
        rows[ends["q_lo"]] = grid.Side(own * size, 1)
        rows[ends["q_hi"]] = grid.Side(own * size + size - 1, 1)
        for condition in conditions:
            keys = touch(condition).key_condition(size, n)
            if keys is None:
                raise Uncounted
            seen.append(renamed(keys, ends))
    there = ir.Compare(ir.Var("k"), "<", ir.Const(n))
    return grid.points(conjunction(there, disjunction(*seen)), n, size, rows, {"k": grid.Side(chunks.firsts, size)})
