"""Ranks in a picture: bands beside a mask, and a matrix of what each gets from each."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.show.ranks import OverRanks
from sparsec.show.raster import View
from sparsec.show.shapes import EMPTY, FAINT, FRAME, INK, Box, Path, Place, Shape, Words

_CELL, _LINE = (66, 24), 20
_FULL = (0x2F, 0x6F, 0xDE)  # of the cell with the most keys
_NARROW = 12  # a band of fewer pixels has no number


def bands(over: OverRanks, view: View, at: Place, size: tuple[float, float]) -> Iterator[Shape]:
    """Lines where a rank's queries and keys end, and the number of the rank inside the mask, at its right edge."""
    (left, top), (wide, high) = at, size
    for (first, stop), rank in over.bands(view.queries):
        y0, y1 = (top + (edge - view.queries[0]) * high / view.shape[0] for edge in (first, stop))
        if first > view.queries[0]:
            yield Path(((left, y0), (left + wide, y0)), FAINT)
        if y1 - y0 >= _NARROW:
            yield Words((left + wide - 4, (y0 + y1) / 2 + 4), f"rank {rank}", "end", FAINT)
    for (first, _), _ in over.bands(view.keys):
        if first > view.keys[0]:
            x = left + (first - view.keys[0]) * wide / view.shape[1]
            yield Path(((x, top), (x, top + high)), FAINT)


def exchange(over: OverRanks, at: Place) -> Iterator[Shape]:
    """The matrix of keys that travel, darker where more do; what it counts stands above."""
    left, top = at[0], at[1] + _LINE
    for line in over.words:
        yield Words((left, top), line)
        top += _LINE
    count, most = len(over.shares), max(1, int(over.traffic.max()))
    wide, high = _CELL
    top += _LINE
    for rank in range(count):
        yield Words((left + (rank + 0.5) * wide, top - 6), f"from {rank}", "middle", FAINT)
        yield Words((left - 9, top + (rank + 0.5) * high + 4), f"rank {rank}", "end", FAINT)
        for source in range(count):
            keys = int(over.traffic[rank, source])
            place = left + source * wide, top + rank * high
            yield Box(place, _CELL, fill=_shade(keys / most), stroke=FRAME)
            words = f"{keys:,}" if keys else "own" if rank == source else "0"
            ink = INK if keys <= most / 2 else "#ffffff"
            yield Words((place[0] + wide / 2, place[1] + high / 2 + 4), words, "middle", ink if keys else FAINT)
        total = int(over.traffic[rank].sum())
        yield Words((left + count * wide + 9, top + (rank + 0.5) * high + 4), f"{total:,} in all", "start", FAINT)


def _shade(share: float) -> str:
    ground = (int(EMPTY[place : place + 2], 16) for place in (1, 3, 5))
    mixed = (round(low + (full - low) * share) for low, full in zip(ground, _FULL, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)
