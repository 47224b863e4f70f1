"""Numbers of a cover: the tiles that each program visits at a length, and which programs visit far more than others."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir.boxes import Bounds, decided, without_phases
from sparsec.ir.vector import distinct
from sparsec.plan.nodes import Cover, Gathered, Grouped, Layout, Region, Residue, Segment, Side
from sparsec.plan.programs import BLOCK, gathered_keys, programs, visited

# Where lists say which tiles are visited: in how many programs that is looked at, and in how many boxes at first.
_EVEN, _NEAR, _BOXES = 48, 24, 32
_MOST_BOXES = 1 << 17

_LONG_AT = 65_536  # the length at which long rows are told from others
_MOST_LONG = 1024
_FAR_MORE = 8
_FAR_LATER = 1.5


def steps(cover: Cover, region: Region, n: int) -> np.ndarray:
    """Tiles that each program of a cover visits, int64 [programs]; over groups as if these held each token once."""
    if isinstance(region.layout, Grouped):
        return _steps_of_groups(region.layout, n)
    if cover.from_list:
        return listed_tiles(cover.side, region, n)[0]
    return visited(cover, region.layout, n)


def _steps_of_groups(layout: Grouped, n: int) -> np.ndarray:
    """Of tiles that begin anywhere in a chunk, or in a cluster."""
    keys = BLOCK + 2 * layout.size if layout.near else layout.size
    return np.full(layout.lines * -(-n // BLOCK), -(-min(keys, n) // BLOCK), np.int64)


def listed_tiles(side: Side, region: Region, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Tiles that a list has for each program, and how many of them have no pair that is left out, int64 [programs].

    By interval arithmetic, for some programs; the others are taken to be like the nearest of these.  Tables count as
    empty: what they name is counted beside.
    """
    whole = n % BLOCK == 0 and not isinstance(region.layout, Gathered)  # all tiles are of BLOCK positions or more
    return _listed(side, without_phases(region.mask, BLOCK) if whole else region.mask, region.layout, n)


@lru_cache(maxsize=256)
def _listed(side: Side, condition: ir.Set, layout: Layout, n: int) -> tuple[np.ndarray, np.ndarray]:
    other_side: Side = "k" if side == "q" else "q"
    lines, others = (_tiles_of_class(each, layout, n) for each in (side, other_side))
    looked_at = _some(lines)
    size = 1 << max((others // _BOXES).bit_length() - 1, 0)  # tiles of a box; a box that is not decided is cut in two
    line, first = (x.ravel() for x in np.meshgrid(np.arange(len(looked_at)), np.arange(0, others, size), indexing="ij"))
    visited, whole = np.zeros((2, len(looked_at)), np.int64)
    while len(line):
        at = {
            side: _positions(side, looked_at[line], 1, layout, n),
            other_side: _positions(other_side, first, size, layout, n),
            "n": (np.asarray(n), np.asarray(n)),
        }
        never, always = (
            np.broadcast_to(x, line.shape)
            for x in decided(condition, at, lambda _: (np.asarray(True), np.asarray(False)))
        )
        counted = ~never & (always | (size == 1))
        held = np.minimum(first + size, others) - first
        visited += _summed_by(line[counted], held[counted], len(visited))
        whole += _summed_by(line[~never & always], held[~never & always], len(visited))
        line, first, size = line[~never & ~counted], first[~never & ~counted], size // 2
        line, first = np.repeat(line, 2), np.stack([first, first + size], 1).ravel()
        line, first = line[first < others], first[first < others]
        while len(line) > _MOST_BOXES:  # intervals hardly decide: fewer programs will do
            looked_at, visited, whole = looked_at[::2], visited[::2], whole[::2]
            line, first = line[line % 2 == 0] // 2, first[line % 2 == 0]
    between = (looked_at[1:] + looked_at[:-1] + 1) // 2
    nearest = np.searchsorted(between, np.arange(lines), "right")
    if isinstance(layout, Residue):
        nearest = nearest[programs(side, layout, n).low // BLOCK]
    return visited[nearest], whole[nearest]


def _summed_by(places: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    """Sums of numbers by their places, int64 [count]; numpy's own add.at takes ten times as long."""
    return np.bincount(places, numbers, count).astype(np.int64)


def _tiles_of_class(side: Side, layout: Layout, n: int) -> int:
    """Tiles of a side: of all positions, of the longest residue class, or of gathered keys."""
    match layout:
        case Residue(stride):
            return -(-n // (stride * BLOCK))
        case Gathered() if side == "k":
            return -(-gathered_keys(layout, n) // BLOCK)
    return -(-n // BLOCK)


def _some(tiles: int) -> np.ndarray:
    """Tiles from the first to the last at even distances, and more of the first ones, where a finite pattern lies."""
    even, near = np.linspace(0, tiles - 1, min(tiles, _EVEN)), np.geomspace(1, tiles, _NEAR) - 1
    return distinct(np.concatenate([even, near]).round().astype(np.int64))


def _positions(side: Side, first: np.ndarray, size: int, layout: Layout, n: int) -> Bounds:
    """The first and the last position of `size` tiles, of those of all residue classes."""
    low, high = first * BLOCK, (first + size) * BLOCK - 1
    match layout:
        case Residue(stride):
            low, high = low * stride, high * stride + stride - 1
        case Gathered(period, begin, width) if side == "k":
            low, high = (x // width * period + begin + x % width for x in (low, high))
    return low, np.asarray(np.minimum(high, n - 1))


def split_prefix(cover: Cover, region: Region) -> int:
    """`Cover.split_prefix`: the prefix whose tiles visit far more than the median does, at a long n."""
    if cover.from_list:
        return _long_prefix(steps(cover, region, _LONG_AT))
    candidates = [_prefix(segment, cover.side) for segment in cover.segments if segment.last is None]
    prefix = max((c for c in candidates if c <= _MOST_LONG), default=0)
    if not prefix:
        return 0
    far = steps(cover, region, _LONG_AT)
    usual = np.median(far[-(-prefix // BLOCK) :])
    return prefix if far[0] >= _FAR_MORE * max(1.0, float(usual)) else 0


def _long_prefix(visited: np.ndarray) -> int:
    """As `split_prefix`, from what each tile visits."""
    far = visited >= _FAR_MORE * max(1.0, float(np.median(visited)))
    prefix = BLOCK * int(np.argmin(far))
    return prefix if prefix <= _MOST_LONG else 0


def longest_first(cover: Cover, region: Region) -> bool:
    """`Cover.longest_first`: whether the later half of the tiles visits far more than the earlier one, at a long n."""
    visited = steps(cover, region, _LONG_AT)
    low = programs(cover.side, region.layout, _LONG_AT).low
    late = low > np.median(low) if len(low) else np.zeros(0, bool)
    return bool(late.any() and visited[late].mean() > _FAR_LATER * visited[~late].mean())


def _prefix(segment: Segment, side: str) -> int:
    """c where `when` says side_lo <= c - 1; 0 where it does not."""
    operands = segment.when.parts if isinstance(segment.when, ir.And) else (segment.when,)
    for operand in operands:
        match operand:
            case ir.Compare(ir.Var(name), "<=", ir.Const(value)) if name == f"{side}_lo":
                return value + 1
            case ir.Compare(ir.Const(value), ">=", ir.Var(name)) if name == f"{side}_lo":
                return value + 1
    return 0
