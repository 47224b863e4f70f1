"""What a condition means, read literally: a dense Boolean array.  Everything else is tested against this file.

It shares no code with anything that optimises, takes O(n_q n_k) memory, and is for tests and pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from types import MappingProxyType

import numpy as np

from sparsec.ir import nodes, random
from sparsec.ir.inputs import inputs_read

Data = Mapping[str, np.ndarray]  # by input, of one row of the batch and one head: [entries], a number, or [rows, t]


def mask(
    condition: nodes.Set, n_q: int, n_k: int, q_offset: int | None = None, data: Data = MappingProxyType({})
) -> np.ndarray:
    """Bool [n_q, n_k]: may query i attend to key j?  Query i is at position i + q_offset, by default i + n_k - n_q."""
    offset = n_k - n_q if q_offset is None else q_offset
    return evaluate(condition, np.arange(n_q) + offset, np.arange(n_k), n_k, data, offset)


def evaluate(
    condition: nodes.Set,
    queries: np.ndarray,
    keys: np.ndarray,
    n: int,
    data: Data = MappingProxyType({}),
    first: int = 0,
) -> np.ndarray:
    """Bool [len(queries), len(keys)]: the condition at chosen positions, int64 each, of n keys.

    `first`: the position of the first query of the call, from which lists of chosen blocks count.
    Exact whatever the numbers: where 64 bits may not hold a value, Python's own integers are counted with.
    """
    q, k = queries[:, None], keys[None, :]
    data = {**data, **{name: np.asarray(some) for leaf in nodes.leaves(condition) for name, some in _data_of(leaf)}}
    numbers = queries, keys, *(data[name] for name in inputs_read(condition))
    furthest = max([n, *(abs(int(end)) for some in numbers if some.size for end in (some.min(), some.max()))])
    integers = np.int64 if _largest(condition, furthest) < 2**63 else object
    inside: list[np.ndarray] = []  # of the test of data that is being evaluated: which indices are there
    variables = {"q": q.astype(integers), "k": k.astype(integers), "n": np.full((1, 1), n, integers)}

    def value(node: nodes.Int) -> np.ndarray:  # of `integers`, broadcastable to [queries, keys]
        match node:
            case nodes.Const(number):
                return np.full((1, 1), number, integers)
            case nodes.Var(name):
                return variables[name]
            case nodes.FloorDiv(left, divisor):
                return np.floor_divide(value(left), divisor)
            case nodes.Mod(left, divisor):
                return np.mod(value(left), divisor)
            case nodes.Abs(inner):
                return np.abs(value(inner))
            case nodes.Select(test, then, other):
                return np.where(holds(test), value(then), value(other))
            case nodes.Read(name, index):
                if index is None:
                    return np.full((1, 1), data[name], integers)
                place, entries = value(index), np.append(data[name], 0).astype(integers)
                there = np.asarray((place >= 0) & (place < len(data[name])), bool)
                inside.append(there)
                return entries[np.where(there, place, -1).astype(np.int64)]
        operation = {nodes.Add: np.add, nodes.Sub: np.subtract, nodes.Mul: np.multiply}
        return (operation | {nodes.Min: np.minimum, nodes.Max: np.maximum})[type(node)](
            value(node.left), value(node.right)
        )

    def holds(node: nodes.Set | nodes.Test) -> np.ndarray:  # bool, broadcastable to [queries, keys]
        match node:
            case nodes.Bool(truth):
                return np.asarray(truth)
            case nodes.Compare(left, op, right):
                return np.asarray(_COMPARE[op](value(left), value(right)), bool)
            case nodes.Member(inner, members):
                return np.isin(value(inner), np.array(members, integers))
            case nodes.ElementOf(inner, name):
                return np.isin(value(inner), data[name].astype(integers))
            case nodes.Chosen(name, rows, size):
                return _chosen(data[name], (queries - first) // rows, keys // size)
            case nodes.And(parts):
                return reduce(np.logical_and, map(holds, parts))
            case nodes.Or(parts):
                return reduce(np.logical_or, map(holds, parts))
            case nodes.Not(part):
                return np.logical_not(holds(part))
            case nodes.DataTest(test):
                inside.clear()
                held = holds(test)
                return reduce(np.logical_and, inside, held)
            case nodes.Blocks() | nodes.RandomBlocks() | nodes.RandomKeys():
                return _listed(node, queries // node.size, keys // node.size, n)
        raise TypeError(f"not a condition: {node!r}")

    return np.array(np.broadcast_to(holds(condition), (len(queries), len(keys))))


def _data_of(leaf: nodes.Leaf) -> tuple[tuple[str, nodes.Known], ...]:
    """What a test of data knows itself."""
    return leaf.data if isinstance(leaf, nodes.DataTest) else ()


def _largest(node: nodes.Node, furthest: int) -> int:
    """A bound of the size of every number met on the way to `node`, with positions up to `furthest`."""
    match node:
        case nodes.Const(number):
            return abs(number)
        case nodes.Var():
            return furthest
        case nodes.Read(_, index):
            return furthest if index is None else max(_largest(index, furthest), furthest)
        case nodes.DataTest(nodes.ElementOf(value, _)):
            return _largest(value, furthest)
        case nodes.DataTest(nodes.Compare() | nodes.Member() as test):
            return _largest(test, furthest)
        case nodes.DataTest():
            return furthest
        case nodes.FloorDiv(inner, divisor) | nodes.Mod(inner, divisor):
            return max(_largest(inner, furthest), divisor)
        case nodes.Member(inner, members):
            return max(_largest(inner, furthest), *map(abs, members))
    below = [_largest(part, furthest) for part in nodes.children(node)]
    match node:
        case nodes.Add() | nodes.Sub():
            return sum(below)
        case nodes.Mul():
            return math.prod(below)
    return max(below, default=0)


def _chosen(lists: np.ndarray, row: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Bool [len(row), len(unit)]: does line `row[i]` of lists [rows, t] name `unit[j]`?  Below 0 it names none."""
    found = np.zeros((len(row), len(unit)), bool)
    for place, own in enumerate(row):
        if 0 <= own < len(lists):
            found[place] = np.isin(unit, lists[own]) & (unit >= 0)
    return found


_COMPARE = {
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
    ">=": np.greater_equal,
    ">": np.greater,
}


def _listed(table: nodes.Table, row: np.ndarray, unit: np.ndarray, n: int) -> np.ndarray:
    """Bool [len(row), len(unit)]: does row `row[i]` of the table list the block or key `unit[j]`?"""
    rows, row_place = np.unique(row, return_inverse=True)
    units, unit_place = np.unique(unit, return_inverse=True)
    lists = np.zeros((len(rows), len(units)), bool)
    height = len(table.rows) if isinstance(table, nodes.Blocks) else -(-n // table.size)
    known = np.flatnonzero((rows >= 0) & (rows < height))  # rows beyond the table list nothing
    for place, entries in zip(known, _entries(table, rows[known], n), strict=True):
        lists[place] = np.isin(units, entries)
    return lists[row_place][:, unit_place]


def _entries(table: nodes.Table, rows: np.ndarray, n: int) -> Iterable[Sequence[int]]:
    """What each of some rows lists; -1 among it is no block."""
    match table:
        case nodes.Blocks(_, listed):
            return (listed[row] for row in rows)
        case nodes.RandomBlocks(size, count, seed, past):
            return random.random_blocks(size, count, seed, n, past, rows)
        case nodes.RandomKeys(count, seed):
            return random.random_keys(count, seed, n, rows)
