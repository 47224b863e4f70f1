"""Tables of a pattern (block lists, random choices), and the lists of tiles and of pairs that kernels read for them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.lists.boxes import Span, Verdict
from sparsec.kernels.lists.tile_kinds import Integers, KeptPairs, device_of, integers_of, kept_by
from sparsec.kernels.program.program import WHOLE_ROWS, Region

_AT_ONCE = 1 << 22  # entries of a table that are drawn together


class Table(NamedTuple):
    """Row first + i lists the key blocks entries[starts[i] : starts[i + 1]], rising; other rows list nothing."""

    first: int
    starts: Tensor  # int64 [rows + 1]
    entries: Tensor  # int32

    def rows(self) -> Tensor:
        """The row of each entry, int64."""
        lengths = self.starts.diff()
        row = torch.arange(self.first, self.first + len(lengths), device=lengths.device)
        return row.repeat_interleave(lengths, output_size=len(self.entries))

    def cut(self, first: int, stop: int) -> Table:
        """Rows first..stop - 1, of those that are there."""
        first, stop = (min(max(edge - self.first, 0), len(self.starts) - 1) for edge in (first, stop))
        starts = self.starts[first : stop + 1]
        return Table(self.first + first, starts - starts[0], self.entries[int(starts[0]) : int(starts[-1])])


class Blocks:
    """Key blocks of `size` that each block of `size` queries may attend to: rows[i] lists those of block i, rising."""

    def __init__(self, size: int, rows: Sequence[Sequence[int]]) -> None:
        self.size, self.listed, self.same_at_every_length = size, rows, True  # a row does not depend on n
        self.width = max(map(len, rows), default=0)  # the most entries of a row
        self._cut = functools.lru_cache(maxsize=8)(self._cut_anew)

    def rows(self, n: int, first: int, stop: int | None, device: torch.device) -> Table:
        """Rows first..stop - 1 at n, of those that there are."""
        stop = len(self.listed) if stop is None else min(stop, len(self.listed))
        return self._cut(min(first, stop), stop, device)

    def _cut_anew(self, first: int, stop: int, device: torch.device) -> Table:
        rows = self.listed[first:stop]
        starts = torch.tensor([0, *itertools.accumulate(map(len, rows))], device=device)
        return Table(first, starts, torch.tensor([*itertools.chain(*rows)], dtype=torch.int32, device=device))


class RandomBlocks:
    """`count` key blocks of `size` at random for each block of `size` queries; `earlier`: none later than it."""

    def __init__(self, size: int, count: int, seed: int, earlier: bool = False) -> None:
        self.size, self.width, self.seed, self.earlier = size, count, seed, earlier
        self.same_at_every_length = earlier  # else a row is drawn from all blocks that there are

    def rows(self, n: int, first: int, stop: int | None, device: torch.device) -> Table:
        """Rows first..stop - 1 at n, of those that there are."""
        blocks = -(-n // self.size)
        stop = blocks if stop is None else min(stop, blocks)
        return draw_rows(self.width, self.seed, min(first, stop), stop, None if self.earlier else blocks, device)


class RandomKeys(RandomBlocks):
    """`count` keys at random for each query."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(1, count, seed)


Source = Blocks | RandomBlocks


