"""What a plan will cost, from exact counts of the tiles that its covers visit; and with it the choice of layouts.

The unit is one step of one head through all three kernels, each a tile of 64 x 64 pairs: some 13 ns of an H100 with
heads of 128 in 16 bits.  Forward, dq and dk/dv take 2, 3 and 4 products a tile: the first two follow the rows of the
plan, the last its columns.  What a program costs beside its steps, mostly bytes that it moves, was measured there too,
with torch's profiler on the kernels of past1024 (17 steps a program) and strided (3) of docs/benchmarks/patterns.
What tables add is an expectation, as if their entries were drawn evenly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir.vector import Values, holds, integer
from sparsec.plan.nodes import Columns, Cover, Natural, Part, Residue, Scattered, Segment
from sparsec.plan.walks import walks

BLOCK = 64
LENGTHS = tuple(1 << exponent for exponent in range(8, 21))  # at which costs are compared: 256 to 1 M
GATHERED = 1.2  # a step over gathered keys, nearly all of which are masked or copied first
SCATTERED = 1.5  # a step whose rows are gathered one by one
PROGRAM = 5.5  # loading the rows of a tile, storing their results, forward and backward
CONTINUED = 2.5  # going on with what the kernels before have stored
LAUNCH = 64.0  # of three kernels, 4 us each, over 16 heads

_STEP = {Natural: 1.0, Residue: 1.0, Columns: GATHERED, Scattered: SCATTERED}

_LONG_AT = 65_536  # the length at which long rows are told from others
_MOST_LONG = 1024
_FAR_MORE = 8
_FAR_LATER = 1.5


def cost(parts: Sequence[Part], n: int) -> float:
    """Predicted steps of forward and backward at self-attention of n positions."""
    walked = walks(parts)
    total = LAUNCH / 3 * (len(parts) - len(walked))  # of dk and dv alone
    for place, walk in enumerate(walked):
        a_program = (PROGRAM + (CONTINUED if place else 0.0)) / 2  # half of it forward and in dq
        total += LAUNCH
        for part in walk:
            rows, columns = steps(part.rows, part, n), steps(part.columns, part, n)
            programs = len(columns) + (len(rows) if part is walk[0] else 0)
            total += a_program * programs + _work(part, n, rows, columns)
    return total


def steps(cover: Cover, part: Part, n: int) -> np.ndarray:
    """Tiles that each program of a cover visits, int64 [programs]."""
    at, length = _programs(cover.side, part, n)
    size = len(at[f"{cover.side}_lo"])
    begins, ends = np.zeros((2, len(cover.segments), size), np.int64)
    for place, segment in enumerate(cover.segments):
        begins[place], ends[place] = _range(segment, at, length)
    if not cover.ordered:
        order = np.argsort(begins, axis=0, kind="stable")
        begins, ends = np.take_along_axis(begins, order, 0), np.take_along_axis(ends, order, 0)
    total = done = np.zeros(size, np.int64)
    for begin, end in zip(begins, ends, strict=True):
        stop = np.maximum(end, done)
        total = total + np.maximum(stop - np.maximum(begin, done), 0)
        done = stop
    return total


def least_long(cover: Cover, part: Part) -> int:
    """`Cover.long` of a cover without it: the prefix whose tiles visit far more than the median does, at a long n."""
    candidates = [_prefix(segment, cover.side) for segment in cover.segments if segment.last is None]
    prefix = max((c for c in candidates if c <= _MOST_LONG), default=0)
    if not prefix:
        return 0
    far = steps(cover, part, _LONG_AT)
    usual = np.median(far[-(-prefix // BLOCK) :])
    return prefix if far[0] >= _FAR_MORE * max(1.0, float(usual)) else 0


def rising(cover: Cover, part: Part) -> bool:
    """`Cover.rising`: whether the later half of the tiles visits far more than the earlier one, at a long n."""
    visited = steps(cover, part, _LONG_AT)
    low = _programs(cover.side, part, _LONG_AT)[0][f"{cover.side}_lo"]
    late = low > np.median(low) if len(low) else low
    return bool(late.any() and visited[late].mean() > _FAR_LATER * visited[~late].mean())


def _prefix(segment: Segment, side: str) -> int:
    """c where `when` says side_lo <= c - 1; 0 where it does not."""
    parts = segment.when.parts if isinstance(segment.when, ir.And) else (segment.when,)
    for part in parts:
        match part:
            case ir.Compare(ir.Var(name), "<=", ir.Const(value)) if name == f"{side}_lo":
                return value + 1
            case ir.Compare(ir.Const(value), ">=", ir.Var(name)) if name == f"{side}_lo":
                return value + 1
    return 0


def _work(part: Part, n: int, rows: np.ndarray, columns: np.ndarray) -> float:
    named = [len(programs) * _named(cover, part, n) for cover, programs in ((part.rows, rows), (part.columns, columns))]
    work = (5 * (rows.sum() + named[0]) + 4 * (columns.sum() + named[1])) / 9
    return _STEP[type(part.layout)] * float(work)


def _named(cover: Cover, part: Part, n: int) -> float:
    """Tiles that tables add to a program, on average; those that its ranges meet already are not taken off."""
    total = 0.0
    for leaf in cover.tables:
        entries, share = _entries(leaf, n)
        if part.layout == Scattered():
            total += share * _distinct(n, entries * BLOCK) / BLOCK
        else:
            wide = max(1.0, leaf.size / BLOCK)  # tiles of a block
            total += share * wide * _distinct(n / (BLOCK * wide), entries * max(1.0, BLOCK / leaf.size))
    return total


def _entries(leaf: ir.Leaf, n: int) -> tuple[float, float]:
    """How many blocks a row of the table names, and the share of all rows that do."""
    if isinstance(leaf, ir.Blocks):
        return sum(map(len, leaf.rows)) / max(len(leaf.rows), 1), min(1.0, len(leaf.rows) * leaf.size / n)
    return leaf.count, 1.0


def _distinct(places: float, draws: float) -> float:
    """Expected distinct places among even draws."""
    return places * -math.expm1(draws * math.log1p(-1 / places)) if places > 1 else min(places, draws)


def _programs(side: str, part: Part, n: int) -> tuple[Values, np.ndarray | int]:
    """The edges of every tile of one side, and the length of the sequence that it visits."""
    match part.layout:
        case Residue(stride):
            classes = np.arange(min(stride, n))
            tiles = np.arange(-(-n // (stride * BLOCK)))
            residue = np.repeat(classes, len(tiles))
            low, length = np.tile(tiles * BLOCK, len(classes)), -((residue - n) // stride)
            there = low < length
            return {"n": n, "residue": residue[there], **_edges(side, low[there])}, length[there]
        case Columns(period, first, width):
            keys = max(0, (n - first) // period * width + min((n - first) % period, width))
            some, length = (n, keys) if side == "q" else (keys, n)
            return {"n": n, **_edges(side, np.arange(0, some, BLOCK))}, length
    return {"n": n, **_edges(side, np.arange(0, n, BLOCK))}, n


def _edges(side: str, low: np.ndarray) -> Values:
    return {f"{side}_lo": low, f"{side}_hi": low + (BLOCK - 1)}


def _range(segment: Segment, at: Values, length: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """First tile and the one after the last, equal where there is none."""
    first = 0 if segment.first is None else np.maximum(integer(segment.first, at), 0)
    stop = length if segment.last is None else np.minimum(integer(segment.last, at) + 1, length)
    stop = np.where(holds(segment.when, at), np.maximum(stop, 0), 0)
    end = -(-stop // BLOCK)
    return np.minimum(first // BLOCK, end), end
