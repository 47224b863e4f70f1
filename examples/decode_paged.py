"""Sequences that grow in a cache of pages, some of which are freed as they grow: `attend.decode`, on a CPU.

The pattern keeps the first 4 keys and the last 60.  Pages of 16 keys that no row will see any more, which
`attend.retention()` tells, are used again, so that a few of them serve a sequence of any length.
"""

from __future__ import annotations

import torch
from torch import Tensor

import sparsec
from sparsec.analysis.retention import Retention

SINKS, WINDOW, PAGE, PAGES = 4, 60, 16, 18
HEADS, KV_HEADS, SIZE = 8, 2, 32


class Cache:
    """Keys and values [pages, page, H_kv, D], and the pages of each sequence."""

    def __init__(self, kept: Retention, sequences: int, longest: int) -> None:
        self.kept = kept
        self.k, self.v = torch.full((2, PAGES, PAGE, KV_HEADS, SIZE), float("nan")).unbind(0)
        self.table = torch.full((sequences, -(-longest // PAGE)), -1, dtype=torch.int32)  # -1: there is none
        self.lengths = torch.zeros(sequences, dtype=torch.int32)
        self.free = list(range(PAGES))

    def append(self, row: int, k: Tensor, v: Tensor) -> None:
        """One more key of a sequence, k and v [H_kv, D]."""
        n = int(self.lengths[row])
        if n % PAGE == 0:
            self.table[row, n // PAGE] = self.free.pop()
        page = self.table[row, n // PAGE]
        self.k[page, n % PAGE], self.v[page, n % PAGE] = k, v
        self.lengths[row] += 1
        for gone in self.kept.skipped(n, PAGE):  # row n and later ones see nothing of it
            if self.table[row, gone] >= 0:
                page = int(self.table[row, gone])
                self.k[page], self.v[page], self.table[row, gone] = float("nan"), float("nan"), -1
                self.free.append(page)


def main(steps: int = 200) -> float:
    """The largest difference between steps and the attention over whole sequences."""
    attend = sparsec.compile("pattern streaming(s = 4, w = 60) = sinks(s) | past(w)", s=SINKS, w=WINDOW)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, steps, HEADS, SIZE, generator=generator)
    k, v = torch.randn(2, 2, steps, KV_HEADS, SIZE, generator=generator).unbind(0)
    cache, found = Cache(attend.retention(), 2, steps), torch.empty_like(q)
    for step in range(steps):
        for row in range(2):
            cache.append(row, k[row, step], v[row, step])
        found[:, step] = attend.decode(q[:, step], cache.k, cache.v, cache.lengths, cache.table)
    whole = attend(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)
    error = (found - whole).abs().max().item()
    used = PAGES - len(cache.free)
    print(f"{steps} steps from {used} pages of {PAGE} keys instead of {2 * -(-steps // PAGE)}; error {error:.1e}")
    return error


if __name__ == "__main__":
    main()
