"""The programs of a cover at a length, one for each tile of its side, and the tiles that its segments hold for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir.vector import Values, floor_divided, holds, integer
from sparsec.plan.nodes import Cover, Gathered, Layout, Residue, Segment, Side

BLOCK = 64  # positions of a tile

_EVALUATED_AT = 1 << 16, 1 << 20  # lengths whose programs are evaluated for all shorter ones, too
_OPEN = 1 << 48  # more tiles than any length has


@dataclass(frozen=True, slots=True)
class Programs:
    """Those of one side at a length: int64 [tiles], or of residue classes [classes, 1] and [1, tiles]."""

    edges: Values  # of each: `n`, the first and the last position of its tile, and its residue
    length: np.ndarray | int  # of the sequence that each visits
    shape: tuple[int, ...]  # (tiles,) or (classes, tiles)
    there: np.ndarray | None  # bool, [classes, tiles]: some classes have a tile less

    @property
    def low(self) -> np.ndarray:
        """The first position of each, class by class."""
        return self.listed(next(values for name, values in self.edges.items() if name.endswith("_lo")))

    def listed(self, values: np.ndarray | int) -> np.ndarray:
        """What broadcasts to all of them, class by class, [programs]."""
        values = np.broadcast_to(values, self.shape)
        return values if self.there is None else values[self.there]


@lru_cache(maxsize=128)  # for each region and head again
def programs(side: Side, layout: Layout, n: int) -> Programs:
    """The programs whose tiles are of one side."""
    match layout:
        case Residue(stride):
            residue, tile = np.arange(min(stride, n))[:, None], np.arange(-(-n // (stride * BLOCK)))[None, :]
            length, edges = -((residue - n) // stride), {"residue": residue, **_edges(side, tile, n)}
            return Programs(edges, length, (residue.size, tile.size), tile * BLOCK < length)
        case Gathered():
            keys = gathered_keys(layout, n)
            own, other = (n, keys) if side == "q" else (keys, n)
        case _:
            own = other = n
    tile = np.arange(-(-own // BLOCK))
    return Programs(_edges(side, tile, n), other, tile.shape, None)


def gathered_keys(layout: Gathered, n: int) -> int:
    """How many keys are gathered."""
    beyond = n - layout.first
    return max(0, beyond // layout.period * layout.width + min(beyond % layout.period, layout.width))


def visited(cover: Cover, layout: Layout, n: int) -> np.ndarray:
    """Tiles in the segments of a cover, those of several once, int64 [programs], class by class."""
    own = programs(cover.side, layout, n)
    begins, stops = _held(cover.segments, cover.ordered, cover.side, layout, _evaluated_at(cover, n))
    shorter = (slice(None), *map(slice, own.shape))
    total = done = np.zeros((), np.int64)
    for begin, stop in zip(begins[shorter], np.minimum(stops[shorter], _tiles(own.length)), strict=True):
        total = total + np.maximum(stop - np.maximum(begin, done), 0)
        done = np.maximum(stop, done)
    return own.listed(total)


def _evaluated_at(cover: Cover, n: int) -> int:
    """The length at which segments are evaluated for n: its own where they ask how long the sequence is."""
    nodes = [node for each in cover.segments for node in (each.first, each.last, each.when) if node is not None]
    return n if any("n" in ir.names(node) for node in nodes) else next((at for at in _EVALUATED_AT if n <= at), n)


@lru_cache(
    maxsize=16
)  # of the regions that are weighed against each other, at all lengths; some hundred kilobytes each
def _held(
    segments: tuple[Segment, ...], ordered: bool, side: Side, layout: Layout, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first tile of each segment, rising, and the one after its last, int64 [segments, *programs].

    A sequence's end does not cut them, so that shorter lengths have the same.
    """
    own = programs(side, layout, n)
    begins, stops = np.empty((2, len(segments), *own.shape), np.int64)
    for place, segment in enumerate(segments):
        begins[place], stops[place] = _run(segment, own.edges)
    if not ordered and np.any(begins[1:] < begins[:-1]):
        order = np.argsort(begins, axis=0, kind="stable")
        begins, stops = np.take_along_axis(begins, order, 0), np.take_along_axis(stops, order, 0)
    return begins, stops


def _run(segment: Segment, edges: Values) -> tuple[np.ndarray | int, np.ndarray | int]:
    """Its first tile and the one after its last, which is 0 where nothing is visited."""
    begin = 0 if segment.first is None else floor_divided(np.maximum(integer(segment.first, edges), 0), BLOCK)
    stop = _OPEN if segment.last is None else _tiles(np.maximum(integer(segment.last, edges) + 1, 0))
    return begin, stop if segment.when == ir.TRUE else np.where(holds(segment.when, edges), stop, 0)


def _tiles(positions: np.ndarray | int) -> np.ndarray:
    """Of so many positions from 0 on, the last one cut or not."""
    return floor_divided(np.asarray(positions + (BLOCK - 1)), BLOCK)


def _edges(side: str, tile: np.ndarray, n: int) -> dict[str, np.ndarray | int]:
    low = tile * BLOCK
    return {"n": n, f"{side}_lo": low, f"{side}_hi": low + (BLOCK - 1)}
