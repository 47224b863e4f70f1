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
"""

from __future__ import annotations

import numpy as np


def bits(seed: int, row: np.ndarray, counter: int) -> np.ndarray:
    """int64 [rows], in [0, 2**32): the integer of each row."""
    start = _mix(np.array([seed + 0x9E3779B9 & 0xFFFFFFFF]))
    return _mix(_mix(start + row & 0xFFFFFFFF) + counter & 0xFFFFFFFF)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ x >> 16) * 0x21F0AAAD & 0xFFFFFFFF
    x = (x ^ x >> 15) * 0x735A2D97 & 0xFFFFFFFF
    return x ^ x >> 15


def distinct(count: int, seed: int, below: np.ndarray) -> np.ndarray:
    """int64 [rows, count]: row i holds min(count, below[i]) distinct numbers below below[i], then -1.

    `below` is int64 [rows]; the rows are numbered from 0.  O(rows count) memory, O(rows count**2) time.
    """
    row = np.arange(len(below), dtype=np.int64)
    taken = np.minimum(count, below)
    chosen = np.full((len(below), count), -1, np.int64)
    for step in range(min(count, int(below.max(initial=0)))):
        last = below - taken + step
        drawn = bits(seed, row, step) * (last + 1) >> 32
        repeated = (chosen[:, :step] == drawn[:, None]).any(axis=1)
        chosen[:, step] = np.where(step < taken, np.where(repeated, last, drawn), -1)
    return chosen


def random_blocks(size: int, count: int, seed: int, n: int, past: bool = False) -> np.ndarray:
    """int64 [ceil(n / size), count]: the key blocks of each block of queries, -1 where there are fewer.

    With `past`, block i draws from the i + 1 blocks up to its own, whatever n is.
    """
    blocks = -(-n // size)
    row = np.arange(blocks, dtype=np.int64)
    return distinct(count, seed, row + 1 if past else np.full_like(row, blocks))


def random_keys(count: int, seed: int, n: int) -> np.ndarray:
    """int64 [n, count]: the keys of each query, -1 where there are fewer than `count`."""
    return distinct(count, seed, np.full(n, n, np.int64))