def rows_of_queries(source: Source, q_lo: int, q_hi: int, n: int, device: torch.device) -> Table:
    """What queries q_lo..q_hi see by a table."""
    return source.rows(n, q_lo // source.size, q_hi // source.size + 1, device)


@functools.lru_cache(maxsize=64)
def draw_rows(count: int, seed: int, first: int, stop: int, below: int | None, device: torch.device) -> Table:
    """Row i holds min(count, m) distinct numbers below m: m is `below`, or, where that is None, i + 1.

    Floyd's algorithm (Bentley & Floyd, CACM 1987) over a counter-based hash of (seed, row, step), in 32 bits.
    """
    width = min(count, stop if below is None else below)
    row = torch.arange(first, stop, device=device)
    most = row + 1 if below is None else torch.full_like(row, below)
    taken = most.clamp(max=count)
    starts = torch.zeros(len(row) + 1, dtype=torch.int64, device=device)
    starts[1:] = taken.cumsum(0)
    some = zip(*(x[:, None].split(max(1, _AT_ONCE // max(width, 1))) for x in (row, most, taken)), strict=True)
    return Table(first, starts, torch.cat([_floyd(seed, lines[0], lines[1], lines[2], width) for lines in some]))


def random_bits(seed: int, row: Tensor, counter: Tensor) -> Tensor:
    """int64, in [0, 2**32), broadcast from row and counter: integers that depend on these and the seed alone."""
    start = _mixed(_mixed(seed + 0x9E3779B9 & 0xFFFFFFFF) + row & 0xFFFFFFFF)
    return _mixed(start + counter & 0xFFFFFFFF)


def _mixed(x: Any) -> Any:
    """An integer, or a tensor of them."""
    x = (x ^ x >> 16) * 0x21F0AAAD & 0xFFFFFFFF
    x = (x ^ x >> 15) * 0x735A2D97 & 0xFFFFFFFF
    return x ^ x >> 15


def _floyd(seed: int, row: Tensor, below: Tensor, taken: Tensor, width: int) -> Tensor:
    """int32: `taken` numbers of each row, rising.  All are drawn at once.

    Step c draws t from 0..j with j = below - taken + c, and falls back to j where t is taken: where an earlier step
    drew it, or fell back to it.  The latter is a chain of steps, followed in leaps that double.
    """

    step = torch.arange(width, device=row.device)
    last = below - taken + step
    drawn = random_bits(seed, row, step) * (last + 1) >> 32
    beyond = 1 << 31  # of the steps that a short row does not take
    drawn = torch.where(step < taken, drawn, beyond)
    ordered, order = drawn.sort(dim=1, stable=True)
    falls_back = torch.zeros_like(drawn, dtype=torch.bool)
    falls_back.scatter_(1, order[:, 1:], ordered[:, 1:] == ordered[:, :-1])
    earlier = drawn - (below - taken)  # the step whose j was drawn
    earlier = torch.where((earlier >= 0) & (earlier < step), earlier, step)
    for _ in range((width - 1).bit_length()):
        falls_back = falls_back | falls_back.gather(1, earlier)
        earlier = earlier.gather(1, earlier)
    chosen = torch.where(step < taken, torch.where(falls_back, last, drawn), beyond).sort(1).values
    return chosen[step < taken].to(torch.int32)


def in_listed_row(
    table: Table, row: Tensor | Span | Integers, column: Tensor | Span | Integers
) -> Tensor | Verdict | KeptPairs:
    """Whether blocks of keys stand in rows of the table: bool, broadcast from row [.., queries, 1] and column.

    Of boxes it says that the table lists nothing: who asks about them finds what tables name on his own.
    """
    if isinstance(row, Integers) or isinstance(column, Integers):  # each block of each row may be listed or not
        device = device_of(row, column)
        row, column = integers_of(row, device), integers_of(column, device)
        some = torch.ones_like(row.base, dtype=torch.bool)
        return kept_by(Verdict(some, ~some), id(table), row.whole_key, column.whole_key)
    if isinstance(row, Span) or isinstance(column, Span):
        return Verdict(torch.tensor(False), torch.tensor(False))
    if row.dim() == 2 and column.shape[0] == 1:
        return _listed_among(table, row[:, 0], column[0])
    columns = int(column.max()) + 1 if column.numel() else 0
    if (len(table.starts) - 1) * columns <= min(_AT_ONCE, column.numel() * row.numel()):
        return _looked_up(table, row, column, columns)
    codes = table.rows() << 31 | table.entries
    wanted = row << 31 | column
    if not len(codes):
        return wanted < 0
    return codes[torch.searchsorted(codes, wanted).clamp(max=len(codes) - 1)] == wanted


def _looked_up(table: Table, row: Tensor, column: Tensor, columns: int) -> Tensor:
    """Bool, broadcast from row and column, each column below `columns`: from a mask of all rows of a small table."""
    rows = len(table.starts) - 1
    listed = torch.zeros(rows + 1, columns, dtype=torch.bool, device=column.device)  # the last for rows without entries
    there = table.entries < columns
    listed[table.rows()[there] - table.first, table.entries[there].long()] = True
    place = row - table.first
    return listed[torch.where((place >= 0) & (place < rows), place, rows), column]


def _listed_among(table: Table, row: Tensor, column: Tensor) -> Tensor:
    """Bool [queries, keys], from row [queries], rising, and column [keys]: in proportion to what the rows list."""
    columns, place = column.unique(return_inverse=True)
    first, stop = int(row[0]), int(row[-1]) + 1
    table = table.cut(first, stop)
    found = torch.searchsorted(columns, table.entries.to(columns.dtype)).clamp(max=len(columns) - 1)
    there = columns[found] == table.entries
    seen = torch.zeros(stop - first, len(columns), dtype=torch.bool, device=column.device)
    seen[table.rows()[there] - first, found[there]] = True
    return seen[row - first][:, place]


# ---------------------------------------------------------------- lists that kernels read


@functools.lru_cache(maxsize=32)
def tiles_beside_ranges(
    region: Region, side: str, n_q: int, n: int, q_offset: int, block_m: int, block_n: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What tables name for each tile of queries ("rows") or keys ("columns"), without what the region's ranges visit.

    int32 starts [tiles + 1] and, tile after tile, 2 * tile of the other side + whether a table has all of its pairs.
    """
    rows = side == "rows"
    sources = region.rows_tables if rows else region.columns_tables
    (line, other), full = named_tiles(sources, side, n_q, n, q_offset, block_m, block_n, device)
    lines = -(-n_q // block_m) if rows else -(-n // block_n)
    own, block, length, shift = (block_m, block_n, n, 0) if rows else (block_n, block_m, n_q, q_offset)
    lo = torch.arange(lines) * own + (q_offset if rows else 0)
    edges = lo, lo + own - 1, n
    ranges = region.keys if rows else region.queries
    assert ranges is not None
    more = () if rows else (q_offset + n_q,)
    for ends in ranges(*edges, *more, *region.more):
        first, stop = (torch.as_tensor(end).expand(lines).to(device)[line] - shift for end in ends)
        stop = stop.clamp(max=length)
        keep = (first >= stop) | (other < first // block) | (other >= (stop + block - 1) // block)
        line, other, full = line[keep], other[keep], full[keep]
    starts = torch.zeros(lines + 1, dtype=torch.int64, device=device)
    starts[1:] = torch.bincount(line, minlength=lines).cumsum(0)
    return starts.to(torch.int32), (2 * other + full).to(torch.int32)


def named_tiles(
    sources: Sequence[Source],
    side: str,
    n_q: int,
    n: int,
    q_offset: int,
    block_m: int,
    block_n: int,
    device: torch.device,
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Tiles that hold a pair of some tables, each once: (tiles of the side, of the other), whether a table has all."""
    rows = side == "rows"
    others = -(-n // block_n) if rows else -(-n_q // block_m)
    codes = torch.zeros(0, dtype=torch.int64, device=device)
    full = torch.zeros(0, dtype=torch.bool, device=device)
    for source in sources:
        table = rows_of_queries(source, q_offset, q_offset + n_q - 1, n, device)
        row, entry = table.rows(), table.entries.to(torch.int64)
        there = entry * source.size < n
        (tile_m, queries), (tile_n, keys) = (
            _tiles_of(row[there], source.size, q_offset, n_q, block_m),
            _tiles_of(entry[there], source.size, 0, n, block_n),
        )
        tile_m, tile_n, pairs = tile_m[:, :, None], tile_n[:, None, :], queries[:, :, None] * keys[:, None, :]
        line, other = (tile_m, tile_n) if rows else (tile_n, tile_m)
        named, place = (line * others + other)[pairs > 0].unique(return_inverse=True)
        covered = torch.zeros_like(named).index_add_(0, place, pairs[pairs > 0])
        codes, place = torch.cat([codes, named]).unique(return_inverse=True)
        full = torch.zeros_like(codes).index_add_(0, place, torch.cat([full, covered == block_m * block_n]).long()) > 0
    return (codes // max(others, 1), codes % max(others, 1)), full


def _tiles_of(block: Tensor, size: int, offset: int, length: int, tile: int) -> tuple[Tensor, Tensor]:
    """Tiles of the sequence from `offset` on that blocks of `size` positions meet, and in how many: [entries, m]."""
    first, stop = (block * size - offset).clamp(min=0), (block * size + size - offset).clamp(max=length)
    most = min((size - 1) // tile, length // tile) + 2
    tiles = (first // tile)[:, None] + torch.arange(most, device=block.device)
    begin = torch.maximum(first[:, None], tiles * tile)
    return tiles, (torch.minimum(stop[:, None], (tiles + 1) * tile) - begin).clamp(min=0)


def _pairs(
    region: Region, sources: Sequence[Source], n_q: int, n: int, q_offset: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The kept pairs of a region that tables name, each once: rows of Q and keys, int64 [pairs]."""
    codes = [torch.zeros(0, dtype=torch.int64, device=device)]
    edges = q_offset, q_offset + n_q - 1, n, device
    for size, table in ((source.size, rows_of_queries(source, *edges)) for source in sources):
        within = torch.arange(size, device=device)
        keys = table.entries[:, None, None].to(torch.int64) * size + within
        rows = table.rows()[:, None, None] * size + within[:, None] - q_offset
        rows, keys = (x.flatten() for x in torch.broadcast_tensors(rows, keys))
        codes.append((rows * n + keys)[(rows >= 0) & (rows < n_q) & (keys < n)])
    code = torch.cat(codes).unique()
    tables = [rows_of_queries(source, *edges) for _, source in region.tables]
    more = (*tables, *region.more)
    parts = [(some[:, None] // n + q_offset, some[:, None] % n) for some in code.split(1 << 20)]
    code = code[torch.cat([region.keep(q, k, n, *more)[:, 0] for q, k in parts])]
    return code // n, code % n


@functools.lru_cache(maxsize=32)
def pair_lists(
    region: Region, side: str, n_q: int, n: int, q_offset: int, block: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """For tiles of `block` queries ("rows") or keys ("columns"), what their pairs have on the other side.

    int32 starts [tiles + 1]; tile after tile, int32 positions, rising, and int64 words for them: bit i says that row i
    of the tile has a pair with the position.
    """
    if side == "rows":
        own, other = _pairs(region, region.rows_tables, n_q, n, q_offset, device)
        tiles, others = -(-n_q // WHOLE_ROWS) * WHOLE_ROWS // block, n
    else:
        other, own = _pairs(region, region.columns_tables, n_q, n, q_offset, device)
        tiles, others = -(-n // block), n_q
    place, pair = (own // block * others + other).unique(return_inverse=True)
    seen = torch.zeros_like(place).index_add_(0, pair, torch.ones_like(own) << own % block)  # no bit comes twice
    starts = torch.zeros(tiles + 1, dtype=torch.int64, device=device)
    starts[1:] = torch.bincount(place // others, minlength=tiles).cumsum(0)
    return starts.to(torch.int32), (place % others).to(torch.int32), seen
