"""Random data for the inputs of a pattern: rising ids, positions, lengths, lists, and numbers outside of all that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sparsec.ir import reference
from sparsec.ir.inputs import Input, of_row
from sparsec.ir.nodes import Pattern

_LIST = 8  # entries of a list, at most
_NEAR = 4  # numbers outside of positions are at most so far from them


def random_data(inputs: Sequence[Input], batch: int, heads: int, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """An array for each input, bool or int64, with the axes of its declaration."""
    random = np.random.default_rng(seed)
    sizes = {"B": batch, "H": heads, "n": n}
    found = {}
    for each in inputs:
        shape = [sizes[axis] if axis in sizes else int(random.integers(0, _LIST + 1)) for axis in each.axes]
        found[each.name] = _bools(random, shape) if each.kind == "bool" else _integers(random, shape, n)
    return found


def _bools(random: np.random.Generator, shape: list[int]) -> np.ndarray:
    return np.asarray(random.random(shape)) < random.choice([0.1, 0.5])


def _integers(random: np.random.Generator, shape: list[int], n: int) -> np.ndarray:
    """Rising ids of some documents, small numbers, or positions and some that are none."""
    match random.integers(3):
        case 0:
            ids = np.asarray(random.integers(-1, max(2, min(n // 4, 6)), shape))
            return np.sort(ids) if shape else ids
        case 1:
            return np.asarray(random.integers(-1, 5, shape))
    return np.asarray(random.integers(-_NEAR, n + _NEAR, shape))


def masks(
    pattern: Pattern, data: Mapping[str, np.ndarray], batch: int, heads: int, queries: np.ndarray, n: int
) -> np.ndarray:
    """Bool [batch, heads, len(queries), n]: what a pattern keeps at chosen positions, with data of these axes."""
    conditions = [pattern.conditions[number] for number in pattern.head_conditions or (0,) * heads]

    def one(row: int, head: int) -> np.ndarray:
        own = of_row(pattern.inputs, data, row, head)
        return reference.evaluate(conditions[head], queries, np.arange(n), n, own)

    return np.stack([np.stack([one(row, head) for head in range(heads)]) for row in range(batch)])
