"""Lists of exactly the tiles that hold a kept pair, made for a length where no few ranges say which these are.

Boxes of tiles are decided by interval arithmetic, the undecided ones cut into four, down to single tiles; pairs are
looked at only in tiles that are still undecided then, some of them at a time.  Work and memory are in proportion to
the tiles that come out and to the boxes met on the way, never to n * n.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.launches.launch import Environment, Tables
from sparsec.kernels.lists.boxes import Span, Verdict
from sparsec.kernels.lists.tables import named_tiles, pair_lists, rows_of_queries, tiles_beside_ranges
from sparsec.kernels.lists.tile_grid import TileGrid, grid_of
from sparsec.kernels.lists.tile_kinds import KeptPairs, key_of, kinds
from sparsec.kernels.program.program import WHOLE_ROWS, Region, cdiv

MASK_WORD = 32  # pairs whose bits stand in one number

_BOXES_AT_ONCE = 1 << 20
_KINDS_AT_ONCE = 1 << 16  # tiles whose kinds are told together
_PAIRS_AT_ONCE = 1 << 22
_FIRST_BOXES = 32  # a side, where the cutting begins


class TileList(NamedTuple):
    """The tiles of the other side that each tile of one side visits: those that are kept whole first, then the others.

    Those of tile i stand at starts[i] : starts[i + 1].
    """

    starts: Tensor  # int32 [tiles + 1]
    tiles: Tensor  # int32 [entries]: 2 * tile + whether all of its pairs are kept
    masks: Tensor  # int32 [entries]: which mask it has, 0 where all are kept
    bits: Tensor  # int32 [masks, words, own]: bit j of word w says that row `own` of the tile keeps 32 * w + j


@functools.lru_cache(maxsize=32)
def tile_list(
    region: Region, side: str, n_q: int, n: int, q_offset: int, block_m: int, block_n: int, device: torch.device
) -> TileList:
    """The tiles of a region at a length: of keys for each tile of queries ("rows"), or the other way ("columns")."""
    grid = grid_of(region, side, n_q, n, q_offset, block_m, block_n)
    tables = [rows_of_queries(source, q_offset, q_offset + n_q - 1, n, device) for _, source in region.tables]
    whole, open_ = _decided(region, grid, tables, device)
    sources = region.rows_tables if side == "rows" else region.columns_tables
    if region.tables:  # then nothing that intervals say of all pairs holds: they take tables as empty
        (line, place), _ = named_tiles(sources, side, n_q, n, q_offset, block_m, block_n, device)
        open_ = torch.cat([open_, whole, line * grid.others + place]).unique()
        whole = whole[:0]
    some, every, mask, bits = _looked_at(region, grid, tables, open_)
    full = torch.cat([torch.ones_like(whole, dtype=torch.bool), every[some]])
    mask = torch.cat([torch.zeros_like(whole), mask[some]])
    line, other_tile = _line_and_place(grid, torch.cat([whole, open_[some]]))
    order = ((2 * line + ~full) * max(grid.others, 1) + other_tile).argsort()
    starts = torch.zeros(grid.lines + 1, dtype=torch.int64, device=device)
    starts[1:] = torch.bincount(line, minlength=grid.lines).cumsum(0)
    entries = (2 * other_tile + full)[order]
    return TileList(*(x.to(torch.int32) for x in (starts, entries, mask[order], bits)))


def _line_and_place(grid: TileGrid, codes: Tensor) -> tuple[Tensor, Tensor]:
    return codes // max(grid.others, 1), codes % max(grid.others, 1)


# ---------------------------------------------------------------- boxes


def _decided(region: Region, grid: TileGrid, tables: list, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tiles whose pairs are all kept, and tiles of which some may be: codes line * others + tile of the other side."""
    level = max((max(grid.tiles, grid.others) // _FIRST_BOXES).bit_length() - 1, 0)
    lines, places = (torch.arange(0, count, 1 << level, device=device) for count in (grid.tiles, grid.others))
    pending = [(level, (lines[:, None] * grid.others + places).flatten())]
    whole, open_ = [lines[:0]], [lines[:0]]
    while pending:
        level, boxes = pending.pop()
        if len(boxes) > _BOXES_AT_ONCE:
            pending += [(level, some) for some in boxes.split(_BOXES_AT_ONCE)]
            continue
        verdict = _verdict_on(region, grid, tables, boxes, 1 << level)
        every = verdict.every & verdict.some
        whole.append(_cut(grid, boxes[every], level, 0))
        boxes = boxes[verdict.some & ~every]
        if level:
            pending.append((level - 1, _cut(grid, boxes, level, level - 1)))
        else:
            open_.append(boxes)
    return grid.of_classes(torch.cat(whole)), grid.of_classes(torch.cat(open_))


def _verdict_on(region: Region, grid: TileGrid, tables: list, boxes: Tensor, size: int) -> Verdict:
    q_lo, q_hi, k_lo, k_hi = grid.edges(boxes, size)
    said = region.keep(Span(q_lo, q_hi), Span(k_lo, k_hi), grid.n, *tables, *region.more)
    verdict = said if isinstance(said, Verdict) else Verdict(said, said)
    there = (q_lo <= q_hi) & (k_lo <= k_hi)
    every = verdict.every.expand_as(there)
    if grid.side == "rows":  # kernels take no mask there, and have to have every key
        every = every & grid.has_all_keys(boxes, size)
    return Verdict(verdict.some & there, every)


def _cut(grid: TileGrid, boxes: Tensor, level: int, to: int) -> Tensor:
    """Boxes of 2 ** level tiles a side as those of 2 ** to."""
    for size in (1 << each for each in reversed(range(to, level))):
        line, place = boxes // grid.others, boxes % grid.others
        line = torch.stack([line, line, line + size, line + size], 1).flatten()
        place = torch.stack([place, place + size, place, place + size], 1).flatten()
        there = (line < grid.tiles) & (place < grid.others)
        boxes = line[there] * grid.others + place[there]
    return boxes


# ---------------------------------------------------------------- pairs


def _looked_at(region: Region, grid: TileGrid, tables: list, codes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of tiles: whether some of their pairs are kept, whether all are, and the mask: its place among the last.

    The first mask is that of tiles that are kept whole.
    """
    line, place, kind = _alike(region, grid, tables, codes)
    bits = [torch.full((1, cdiv(grid.other, MASK_WORD), grid.own), -1, dtype=torch.int32, device=codes.device)]
    found, count, at_once = [], 1, max(1, _PAIRS_AT_ONCE // (grid.own * grid.other))
    for lines, places in zip(line.split(at_once), place.split(at_once), strict=True):
        kept, matters = _pairs_kept(region, grid, tables, lines, places)
        some, every = kept.flatten(1).any(1), (kept | ~matters).flatten(1).all(1)
        partial = some & ~every
        mask, distinct = _distinct(_mask_bits(kept[partial]))
        found.append((some, every, torch.zeros_like(lines).masked_scatter_(partial, mask + count)))
        bits.append(distinct)
        count += len(distinct)
    some, every, mask = (torch.cat(each)[kind] for each in zip(*found, strict=True))
    renamed, distinct = _distinct(torch.cat(bits))
    return some, every, renamed[mask], distinct


def _alike(region: Region, grid: TileGrid, tables: list, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lines and places of tiles, one of each kind, and the kind of every tile."""
    keys = [codes.new_zeros(2, 0)]
    for some in codes.split(_KINDS_AT_ONCE):
        q, k, there = grid.positions(*_line_and_place(grid, some))
        kept = KeptPairs.of(region.keep(q, k, grid.n, *tables, *region.more), codes.device)
        keys.append(key_of(kept.key, there).expand(2, len(some)))
    kind, first = kinds(torch.cat(keys, 1))
    return *_line_and_place(grid, codes[first]), kind


def _pairs_kept(region: Region, grid: TileGrid, tables: list, line: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Bool [tiles, own, other]: whether a pair is kept, and whether a kernel cares.

    It does not where a row lies beyond the last one, nor where a key of its own does.
    """
    row, k = grid.pairs(line, place)
    there = (row < grid.n_q) & (k < grid.n)
    kept = region.keep(row + grid.q_offset, k, grid.n, *tables, *region.more) & there
    return kept, row < grid.n_q if grid.side == "rows" else there


def _mask_bits(kept: Tensor) -> Tensor:
    """Bool [tiles, own, other] -> int32 [tiles, words, own]."""
    other = kept.shape[2]
    words = cdiv(other, MASK_WORD)
    bytes_ = torch.nn.functional.pad(kept, (0, words * MASK_WORD - other)).view(torch.uint8).unflatten(2, (-1, 8))
    powers = (1 << torch.arange(8, device=kept.device)).to(torch.uint8)
    packed = (bytes_ * powers).sum(3, dtype=torch.uint8)  # the first byte of a number is its lowest
    return packed.view(torch.int32).transpose(1, 2).contiguous()


def unpacked_tiles(found: TileList, some: slice | Tensor) -> Tensor:
    """The masks of some entries: bool [entries, own, 32 * words]."""
    bits = found.bits[found.masks[some].long()].transpose(1, 2)[..., None]
    return (bits >> torch.arange(MASK_WORD, device=bits.device) & 1 != 0).flatten(2)


def _distinct(bits: Tensor) -> tuple[Tensor, Tensor]:
    """Masks, each once: of every one its place, and int32 [masks, words, own].  Equal sums are not believed."""
    flat = bits.flatten(1).to(torch.int64)
    weights = torch.randint(1 << 62, flat.shape[1:], generator=torch.Generator().manual_seed(0)).to(bits.device)
    sums = (flat * weights).sum(1)  # modulo 2 ** 64
    distinct, place = sums.unique(return_inverse=True)
    first = torch.zeros_like(distinct).scatter_(0, place, torch.arange(len(sums), device=bits.device))
    if bool((bits == bits[first][place]).all()):
        return place, bits[first]
    flat, place = bits.flatten(1).unique(dim=0, return_inverse=True)
    return place, flat.unflatten(1, bits.shape[1:])


# ---------------------------------------------------------------- what kernels read


def read_besides(
    region: Region, side: str, n_q: int, n: int, q_offset: int, blocks: tuple[int, int], device: torch.device
) -> Environment:
    """What kernels of a region read besides, by name: tables, and lists of the tiles or the pairs that they name."""
    if region.listed:
        block = blocks[0 if side == "rows" else 1]
        lists = pair_lists(region, side, n_q, n, q_offset, block, device)
        return dict(zip(("LIST_STARTS", "LIST", "SEEN"), lists, strict=True))
    if side in region.tile_lists:
        names = "LIST_STARTS", "LIST", "LIST_MASKS", "MASKS"
        return dict(zip(names, tile_list(region, side, n_q, n, q_offset, *blocks, device), strict=True))
    tables = [table for _, source in region.tables for table in source.rows(n, 0, None, device)[1:]]
    named: dict[str, Any] = {"TABLES": Tables(tables)} if tables else {}
    if not (region.rows_tables if side == "rows" else region.columns_tables):
        return named
    lines = -(-n_q // WHOLE_ROWS) * WHOLE_ROWS if side == "rows" else n_q
    starts, tiles = tiles_beside_ranges(region, side, lines, n, q_offset, *blocks, device)
    if region.full_named is not None:
        tiles = _proved_whole(region, side, starts, tiles, n, q_offset, blocks)
    return named | {"LIST_STARTS": starts, "LIST": tiles}


def _proved_whole(
    region: Region, side: str, starts: Tensor, tiles: Tensor, n: int, q_offset: int, blocks: tuple[int, int]
) -> Tensor:
    """Entries of `tiles_beside_ranges`, odd where all pairs of the tile are kept."""
    assert region.full_named is not None
    line = torch.arange(len(starts) - 1, device=starts.device).repeat_interleave(starts.diff())
    tile_m, tile_n = (line, tiles // 2) if side == "rows" else (tiles // 2, line)
    q_lo, k_lo = tile_m * blocks[0] + q_offset, tile_n * blocks[1]
    whole = region.full_named(q_lo, q_lo + blocks[0] - 1, k_lo, k_lo + blocks[1] - 1, n, *region.more)
    return torch.where(torch.as_tensor(whole, device=tiles.device), tiles, tiles // 2 * 2)
