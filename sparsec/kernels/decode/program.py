"""What a decoding step goes over: the regions of each distinct condition, and how many tiles rows visit of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.lists.tables import Source
from sparsec.kernels.program.program import Answers, Gathered, cdiv, count_gathered


class StepRegion(NamedTuple):
    """A disjoint part of the pattern as rows see it, any number of them side by side."""

    answers: Answers  # keep, keys and score
    visit: Callable[..., list[tuple[int, int]]]  # (q_lo, q_hi, n) -> half-open ranges of keys
    stride: int = 1  # keys of a row's residue class
    gathered: Gathered | None = None
    exact: bool = False  # a row sees all that it visits
    tables: tuple[tuple[int, Source], ...] = ()  # that `keep` reads, with their numbers
    numbers: tuple[int, ...] = ()

    def length(self, n: int, residue: int) -> int:
        """How many places there are, of a residue class."""
        return count_gathered(n, self.gathered) if self.gathered else len(range(residue, n, self.stride))

    def ranges(self, q_lo: int, q_hi: int, n: int, residue: int) -> list[tuple[int, int]]:
        """Half-open ranges of places that rows of a residue class visit, in rising order, each place once."""
        more = (*((residue,) if self.stride > 1 else ()), *((self.numbers,) if self.numbers else ()))
        found, done, length = [], 0, self.length(n, residue)
        for first, stop in sorted(self.visit(q_lo, q_hi, n, *more)):
            first, stop = max(first, done), min(stop, length)
            if first < stop:
                found.append((first, stop))
                done = stop
        return found

    def keys_seen(self, n: int) -> list[slice | Tensor]:
        """The keys that the last of n rows visits: slices of positions, or positions where they are gathered."""
        q, residue = divmod(n - 1, self.stride)
        places, step = self.ranges(q, q, n, residue), self.stride
        if self.gathered:
            period, first, width = self.gathered
            own = [torch.arange(begin, stop) for begin, stop in places]
            return [place // width * period + first + place % width for place in own]
        return [slice(residue + first * step, residue + (stop - 1) * step + 1, step) for first, stop in places]

    def tiles(self, n: int, rows: int, block: int) -> int:
        """How many tiles of `block` places the last `rows` of n rows visit."""
        found = 0
        for back in range(min(self.stride, rows, n)):
            last, residue = divmod(n - 1 - back, self.stride)
            first = max(max(n - rows, 0) - residue + self.stride - 1, 0) // self.stride
            done = 0
            for begin, stop in self.ranges(first, last, n, residue):
                begin, stop = max(begin // block, done), cdiv(stop, block)
                found += max(stop - begin, 0)
                done = max(stop, done)
        return found


class StepGroup(NamedTuple):
    """The query heads that share a condition."""

    heads: tuple[int, ...] | None  # None: all
    regions: tuple[StepRegion, ...]

    def tiles(self, n: int, rows: int, block: int) -> int:
        """How many tiles the last `rows` of n rows visit in all regions."""
        return sum(region.tiles(n, rows, block) for region in self.regions)

    def most_tiles(self, capacity: int, rows: int, block: int) -> int:
        """About as many as any length up to `capacity` needs: blocks are fullest at their ends."""
        lengths = {max(capacity >> shift, 1) - less for shift in range(12) for less in (0, 1)}
        return max(self.tiles(n, rows, block) for n in lengths if n > 0) if capacity else 0


@dataclass(eq=False)
class Steps:
    """The decoding steps of a compiled pattern."""

    groups: tuple[StepGroup, ...]
    most_positions: int  # positions and lengths stay below it
    compiled: dict = field(default_factory=dict)  # kernels that Triton compiled, by what decides their code
    passes: dict = field(default_factory=dict)  # prepared passes, by what decides their launches

    @property
    def drawn_anew(self) -> bool:
        """Whether some table is another one at every length, so that steps are no rows of one attention."""
        tables = (table for group in self.groups for region in group.regions for _, table in region.tables)
        return any(not table.same_at_every_length for table in tables)
