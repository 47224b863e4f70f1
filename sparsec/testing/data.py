"""Random data for the inputs of a pattern: rising ids, positions, lengths, lists, and numbers outside of all that.

Lists of chosen blocks are drawn for one head, or for each; they repeat blocks, or name none or the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sparsec.ir import reference
from sparsec.ir.inputs import Input, of_row
from sparsec.ir.nodes import Pattern

_LIST = 8  # entries of a list, at most
_NEAR = 4  # numbers outside of positions are at most so far from them


def random_data(
    inputs: Sequence[Input],
    batch: int,
    heads: int,
    n: int,
    seed: int = 0,
    *,
    n_q: int | None = None,
    kv_heads: int | None = None,
    head_size: int = 16,
) -> dict[str, np.ndarray]:
    """An array for each input, bool or int64, or float32 for what is chosen by, with the axes of its declaration, of a
    call with n_q queries, by default n, and kv_heads key heads, by default as many as query heads.
    """
    random = np.random.default_rng(seed)
    sizes = {"B": batch, "H": heads, "n": n}
    found: dict[str, np.ndarray] = {}
    queries = n if n_q is None else n_q
    for each in inputs:
        if each.kind == "labels":
            lines = int(random.integers(1, 4))
            found[each.name] = np.asarray(random.integers(0, _LIST, (batch, heads, lines, queries + n)))
            continue
        if each.is_chosen or each.is_chosen_by:
            groups = int(random.choice([1, kv_heads or heads, heads]))
            own = batch, groups, -(-queries // each.sizes[0])
            found[each.name] = (
                _lists(random, each, own, n) if each.is_chosen else _reals(random, each, own, n, head_size)
            )
            continue
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


def _lists(random: np.random.Generator, own: Input, shape: tuple[int, int, int], n: int) -> np.ndarray:
    """Blocks of keys at random, those that queries next to each other choose alike, the same for all, or none."""
    blocks, last = -(-n // own.sizes[1]), own.axes[-1]
    count = int(last) if last.isdigit() else int(random.integers(0, _LIST + 1))
    drawn = np.asarray(random.integers(-1, blocks + 1, (*shape, count)))
    match random.integers(4):
        case 0:
            return np.minimum(np.sort(drawn // 2, axis=2), blocks - 1)
        case 1:
            return np.broadcast_to(drawn[:, :, :1], drawn.shape).copy() if shape[2] else drawn
        case 2:
            return np.where(random.random((*shape, 1)) < 0.5, -1, drawn)
    return drawn


def _reals(random: np.random.Generator, own: Input, shape: tuple[int, int, int], n: int, head_size: int) -> np.ndarray:
    """Centroids, or scores of blocks, many of them equal."""
    if own.kind == "scores":
        return np.asarray(random.integers(-_LIST, _LIST, (*shape, -(-n // own.sizes[1]))), np.float32)
    count = int(own.axes[1]) if own.axes[1].isdigit() else int(random.integers(1, _LIST + 1))
    return random.standard_normal((shape[1], count, head_size), np.float32)


def masks(
    pattern: Pattern,
    data: Mapping[str, np.ndarray],
    batch: int,
    heads: int,
    queries: np.ndarray,
    n: int,
    first: int | None = None,
) -> np.ndarray:
    """Bool [batch, heads, len(queries), n]: what a pattern keeps at chosen positions, with data of these axes.

    `first`: the position of the first query of the call, by default that of the first of these.
    """
    first = int(queries[0]) if first is None and len(queries) else first or 0
    conditions = [pattern.conditions[number] for number in pattern.head_conditions or (0,) * heads]

    def one(row: int, head: int) -> np.ndarray:
        own = of_row(pattern.inputs, data, row, head, heads)
        return reference.evaluate(conditions[head], queries, np.arange(n), n, own, first)

    return np.stack([np.stack([one(row, head) for head in range(heads)]) for row in range(batch)])


def random_reals(inputs: Sequence[Input], heads: int, n: int, seed: int) -> dict[str, np.ndarray]:
    """Normally distributed numbers for float inputs of a batch of one row, lists of 64 entries."""
    sizes = {"B": 1, "H": heads, "n": n}
    shapes = {each.name: [sizes.get(axis, 64) for axis in each.axes] for each in inputs}
    return {
        name: np.asarray(np.random.default_rng([seed, *name.encode()]).standard_normal(shape))
        for name, shape in shapes.items()
    }
