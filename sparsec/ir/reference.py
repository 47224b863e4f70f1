"""What a condition means, read literally: a dense Boolean array; and a score, real numbers.  Everything else is tested
against this file.

It shares no code with anything that optimises, takes O(n_q n_k) memory, and is for tests and pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, reduce
from types import MappingProxyType

import numpy as np

from sparsec.ir import nodes, random, scores
from sparsec.ir.inputs import inputs_read
from sparsec.ir.scores import Real

# By input, of one row of the batch and one head: [entries], a number, lists [rows, t], or labels [lines, n_q + n].
Data = Mapping[str, np.ndarray]


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
    read = _Pairs((condition,), queries, keys, n, data, first=first)
    return np.array(np.broadcast_to(read.holds(condition), (len(queries), len(keys))))


def scored(
    score: Real,
    s: np.ndarray,
    queries: np.ndarray,
    head: int = 0,
    heads: int = 1,
    data: Data = MappingProxyType({}),
) -> np.ndarray:
    """Like s [len(queries), n_k]: the score of each pair of a head, from the scaled products s of queries and keys.

    `queries` are positions, and n is n_k.  In the type of s, float64 mostly; infinite and not a number where the
    formula is.  `data`: entries of inputs, of the head, by name.
    """
    keys = np.arange(s.shape[1])
    about = tuple(part for part in scores.parts(score) if isinstance(part, nodes.Node))
    read = _Pairs(about, queries, keys, s.shape[1], data, {"h": head, "H": heads})

    @cache  # derivatives have many parts in common
    def real(node: Real) -> np.ndarray:
        match node:
            case scores.Number(value):
                return np.full((1, 1), value, s.dtype)
            case scores.Scaled():
                return s
            case scores.Whole(value):
                return read.value(value).astype(s.dtype)
            case scores.ReadReal(name, indices):
                return _real_entries(data[name], [read.value(index).astype(np.int64) for index in indices]).astype(
                    s.dtype
                )
            case scores.Arithmetic(left, op, right):
                return _ARITHMETIC[op](real(left), real(right))
            case scores.Apply(function, value):
                return getattr(np, function)(real(value))
            case scores.Extreme(kind, left, right):
                return (np.minimum if kind == "min" else np.maximum)(real(left), real(right))
            case scores.Choose(then, test, other):
                return np.where(read.holds(test), real(then), real(other))
            case scores.Piece(left, op, right, then, other):
                return np.where(_COMPARE[op](real(left), real(right)), real(then), real(other))
        raise TypeError(f"not a score: {node!r}")

    with np.errstate(all="ignore"):
        return np.array(np.broadcast_to(real(score), s.shape))


def _real_entries(some: np.ndarray, indices: list[np.ndarray]) -> np.ndarray:
    """Entries of an array with as many axes as there are indices; 0 where an index is outside."""
    inside = np.full((1, 1), True)
    for index, length in zip(indices, some.shape, strict=True):
        inside = inside & (index >= 0) & (index < length)
    return np.where(inside, some[tuple(np.where(inside, index, 0) for index in indices)], 0.0)


class _Pairs:
    """Integers and conditions at chosen positions; `about`: all that will be asked."""

    def __init__(
        self,
        about: tuple[nodes.Node, ...],
        queries: np.ndarray,
        keys: np.ndarray,
        n: int,
        data: Data,
        more: Mapping[str, int] = MappingProxyType({}),
        first: int = 0,
    ) -> None:
        known = {
            name: np.asarray(some) for node in about for leaf in nodes.leaves(node) for name, some in _data_of(leaf)
        }
        self.data = {**data, **known}
        self.queries, self.keys, self.n, self.first = queries, keys, n, first
        numbers = queries, keys, *(self.data[name] for node in about for name in inputs_read(node))
        ends = [abs(int(end)) for some in numbers if some.size for end in (some.min(), some.max())]
        furthest = max([n, *more.values(), *ends])
        largest = max((_largest(node, furthest) for node in about), default=0)
        self.integers = np.int64 if largest < 2**63 else object
        self.inside: list[np.ndarray] = []  # of the test of data that is being evaluated: which indices are there
        self.variables = {"q": queries[:, None].astype(self.integers), "k": keys[None, :].astype(self.integers)}
        self.variables |= {name: np.full((1, 1), x, self.integers) for name, x in {"n": n, **more}.items()}

    def value(self, node: nodes.Int) -> np.ndarray:
        """Of `integers`, broadcastable to [queries, keys]."""
        match node:
            case nodes.Const(number):
                return np.full((1, 1), number, self.integers)
            case nodes.Var(name):
                return self.variables[name]
            case nodes.FloorDiv(left, divisor):
                return np.floor_divide(self.value(left), divisor)
            case nodes.Mod(left, divisor):
                return np.mod(self.value(left), divisor)
            case nodes.Abs(inner):
                return np.abs(self.value(inner))
            case nodes.Select(test, then, other):
                return np.where(self.holds(test), self.value(then), self.value(other))
            case nodes.Read(name, index):
                if index is None:
                    return np.full((1, 1), self.data[name], self.integers)
                place, entries = self.value(index), np.append(self.data[name], 0).astype(self.integers)
                there = np.asarray((place >= 0) & (place < len(self.data[name])), bool)
                self.inside.append(there)
                return entries[np.where(there, place, -1).astype(np.int64)]
        operation = {nodes.Add: np.add, nodes.Sub: np.subtract, nodes.Mul: np.multiply}
        return (operation | {nodes.Min: np.minimum, nodes.Max: np.maximum})[type(node)](
            self.value(node.left), self.value(node.right)
        )

    def holds(self, node: nodes.Set | nodes.Test) -> np.ndarray:
        """Bool, broadcastable to [queries, keys]."""
        match node:
            case nodes.Bool(truth):
                return np.asarray(truth)
            case nodes.Compare(left, op, right):
                return np.asarray(_COMPARE[op](self.value(left), self.value(right)), bool)
            case nodes.Member(inner, members):
                return np.isin(self.value(inner), np.array(members, self.integers))
            case nodes.ElementOf(inner, name):
                return np.isin(self.value(inner), self.data[name].astype(self.integers))
            case nodes.Chosen(name, rows, size):
                return _chosen(self.data[name], (self.queries - self.first) // rows, self.keys // size)
            case nodes.Grouped(name, near):
                return _grouped(self.data[name], self.queries - self.first, self.keys, self.n, near)
            case nodes.And(parts):
                return reduce(np.logical_and, map(self.holds, parts))
            case nodes.Or(parts):
                return reduce(np.logical_or, map(self.holds, parts))
            case nodes.Not(part):
                return np.logical_not(self.holds(part))
            case nodes.DataTest(test):
                self.inside.clear()
                held = self.holds(test)
                return reduce(np.logical_and, self.inside, held)
            case nodes.Blocks() | nodes.RandomBlocks() | nodes.RandomKeys():
                return _listed(node, self.queries // node.size, self.keys // node.size, self.n)
        raise TypeError(f"not a condition: {node!r}")


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


def _grouped(labels: np.ndarray, row: np.ndarray, key: np.ndarray, n: int, near: bool) -> np.ndarray:
    """Bool [len(row), len(key)]: are a query and a key in one group, by labels [lines, n_q + n]?"""
    queries = labels.shape[1] - n
    found = np.zeros((len(row), len(key)), bool)
    rows, keys = np.flatnonzero((row >= 0) & (row < queries)), np.flatnonzero((key >= 0) & (key < n))
    for line in labels:
        own, other = line[row[rows], None], line[None, queries + key[keys]]
        found[np.ix_(rows, keys)] |= np.isin(own - other, (0, 1)) if near else (own & other) != 0
    return found


_ARITHMETIC = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power}
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
