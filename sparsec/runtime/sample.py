"""Synthetic data for the inputs of a pattern, for costs and benchmarks, and what it holds in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsec.ir.inputs import Input

_DOCUMENTS = 16  # that ids tell apart, of lengths drawn log-uniformly, the longest at most 128 times the shortest
_TOKENS = 32  # positions where a bool input holds
_ENTRIES = 64  # of a list
_CENTROIDS = 16  # where no declaration says how many there are
_LISTED = 8  # blocks or keys that are chosen, where no declaration says how many


def drawn(
    inputs: Sequence[Input], n: int, batch: int, heads: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """An array for each input, with the axes of its declaration, and what it holds in words; of lists, those of one row
    and head for all, and self-attention.

    Of one name, row and head, the same whatever else is drawn.
    """
    arrays, words = {}, {}
    for each in inputs:
        random = np.random.default_rng([seed, *each.name.encode()])
        if each.is_chosen:
            arrays[each.name], words[each.name] = _lists(each, n, random)
            continue
        lines = [{"B": batch, "H": heads}[axis] for axis in each.axes if axis in ("B", "H")]
        found = [_line(each, n, random) for _ in range(int(np.prod(lines)))]
        shape = found[0][0].shape if found else ()
        arrays[each.name] = np.stack([some for some, _ in found]).reshape((*lines, *shape))
        words[each.name] = found[0][1]
    return arrays, words


def drawn_reals(
    reals: Sequence[Input], n: int, batch: int, head_size: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """As `drawn`, float32: normal numbers, by which an operator chooses, of self-attention."""
    arrays, words = {}, {}
    for each in reals:
        random = np.random.default_rng([seed, *each.name.encode()])
        shape: tuple[int, ...]
        if each.kind == "centroids":
            count = int(each.axes[1]) if each.axes[1].isdigit() else _CENTROIDS
            shape, words[each.name] = (1, count, head_size), f"{count} normal centroids"
        else:
            rows, size = each.sizes
            shape, words[each.name] = (batch, 1, -(-n // rows), -(-n // size)), "normal scores"
        arrays[each.name] = random.standard_normal(shape, np.float32)
    return arrays, words


def _lists(own: Input, n: int, random: np.random.Generator) -> tuple[np.ndarray, str]:
    """Blocks of keys at random, and in words."""
    (rows, size), last = own.sizes, own.axes[-1]
    count = int(last) if last.isdigit() else _LISTED
    blocks = -(-n // size)
    what = "keys" if size == 1 else f"blocks of {size:,} keys"
    for_each = "each query" if rows == 1 else f"each {rows:,} queries"
    return random.integers(0, max(blocks, 1), (1, 1, -(-n // rows), count)), f"{count} {what} at random for {for_each}"


def _line(own: Input, n: int, random: np.random.Generator) -> tuple[np.ndarray, str]:
    """What one row and head read, and its words."""
    along = own.axes[-1:] == ("n",)
    if own.kind == "bool":
        if not own.has_entries:
            return np.asarray(True), "true"
        size = n if along else _ENTRIES
        chosen = np.zeros(size, bool)
        chosen[random.permutation(size)[:_TOKENS]] = True
        return chosen, f"true at {min(size, _TOKENS)} of {size:,} entries"
    if along:
        ends = np.cumsum(128 ** random.random(_DOCUMENTS))
        ids = np.searchsorted(ends / ends[-1], np.arange(n) / max(n, 1), side="right")
        return ids, f"rising ids of {len(np.unique(ids))} documents"
    if own.has_entries:
        count = min(n, _ENTRIES)
        return np.sort(random.permutation(n)[:count]), f"{count} positions"
    number = int(random.integers(1, max(n // 8, 1) + 1))
    return np.asarray(number), f"{number:,}"
