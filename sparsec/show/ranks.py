"""Who needs what of a sequence cut over ranks: which keys are a rank's own, and how many each gets from which other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir.algebra import complement, conjunction, disjunction

MOST_RANKS = 16  # more would not be read
BYTES_OF_KEY = 2 * 2 * 128  # of a key and its value in 16 bits, of size 128
OWN, AWAY = "own keys", "keys of other ranks"

Segment = tuple[int, int]  # positions first..stop-1


@dataclass(frozen=True)
class OverRanks:
    """A pattern over ranks: `shares` are the segments that each holds.

    `traffic`, int64 [ranks, ranks], are the keys that rank i gets from rank j, of one head, or of all `heads` of a
    pattern by head, forward; backward, as many gradients go the other way.  `exact`: none travels that is not needed.
    """

    layout: str
    shares: tuple[tuple[Segment, ...], ...]
    traffic: np.ndarray
    exact: bool
    heads: int | None

    def bands(self, span: Segment) -> list[tuple[Segment, int]]:
        """The segments within some positions, rising, each with its rank."""
        cut = (
            ((max(first, span[0]), min(stop, span[1])), rank)
            for rank, segments in enumerate(self.shares)
            for first, stop in segments
        )
        return sorted((segment, rank) for segment, rank in cut if segment[0] < segment[1])

    @property
    def words(self) -> list[str]:
        """What the numbers are, a line each."""
        of = f"of all {self.heads} heads" if self.heads else "of one head"
        bound = "" if self.exact else ", at most"
        total = int(self.traffic.sum())
        return [
            f"{len(self.shares)} ranks, {self.layout}: keys and values {of} that a rank (down) gets from others{bound}",
            f"{total:,} in all, {total * BYTES_OF_KEY:,} bytes in 16 bits, head size 128; backward, gradients return",
        ]

    def table(self) -> Iterator[str]:
        """The traffic as text, a line for each rank."""
        ranks = range(len(self.shares))
        cells = [["", *(f"from {rank}" for rank in ranks), "in all"]]
        for rank in ranks:
            row = [f"{count:,}" if count else "." for count in self.traffic[rank]]
            cells.append([f"rank {rank}", *row, f"{self.traffic[rank].sum():,}"])
        wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            yield "  ".join(f"{cell:>{size}}" for cell, size in zip(line, wide, strict=True)).rstrip()


def over_ranks(pattern: ir.Pattern, n: int, count: int, layout: str) -> OverRanks:
    """A pattern at n keys over ranks; `layout` as of `sparsec.distributed.shard`.  Uncounted for "balanced"."""
    from sparsec.analysis.any_data import for_any_data
    from sparsec.analysis.sharding import Shards, chosen_layout, split
    from sparsec.ir.approximate import bounded

    layout = chosen_layout(pattern, n, count) if layout == "auto" else layout
    shards = Shards(for_any_data(pattern), (0, n), split(layout, n, count, bounded(pattern)))
    heads = [(number,) for number in pattern.head_conditions] or [(0,)]
    return OverRanks(layout, shards.shares, shards.traffic(heads), shards.exact() and not pattern.inputs, pattern.heads)


def divided(condition: ir.Set, over: OverRanks) -> list[tuple[str, ir.Set]]:
    """A condition as pairs of a rank's queries with its own keys, and with those of others."""
    same = disjunction(*(_both_in(segments) for segments in over.shares))
    return [(OWN, conjunction(condition, same)), (AWAY, conjunction(condition, complement(same)))]


def _both_in(segments: tuple[Segment, ...]) -> ir.Set:
    return conjunction(*(disjunction(*(_inside(name, *segment) for segment in segments)) for name in ("q", "k")))


def _inside(name: str, first: int, stop: int) -> ir.Set:
    least, most = (ir.Compare(ir.Const(first), "<=", ir.Var(name)), ir.Compare(ir.Var(name), "<", ir.Const(stop)))
    return conjunction(least, most)
