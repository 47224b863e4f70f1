"""How much room lists that are made in a call take: bounds of their lines that hold for all data.

Of the pairs that a condition keeps, some no list of the call names (`Region.beside_choices`): ranges say which tiles
these touch.  All others lie in blocks that lists name, so in as many tiles as there are entries in lists, times those
of a block.  The sum of both grows with the length and with the lists, where ranges of all pairs may grow with its
square.  How entries fall on tiles of queries is known: each has as many lists as it has blocks of queries.  How they
fall on tiles of keys only the device knows, where every query may have chosen the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.program.program import Region, cdiv


class ListedTiles(NamedTuple):
    """The tiles that lists of a kernel name, and whose lines they have."""

    by_query: bool  # lines are those of tiles of queries; else of keys
    lines: int
    queries: int  # of a tile
    keys: int
    n_q: int
    n: int
    q_offset: int

    @property
    def own(self) -> int:
        """Positions of a tile that has a line."""
        return self.queries if self.by_query else self.keys

    @property
    def other(self) -> int:
        """Positions of a tile that lines name."""
        return self.keys if self.by_query else self.queries


class OwnLists(NamedTuple):
    """Lists of one input: each names so many blocks of `size` keys for a block of `rows` queries.

    Kernels that make lists ask for what some lists `together` name, in keys of some blocks together.
    """

    rows: int
    size: int
    lists: int  # of one row of the batch and one head
    listed: int
    together: int = 1
    blocks: int = 1

    def named_by(self, queries: int, keys: int) -> int:
        """The most tiles of so many keys that are named for a tile of queries."""
        together = self.together * blocks_met(queries, self.together * self.rows)
        return together * self.listed * blocks_met(self.blocks * self.size, keys)

    def naming(self, queries: int, keys: int) -> int:
        """The most tiles of queries that name some tile of keys, of all tiles of keys together."""
        tiles = blocks_met(self.together * self.rows, queries) * blocks_met(self.blocks * self.size, keys)
        return self.lists * self.listed * tiles


class Rooms(NamedTuple):
    """Room for the entries of all lines of one row of the batch and one head."""

    lines: Tensor | None  # int64 [lines]: the most entries of each; None: only the device knows how they share it
    most: int  # of a line
    entries: int  # of all
    most_entries: int  # by ranges alone
    beside: Tensor | None  # int32 [lines, ranges, 2]: tiles without which lines have what lists name; None: by ranges

    def starts(self, copies: int, device: torch.device) -> Tensor | None:
        """Where lines begin, and where the last one ends, of so many rows and heads: int64 [copies * lines + 1]."""
        if self.lines is None:
            return None
        return torch.cat([self.lines.new_zeros(1), self.lines.repeat(copies).cumsum(0)]).to(device)


def rooms_of(region: Region, tiles: ListedTiles, own: Sequence[OwnLists], named: Tensor | None, heads: int) -> Rooms:
    """The room that lines need whatever the data.

    `named`: how many tiles tables name besides, of each line.  Entries tell so many `heads` apart.
    """
    visited = region.keys if tiles.by_query else region.queries
    assert visited is not None
    most = _most_of_lines(_ranges_of_lines(visited, region.more, tiles), tiles, named) * heads
    by_ranges = Rooms(most, int(most.max()), int(most.sum()), int(most.sum()), None)
    # Ranges beside lists lack what tables keep, and of that a walk names only what its own ranges lack.
    if region.beside_choices is None or region.tables:
        return by_ranges
    beside = _ranges_of_lines(region.beside_choices[0 if tiles.by_query else 1], region.more, tiles)
    fewer = _most_of_lines(beside, tiles, named) * heads
    if tiles.by_query:
        lines = torch.minimum(most, fewer + sum(each.named_by(tiles.queries, tiles.keys) for each in own))
        found = by_ranges._replace(lines=lines, most=int(lines.max()), entries=int(lines.sum()))
    else:
        entries = int(fewer.sum()) + heads * sum(each.naming(tiles.queries, tiles.keys) for each in own)
        found = by_ranges._replace(lines=None, entries=entries)
    return found._replace(beside=beside) if found.entries < by_ranges.entries else by_ranges


def blocks_met(length: int, block: int) -> int:
    """How many aligned blocks an aligned piece meets at most."""
    if block % length == 0:
        return 1
    return length // block if length % block == 0 else (length - 2) // block + 2


def _ranges_of_lines(visited: Callable[..., list], more: tuple, tiles: ListedTiles) -> Tensor:
    """Ranges of tiles that each line visits, half open: int32 [lines, ranges, 2]."""
    first = torch.arange(tiles.lines) * tiles.own + (tiles.q_offset if tiles.by_query else 0)
    shift, length = (0, tiles.n) if tiles.by_query else (tiles.q_offset, tiles.n_q)
    lengths = (tiles.n,) if tiles.by_query else (tiles.n, tiles.q_offset + tiles.n_q)
    found = torch.zeros(tiles.lines, 0, 2, dtype=torch.int64)
    for ends in visited(first, first + tiles.own - 1, *lengths, *more):
        begin, stop = (torch.as_tensor(x).expand(tiles.lines).sub(shift).clamp(0, length) for x in ends)
        some = begin < stop
        begin, stop = begin // tiles.other, (stop + tiles.other - 1) // tiles.other
        own = torch.stack([torch.where(some, begin, 0), torch.where(some, stop, 0)], -1)
        found = torch.cat([found, own[:, None]], 1)
    return found.int()


def _most_of_lines(ranges: Tensor, tiles: ListedTiles, named: Tensor | None) -> Tensor:
    """The most tiles that each line has: int64 [lines]."""
    most = (ranges[..., 1] - ranges[..., 0]).sum(1, dtype=torch.int64)
    if named is not None:
        most[: len(named)] += named
    return most.clamp_(max=cdiv(tiles.n if tiles.by_query else tiles.n_q, tiles.other))
