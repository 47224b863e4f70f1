"""The one source of random choices: integers that depend on (seed, row, counter) and on nothing else.

Only 32-bit arithmetic, so that Python, numpy, torch and Triton compute the same numbers.  All three steps below are
taken modulo 2**32 on values in [0, 2**32); both multipliers are below 2**31, so in int64 no product overflows.

    mix(x):      x ^= x >> 16;  x *= 0x21F0AAAD;  x ^= x >> 15;  x *= 0x735A2D97;  x ^= x >> 15
    bits:        mix(mix(mix(seed + 0x9E3779B9) + row) + counter)
    below(m):    (bits * m) >> 32                  an integer in [0, m), for m < 2**31; in Triton tl.umulhi(bits, m)

`mix` is the two-round hash that C. Wellons found by search (github.com/skeeto/hash-prospector).  Row i of a table
draws r' = min(r, m) distinct numbers below m by R. Floyd's algorithm (Bentley and Floyd, CACM 1987), with its
counter as the step:

    for c in 0 .. r' - 1:  j = m - r' + c;  t = below(j + 1);  row[c] = j if t in row[:c] else t

and the entries from r' on are -1.  Nothing depends on the device, the number of ranks, or on other rows.

All t of a row are known beforehand, so nothing has to be drawn one after the other: step c falls back to j where an
earlier step drew the same t, or where t is the j that an earlier step fell back to.  The latter is a chain of steps,
followed in leaps that double, as many as the longest chain could need.
"""

from __future__ import annotations

import numpy as np

_AT_ONCE = 1 << 20  # numbers that are drawn together


def bits(seed: int, row: np.ndarray, counter: np.ndarray | int) -> np.ndarray:
    """int64, in [0, 2**32), broadcast from row and counter: the integer of each."""
    start = _mix(np.array([seed + 0x9E3779B9 & 0xFFFFFFFF]))
    return _mix(_mix(start + row & 0xFFFFFFFF) + counter & 0xFFFFFFFF)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ x >> 16) * 0x21F0AAAD & 0xFFFFFFFF
    x = (x ^ x >> 15) * 0x735A2D97 & 0xFFFFFFFF
    return x ^ x >> 15


def distinct(count: int, seed: int, row: np.ndarray, below: np.ndarray) -> np.ndarray:
    """int64 [rows, width]: line i is row `row[i]`, min(count, below[i]) distinct numbers below below[i], then -1.

    `row` and `below` are int64 [rows]; the width is that of the longest line.  Time and memory grow with the result.
    """
    width = min(count, int(below.max(initial=0)))
    chosen = np.full((len(row), width), -1, np.int64)
    everything = below <= count  # step c has c numbers to choose from that are not taken, and one that is left: c
    chosen[everything] = np.where(np.arange(width) < below[everything, None], np.arange(width), -1)
    some = np.flatnonzero(~everything)
    lines = max(1, _AT_ONCE // max(width, 1))
    for start in range(0, len(some), lines):
        part = some[start : start + lines]
        chosen[part, :count] = _floyd(count, seed, row[part], below[part])
    return chosen


def _floyd(count: int, seed: int, row: np.ndarray, below: np.ndarray) -> np.ndarray:
    """int64 [rows, count]: the rows of Floyd's algorithm that draw from more than `count` numbers."""
    step = np.arange(count)
    last = (below - count)[:, None] + step
    drawn = bits(seed, row[:, None], step) * (last + 1) >> 32
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, 1)
    falls_back = np.zeros(drawn.shape, bool)
    np.put_along_axis(falls_back, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    earlier = drawn - (below - count)[:, None]  # the step whose j was drawn
    earlier = np.where((earlier >= 0) & (earlier < step), earlier, step)
    for _ in range((count - 1).bit_length()):
        falls_back |= np.take_along_axis(falls_back, earlier, 1)
        earlier = np.take_along_axis(earlier, earlier, 1)
    return np.where(falls_back, last, drawn)


def random_blocks(
    size: int, count: int, seed: int, n: int, past: bool = False, row: np.ndarray | None = None
) -> np.ndarray:
    """int64 [rows, width]: the key blocks of blocks of queries, all ceil(n / size) or those of the numbers `row`; -1
    where there are fewer.

    With `past`, block i draws from the i + 1 blocks up to its own, whatever n is.
    """
    blocks = -(-n // size)
    row = np.arange(blocks, dtype=np.int64) if row is None else row
    return distinct(count, seed, row, row + 1 if past else np.full_like(row, blocks))


def random_keys(count: int, seed: int, n: int, row: np.ndarray | None = None) -> np.ndarray:
    """int64 [rows, min(count, n)]: the keys of all n queries, or of those at the positions `row`."""
    row = np.arange(n, dtype=np.int64) if row is None else row
    return distinct(count, seed, row, np.full_like(row, n))
