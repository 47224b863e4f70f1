"""At which length the structure of a pattern is seen: a few times its windows, blocks and periods."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from sparsec.ir import nodes as ir
from sparsec.ir import reference, vector
from sparsec.ir.approximate import bounded

SHORTEST, LONGEST = 64, 1 << 20
_MOST_DRAWN = 1 << 19  # entries of random tables
_LENGTHS = tuple(1 << exponent for exponent in range(1, 21))
_TIMES = 4  # windows, blocks and periods that stand side by side
_SPREAD = 96  # positions that are looked at, besides those near the ends and near a pattern's numbers
_NEAR = 16
_MOST_NUMBERS = 48
_MOST_CONDITIONS = 16
_EXACT = 1024  # positions of a canvas of which all pairs are looked at
_GOLDEN = 0.6180339887498949


def telling_length(pattern: ir.Pattern) -> int:
    """A number of keys and queries at which every distinct mask of a pattern shows what it is made of.

    Looks at few positions of lengths that double: until each comparison of the pattern is true of some pairs and false
    of others, and the mask has lost half of the density that it begins with, if it ever does.  A pattern that keeps
    pairs of the first positions only is shown as far as these go.
    """
    return max(map(_length, bounded(pattern).conditions[:_MOST_CONDITIONS]), default=SHORTEST)


def _length(condition: ir.Set) -> int:
    numbers = tuple(_numbers(condition))
    if canvas := _canvas(condition, numbers):
        return canvas
    needed = max((_needed(part, numbers) for part in dict.fromkeys(_parts(condition))), default=1)
    drawn = [leaf for leaf in ir.tables(condition) if not isinstance(leaf, ir.Blocks)]
    longest = min([LONGEST, *(max(SHORTEST, _MOST_DRAWN * leaf.size // leaf.count) for leaf in drawn)])
    return max(SHORTEST, min(longest, max(needed, _thinned(condition, longest // _TIMES if drawn else longest))))


def _parts(condition: ir.Set) -> Iterator[ir.Node]:
    """What is to be seen: comparisons, memberships, tables, and what is divided."""
    kinds = ir.Compare | ir.Member | ir.Table | ir.FloorDiv | ir.Mod
    return (node for node in ir.walk(condition) if isinstance(node, kinds))


def _needed(part: ir.Node, numbers: tuple[int, ...]) -> int:
    """The length at which a part has been seen a few times; 1 where it never is."""
    match part:
        case ir.Blocks(size, rows):
            across = 1 + max((block for row in rows for block in row), default=0)
            return 1 << (size * max(len(rows), across) - 1).bit_length()
        case ir.RandomBlocks(size, count) | ir.RandomKeys(count, size=size):
            return _TIMES * size * count
    for n in _LENGTHS:
        at = _positions(n, numbers)
        if _is_seen(part, {"q": at[:, None], "k": at, "n": n}):
            return _TIMES * n // 2
    return 1


def _is_seen(part: ir.Node, at: vector.Values) -> bool:
    """Whether a comparison holds for some pairs and not for others; whether what is divided reaches its divisor."""
    if isinstance(part, ir.FloorDiv | ir.Mod):
        return bool((np.abs(vector.integer(part.left, at)) >= part.divisor).any())
    assert isinstance(part, ir.Compare | ir.Member), part
    held = vector.holds(part, at)
    return bool(held.any() and not held.all())


def _thinned(condition: ir.Set, longest: int) -> int:
    """The first length at which half of the density is lost; 1 where it stays."""
    densest = 0.0
    for n in _LENGTHS:
        if n > longest:
            break
        at = _even(n)
        density = reference.evaluate(condition, at, at, n).mean()
        densest = max(densest, density)
        if densest and density <= densest / 2:
            return n
    return 1


def _canvas(condition: ir.Set, numbers: tuple[int, ...]) -> int:
    """How far the pairs of a condition go, where that is the same at all lengths; 0 where it is not."""
    if not all(isinstance(leaf, ir.Blocks) for leaf in ir.tables(condition)):
        return 0
    first, second = (_extent(condition, _positions(n, numbers), n) for n in _LENGTHS[-2:])
    if first != second or not 0 < first < _LENGTHS[-2] // _TIMES:
        return 0
    near = 1 << (first - 1).bit_length()
    exact = _extent(condition, np.arange(near), near) if near <= _EXACT else 0
    return exact or near


def _extent(condition: ir.Set, at: np.ndarray, n: int) -> int:
    """One more than the largest position of a kept pair among some positions; 0 where there is none."""
    q, k = np.nonzero(reference.evaluate(condition, at, at, n))
    return int(at[max(q.max(), k.max())]) + 1 if len(q) else 0


def _numbers(condition: ir.Set) -> list[int]:
    """The least and the largest numbers that a condition names: windows, divisors, edges of blocks and canvases."""
    found = {0}
    for node in ir.walk(condition):
        match node:
            case ir.Const(value) | ir.FloorDiv(_, value) | ir.Mod(_, value):
                found.add(abs(value))
            case ir.Member(_, members):
                found.update(map(abs, (members[0], members[-1])))
            case ir.Blocks(size, rows):
                found.update((size * len(rows), size * max((block + 1 for row in rows for block in row), default=0)))
    ordered = sorted(found)
    return ordered if len(ordered) <= _MOST_NUMBERS else ordered[: _MOST_NUMBERS // 2] + ordered[-_MOST_NUMBERS // 2 :]


@lru_cache(maxsize=len(_LENGTHS))
def _positions(n: int, numbers: tuple[int, ...]) -> np.ndarray:
    """Positions below n near both ends, near some numbers and between, int64, rising."""
    near = np.array([number + change for number in numbers for change in (-1, 0, 1)], np.int64)
    octaves = (2 ** np.arange(4, n.bit_length() + 1, 0.25)).astype(np.int64)
    ends = np.arange(_NEAR)
    found = np.unique(np.concatenate([_even(n), near, n - 1 - near, octaves, ends, n - 1 - ends]))
    return found[(found >= 0) & (found < n)]


def _even(n: int) -> np.ndarray:
    """All positions, or some that are spread evenly without a period."""
    step = np.arange(min(n, _SPREAD))
    return np.unique(np.floor((step + (step * _GOLDEN) % 1) * n / len(step)).astype(np.int64))
