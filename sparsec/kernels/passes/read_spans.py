"""Which steps programs take that sum up gradients of float inputs: those whose tiles may have a pair."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from sparsec.kernels.program.program import Region, cdiv

_MOST_TILES = 1 << 24  # of queries times those of keys, that are looked at


@lru_cache(maxsize=16)
def spans_of(
    regions: tuple[Region, ...], by: str, n_q: int, n: int, q_offset: int, block: int, device: torch.device
) -> Tensor | None:
    """int32 [lines, 2]: the first step of a line, and that behind its last; None where nothing is known of them.

    `by`, as of `Read`: lines are those of tiles of queries ("row"), of tiles of keys ("column"), or diagonals of tiles
    ("distance"), the one with the first query and the last key first.
    """
    rows, keys = cdiv(n_q, block), cdiv(n, block)
    if by not in ("row", "column", "distance") or rows * keys > _MOST_TILES or not all(map(_by_ranges, regions)):
        return None
    row, key = _touched(regions, rows, keys, n, q_offset, block).nonzero().unbind(1)
    lines, line, step = {
        "row": (rows, row, key),
        "column": (keys, key, row),
        "distance": (rows + keys - 1, row - key + keys - 1, torch.minimum(row, key)),
    }[by]
    first = torch.full((lines,), rows + keys).scatter_reduce_(0, line, step, "amin")
    last = torch.full((lines,), -1).scatter_reduce_(0, line, step, "amax")
    return torch.stack([first, last + 1], 1).to(device, torch.int32)


def _by_ranges(region: Region) -> bool:
    """Whether ranges of positions hold all pairs of a region."""
    return not (
        region.stride > 1 or region.gathered or region.listed or region.rows_tables or "rows" in region.tile_lists
    )


def _touched(regions: tuple[Region, ...], rows: int, keys: int, n: int, q_offset: int, block: int) -> Tensor:
    """Bool [tiles of queries, tiles of keys]: where regions visit a tile."""
    q_lo, key = torch.arange(rows) * block + q_offset, torch.arange(keys)
    found = torch.zeros(rows, keys, dtype=torch.bool)
    for region in regions:
        for ends in region.keys(q_lo, q_lo + block - 1, n, *region.more):
            first, stop = (torch.as_tensor(end).expand(rows).clamp(0, n)[:, None] for end in ends)
            found |= (key >= first // block) & (key * block < stop) & (first < stop)
    return found
