"""The tiles of keys that tiles of queries visit on a CPU, for all of them at once, with masks of bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.cpu.order import Order
from sparsec.kernels.lists.tables import Source, Table, pair_lists, rows_of_queries, tiles_beside_ranges
from sparsec.kernels.lists.tile_kinds import alike
from sparsec.kernels.lists.tile_lists import TileList, tile_list, unpacked_tiles
from sparsec.kernels.program.input_entries import Entries

_VISITS = 1 << 14  # tiles whose visits are held together
_PAIRS = 1 << 21  # whose masks are evaluated together
_ENTRIES = 1 << 24  # of a table that are read together

EVERY_PAIR, NO_PAIR = 0, 1  # masks that are always there


class Visits(NamedTuple):
    """The visits of query tiles, tile after tile: each pair of a tile is in one visit, and each visit has a pair."""

    row: Tensor  # int64 [visits], rising: tiles of queries
    key: Tensor  # int64 [visits]: tiles of keys, rising for each tile of queries
    mask: Tensor  # int64 [visits]: lines of the three below
    words: Tensor  # int64 [masks, block]: bit i of a word says that query i of the tile keeps the key
    seen: Tensor  # bool [masks, tile]: the query keeps a key
    pairs: Tensor  # int64 [masks]: how many are kept
    listed: Tensor | None = None  # int64 [key tiles * block]: positions of keys, n where there is none; else by Order


def visits_of(order: Order, first: int, stop: int, entries: Sequence[Entries] = ()) -> Visits:
    """What the query tiles first..stop - 1 visit, found anew; `entries` are the inputs of one row and head."""
    region = order.region
    if region.listed:
        return _listed_pairs(order, first, stop)
    if "rows" in region.tile_lists:
        return _listed_tiles(order, first, stop)
    row, key, full = _tiles_of_ranges(order, first, stop)
    if region.rows_tables:
        more_row, more_key = _tiles_of_tables(order, first, stop)
        row, key, full = torch.cat([row, more_row]), torch.cat([key, more_key]), torch.cat([full, more_row < 0])
        rising = (row * (order.k_tiles * region.stride) + key).argsort()
        row, key, full = row[rising], key[rising], full[rising]
    tables = _tables(order, row) if len(row) else []

    def kept(some: Tensor) -> Tensor:
        queries, keys = order.queries(row[some])[:, :, None], order.keys(key[some])[:, None, :]
        pairs = region.keep(queries + order.q_offset, keys, order.n, *tables, *region.read(entries), *region.more)
        return pairs & (queries < order.n_q) & (keys < order.n)

    return _masked(order, row, key, full, kept)


@lru_cache(maxsize=32)
def parts_of(order: Order) -> tuple[tuple[int, int], ...]:
    """Query tiles first..stop - 1 whose visits are held together, for all query tiles of a region."""
    region, n = order.region, order.n
    tiles = torch.arange(order.classes * order.q_tiles)
    visits = sum((stop - first for first, stop in _ranges(order, tiles)), torch.zeros_like(tiles))
    if "rows" in region.tile_lists:
        visits = _list_of(order).starts.diff()[_listed_lines(order, tiles)]
    if region.rows_tables:
        visits = visits + sum(min(source.width, order.k_tiles) for source in region.rows_tables)
    entries = sum(min(source.width, n) / source.size for _, source in region.tables) * order.tile
    total = torch.maximum(visits / _VISITS, visits.new_tensor(entries / _ENTRIES, dtype=torch.float64)).cumsum(0)
    edges = [0, *(total.floor().diff().nonzero()[:, 0] + 1).tolist(), len(tiles)]
    return tuple(pairwise(edges))


# ---------------------------------------------------------------- sources of tiles


def _ranges(order: Order, tiles: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Half-open ranges of key tiles, within their class, that query tiles visit by the bounds of the region."""
    q_lo, residue = _first_queries(order, tiles)
    length = order.k_tiles * order.block
    more = (residue,) if order.region.stride > 1 else ()
    found = []
    for ends in order.region.keys(q_lo, q_lo + order.tile - 1, order.n, *more, *order.region.more):
        first, stop = (torch.as_tensor(end).expand(len(tiles)).clamp(0, length) for end in ends)
        first = first // order.block
        found.append((first, torch.maximum(-(-stop // order.block), first).where(stop > first * order.block, first)))
    return found


def _first_queries(order: Order, tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Of query tiles: the place of the first query in its class, and the residue of the class."""
    stride = order.region.stride
    position = order.q_offset + tiles // order.q_tiles
    return position // stride + tiles % order.q_tiles * order.tile, position % stride


def _tiles_of_ranges(order: Order, first: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
    """The visits that the bounds of a region name: query tiles, key tiles, and whether every pair is kept."""
    tiles = torch.arange(first, stop)
    ranges = _ranges(order, tiles)
    codes = [torch.zeros(0, dtype=torch.int64)]
    for begin, end in ranges:
        counts = end - begin
        line = torch.arange(len(tiles)).repeat_interleave(counts)
        within = torch.arange(len(line)) - (counts.cumsum(0) - counts)[line]
        codes.append(line * order.k_tiles + begin[line] + within)
    code = torch.cat(codes)
    code = code if len(ranges) == 1 else code.unique()
    row, place = tiles[code // order.k_tiles], code % order.k_tiles
    q_lo, residue = _first_queries(order, row)
    k_lo = place * order.block
    more = (residue,) if order.region.stride > 1 else ()
    edges = q_lo, q_lo + order.tile - 1, k_lo, k_lo + order.block - 1
    full = torch.as_tensor(order.region.full(*edges, order.n, *more, *order.region.more))
    key = residue * order.k_tiles + place
    last_query, last_key = order.queries(row)[:, -1], order.keys(key)[:, -1]
    return row, key, full & (last_query < order.n_q) & (last_key < order.n)


def _tiles_of_tables(order: Order, first: int, stop: int) -> tuple[Tensor, Tensor]:
    """The visits that tables name besides the bounds: query tiles and key tiles."""
    rows, device = order.q_tiles * order.tile, torch.device("cpu")
    sizes = order.tile, order.block
    starts, named = tiles_beside_ranges(order.region, "rows", rows, order.n, order.q_offset, *sizes, device)
    counts = starts.diff()[first:stop]
    some = named[int(starts[first]) : int(starts[stop])]
    return torch.arange(first, stop).repeat_interleave(counts), some.long() // 2


def _listed_pairs(order: Order, first: int, stop: int) -> Visits:
    """The visits of a region whose pairs are listed one by one: tiles of keys that stand anywhere."""
    lists = pair_lists(order.region, "rows", order.n_q, order.n, order.q_offset, order.tile, torch.device("cpu"))
    starts, keys, words = lists
    begin = starts[first : stop + 1].long()
    counts, block = begin.diff(), order.block
    blocks = -(-counts // block)
    line = torch.arange(stop - first).repeat_interleave(counts)
    place = torch.arange(len(line)) + int(begin[0]) - begin[line] + ((blocks.cumsum(0) - blocks) * block)[line]
    total = int(blocks.sum())
    listed = torch.full((total * block,), order.n)
    listed[place] = keys[int(begin[0]) : int(begin[-1])].long()
    bits = torch.zeros(total * block, dtype=torch.int64)
    bits[place] = words[int(begin[0]) : int(begin[-1])]
    key = torch.arange(total)
    bits = torch.cat([_both(block), bits.view(total, block)])
    kept = unpacked(bits, order.tile)
    row = torch.arange(first, stop).repeat_interleave(blocks)
    return Visits(row, key, key + 2, bits, kept.any(2), kept.sum((1, 2)), listed)


def _listed_tiles(order: Order, first: int, stop: int) -> Visits:
    """The visits of a region whose tiles are listed for a length, with their masks."""
    found, own = _list_of(order), torch.arange(first, stop)
    line = _listed_lines(order, own)
    begin, counts = found.starts[line].long(), found.starts.diff()[line].long()
    row, place = own.repeat_interleave(counts), (line % order.region.stride * order.k_tiles).repeat_interleave(counts)
    entries = torch.arange(len(row)) + (begin + counts - counts.cumsum(0)).repeat_interleave(counts)
    tiles = found.tiles[entries].long()
    rising = (row * order.k_tiles + tiles // 2).argsort()
    key, whole, entries = (tiles // 2 + place)[rising], tiles[rising] % 2 == 1, entries[rising]

    def kept(some: Tensor) -> Tensor:
        listed = unpacked_tiles(found, entries[some])[:, :, : order.block]
        return (listed | whole[some, None, None]) & (order.queries(row[some]) < order.n_q)[:, :, None]

    inside = order.queries(row)[:, -1] < order.n_q
    alone = len(found.bits) + torch.arange(len(row))  # queries that are not there are in no mask of a list
    return _masked(order, row, key, whole & inside, kept, torch.where(inside, found.masks[entries], alone))


def _listed_lines(order: Order, tiles: Tensor) -> Tensor:
    """Of query tiles the lines of a list of tiles."""
    stride = order.region.stride
    return tiles % order.q_tiles * stride + (order.q_offset + tiles // order.q_tiles) % stride


def _list_of(order: Order) -> TileList:
    lengths = order.n_q, order.n, order.q_offset
    return tile_list(order.region, "rows", *lengths, order.tile, order.block, torch.device("cpu"))


# ---------------------------------------------------------------- masks


def _masked(
    order: Order, row: Tensor, key: Tensor, full: Tensor, kept: Callable[[Tensor], Tensor], codes: Tensor | None = None
) -> Visits:
    """Visits with their masks: those that turn out to have no pair are left out, those that have all are full.

    `kept` says of some visits, by number, which pairs are kept: bool [visits, tile, block].  Of visits with equal codes
    it is asked once.
    """
    partial = (~full).nonzero()[:, 0]
    code, first = alike(torch.arange(len(partial)) if codes is None else codes[partial])
    words, pairs = [_both(order.block)], [torch.tensor([order.tile * order.block, 0])]
    for some in partial[first].split(max(1, _PAIRS // (order.tile * order.block))) if len(partial) else ():
        mask = kept(some)
        words.append(_packed_bits(mask))
        pairs.append(mask.sum((1, 2)))
    found = torch.cat(pairs)
    words, mask, first = _distinct_words(torch.cat(words), found == found[0])
    mask = torch.full_like(row, EVERY_PAIR).index_put_((partial,), mask[2:][code])
    there = found[first][mask] > 0
    seen = unpacked(words, order.tile).any(2)
    return Visits(row[there], key[there], mask[there], words, seen, found[first])


def _tables(order: Order, row: Tensor) -> list[Table]:
    """What the mask of a region reads, for tiles of queries."""
    queries = order.queries(torch.stack([row.min(), row.max()]))
    edges = (0, order.n_q - 1) if order.region.stride > 1 else (int(queries[0, 0]), int(queries[1, -1]))
    q_lo, q_hi = (order.q_offset + edge for edge in edges)
    return read_tables([source for _, source in order.region.tables], q_lo, q_hi, order.n)


def read_tables(sources: Sequence[Source], q_lo: int, q_hi: int, n: int) -> list[Table]:
    """The rows of tables that queries q_lo..q_hi see."""
    return [rows_of_queries(source, q_lo, q_hi, n, torch.device("cpu")) for source in sources]


def _both(block: int) -> Tensor:
    """The words of EVERY_PAIR and NO_PAIR."""
    return torch.tensor([-1, 0])[:, None].expand(2, block)


def _packed_bits(kept: Tensor) -> Tensor:
    """bool [masks, tile, block] -> words [masks, block]."""
    return (kept.long() << torch.arange(kept.shape[1])[:, None]).sum(1)


def unpacked(words: Tensor, tile: int) -> Tensor:
    """Words [masks, block] -> bool [masks, tile, block]."""
    return (words[:, None, :] >> torch.arange(tile)[:, None] & 1).bool()


def _distinct_words(words: Tensor, full: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The different ones of some masks, by where they come first; which of them each is; and one of each."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(1 << 62), 1 << 62, (words.shape[1],), generator=generator) | 1
    code = (words * factors).sum(1).masked_fill(full, 1)
    code, mask = code.unique(return_inverse=True)
    lines = torch.arange(len(words))
    first = torch.full_like(code, len(words)).scatter_reduce_(0, mask, lines, "amin")
    order = first.argsort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    mask, first = rank[mask], first[order]
    if not ((words[first][mask] == words).all(1) | full).all():  # two masks with one code
        mask = first = lines
    return words[first], mask, first
