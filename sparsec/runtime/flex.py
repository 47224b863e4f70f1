"""A pattern as FlexAttention's mask_mod, for comparisons: the same condition, read with torch's own operators.

Closures and no text: they are traced, by `torch.vmap` in `create_block_mask` and by `torch.compile`.  Heads whose
conditions differ only in numbers share one condition, its numbers looked up by head, as a person would write it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsec.analysis import tables
from sparsec.ir import nodes as ir
from sparsec.ir.inputs import reads
from sparsec.runtime.by_head import ByHead, alike, field, item
from sparsec.runtime.given import checked, spread

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Line(NamedTuple):
    """The row of the batch and the head that a pair belongs to: index tensors of no dimension."""

    b: Tensor
    h: Tensor

    def of(self, x: Tensor) -> tuple[Tensor | int, Tensor | int]:
        """Its place in x [B or 1, H or 1, ..]."""
        return self.b if len(x) > 1 else 0, self.h if x.shape[1] > 1 else 0


Term = Callable[[Line, Tensor, Tensor], "Tensor | int"]  # of q and k, which are index tensors of no dimension

_COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}
_FEW = 16  # keys of a query that are compared one by one
_DENSE = 1 << 28  # bytes of a table with an entry for each pair of blocks
_BINARY = {ir.Add: operator.add, ir.Sub: operator.sub, ir.Mul: operator.mul}


def mask_mod(
    pattern: ir.Pattern,
    n: int,
    device: torch.device | str = "cpu",
    q_offset: int = 0,
    inputs: Mapping[str, object] = MappingProxyType({}),
) -> MaskMod:
    """mask_mod(b, h, q_idx, kv_idx) -> bool, for n keys; its tables are on `device`, and so are the pattern's inputs.

    Query q_idx stands at position q_idx + q_offset, which stays below n.  SparsecError for inputs that do not fit.
    """
    arrays, sizes = checked(pattern, inputs, n, n - q_offset)
    data = {each.name: torch.from_numpy(spread(each, arrays[each.name])).to(device) for each in pattern.inputs}
    heads = pattern.head_conditions or (0,)
    made = Terms(n, torch.device(device), len(heads), data, q_offset, sizes.get("H", 1)).condition(
        {head: pattern.conditions[index] for head, index in enumerate(heads)}
    )

    def mask(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        return made(Line(b, h), q_idx + q_offset if q_offset else q_idx, kv_idx)

    return mask


class Terms:
    """Conditions and integers of several heads -> one term of (line, q, k)."""

    def __init__(
        self, n: int, device: torch.device, heads: int, data: Mapping[str, Tensor], first: int, query_heads: int
    ) -> None:
        self.n, self.device, self.heads, self.data = n, device, heads, data
        self.first, self.query_heads = first, query_heads  # the position of the first query; heads that inputs tell

    def condition(self, nodes: ByHead) -> Term:
        groups = alike(nodes)
        if len(groups) > 1:
            return _any([_both(self.among(group), self.condition(group)) for group in groups])
        match next(iter(nodes.values())):
            case ir.Bool(value):
                return lambda h, q, k: (q == q) & value
            case ir.Compare(op=op):
                left, right = self.integer(field(nodes, "left")), self.integer(field(nodes, "right"))
                return _compare(_COMPARE[op], left, right)
            case ir.Member(members=members):
                tested = self.integer(field(nodes, "value"))
                listed = [self._number(item(nodes, "members", index)) for index in range(len(members))]
                return _any([_compare(operator.eq, tested, member) for member in listed])
            case ir.And(parts):
                return _all([self.condition(item(nodes, "parts", index)) for index in range(len(parts))])
            case ir.Or(parts):
                return _any([self.condition(item(nodes, "parts", index)) for index in range(len(parts))])
            case ir.Not():
                part = self.condition(field(nodes, "part"))
                return lambda h, q, k: ~part(h, q, k)
            case ir.Blocks() | ir.RandomBlocks() | ir.RandomKeys() as leaf:
                return self._table(leaf)
            case ir.DataTest() as leaf:
                return self._data_test(leaf)
            case other:
                raise TypeError(f"not a condition: {other!r}")

    def integer(self, nodes: ByHead) -> Term:
        groups = alike(nodes)
        if len(groups) > 1:
            chosen = ((self.among(group), self.integer(group)) for group in groups[1:])
            return reduce(_where, chosen, self.integer(groups[0]))
        match next(iter(nodes.values())):
            case ir.Const():
                return self._number(field(nodes, "value"))
            case ir.Var(name):
                given: dict[str, Term] = {"q": lambda at, q, k: q, "k": lambda at, q, k: k, "h": lambda at, q, k: at.h}
                numbers = {"n": self.n, "H": self.heads}
                return given[name] if name in given else lambda at, q, k: numbers[name]
            case ir.FloorDiv():
                return _apply(operator.floordiv, *self._divided(nodes))
            case ir.Mod():
                return _apply(operator.mod, *self._divided(nodes))
            case ir.Read() as read:
                return self._read(read)
            case ir.Abs():
                value = self.integer(field(nodes, "value"))
                return lambda h, q, k: abs(value(h, q, k))
            case ir.Select():
                test = self.condition(field(nodes, "condition"))
                then, other = self.integer(field(nodes, "then")), self.integer(field(nodes, "other"))
                return _where(other, (test, then))
            case node:
                operation = {**_BINARY, ir.Min: _least, ir.Max: _greatest}[type(node)]
                return _apply(operation, self.integer(field(nodes, "left")), self.integer(field(nodes, "right")))

    def _divided(self, nodes: ByHead) -> tuple[Term, Term]:
        return self.integer(field(nodes, "left")), self._number(field(nodes, "divisor"))

    def _number(self, values: Mapping[int, int]) -> Term:
        """A number, or a look-up by head; heads that are not asked about read one that is valid."""
        first = next(iter(values.values()))
        if set(values.values()) == {first}:
            return lambda h, q, k: first
        table = torch.tensor([values.get(head, first) for head in range(self.heads)], device=self.device)
        return lambda at, q, k: table[at.h]

    def among(self, nodes: ByHead) -> Term:
        table = torch.tensor([head in nodes for head in range(self.heads)], device=self.device)
        return lambda at, q, k: table[at.h]

    def _data_test(self, leaf: ir.DataTest) -> Term:
        """The test, and that every index of it is there."""
        test = leaf.test
        indexed = [read for read in reads(leaf) if isinstance(read, ir.Read) and read.index is not None]
        if isinstance(test, ir.Chosen):
            return self._chosen(test)
        if isinstance(test, ir.Grouped):
            return self._grouped(test)
        if isinstance(test, ir.ElementOf):
            x, value = self.data[test.name], self.integer({0: test.value})
            terms = [lambda at, q, k: (x[at.of(x)] == (value(at, q, k) + q * 0)[..., None]).any(-1)]
        else:
            terms = [self.condition({0: test})]
        return _all([*(self._inside(self.data[read.name], read) for read in indexed), *terms])

    def _chosen(self, test: ir.Chosen) -> Term:
        """Whether the list of the query names the block of the key."""
        x = self.data[test.name]

        def chosen(at: Line, q: Tensor, k: Tensor) -> Tensor:
            own = (q - self.first) // test.rows
            group = at.h * x.shape[1] // self.query_heads if x.shape[1] > 1 else 0
            listed = x[at.b, group, own.clamp(0, x.shape[2] - 1)] == k // test.size
            return (own >= 0) & (own < x.shape[2]) & listed.any(-1)

        return chosen

    def _grouped(self, test: ir.Grouped) -> Term:
        """Whether labels put the query and the key together."""
        x = self.data[test.name].movedim(2, -1)  # [B, H, labels, lines]
        queries = x.shape[2] - self.n

        def grouped(at: Line, q: Tensor, k: Tensor) -> Tensor:
            own = q - self.first
            of_query = x[at.of(x)][own.clamp(0, max(queries - 1, 0))]
            of_key = x[at.of(x)][queries + k]
            fits = (of_query == of_key) | (of_query == of_key + 1) if test.near else (of_query & of_key) != 0
            return (own >= 0) & (own < queries) & fits.any(-1)

        return grouped

    def _inside(self, x: Tensor, read: ir.Read) -> Term:
        assert read.index is not None
        index, length = self.integer({0: read.index}), x.shape[-1]

        def inside(at: Line, q: Tensor, k: Tensor) -> Tensor:
            place = index(at, q, k) + q * 0  # a tensor, also where the index is a number
            return (place >= 0) & (place < length)

        return inside

    def _read(self, read: ir.Read) -> Term:
        """The entry at an index, another one where there is none; 0 where there are no entries."""
        x = self.data[read.name]
        if read.index is None:
            return lambda at, q, k: x[at.of(x)][..., 0]
        if x.shape[-1] == 0:
            return lambda at, q, k: q * 0
        index, last = self.integer({0: read.index}), x.shape[-1] - 1
        return lambda at, q, k: x[*at.of(x), (index(at, q, k) + q * 0).clamp(0, last)]

    def _table(self, leaf: ir.Table) -> Term:
        """A look-up among the few keys of each query, in bool [blocks, blocks], or in rows one after the other."""
        table = tables.source(leaf)(self.n, range(self.n))
        size, blocks, width = leaf.size, -(-self.n // leaf.size), int(np.diff(table.starts).max(initial=0))
        if isinstance(leaf, ir.RandomKeys) and width <= _FEW:
            keys = torch.from_numpy(table.entries).view(self.n, width).to(self.device)
            return lambda h, q, k: reduce(operator.or_, (keys[q, place] == k for place in range(width)))
        if width == 0:
            return lambda h, q, k: q != q
        if blocks**2 <= _DENSE:
            seen = torch.zeros((blocks, blocks), dtype=torch.bool)
            there = table.entries < blocks
            seen[table.rows[there], table.entries[there]] = True
            seen = seen.to(self.device)
            return lambda h, q, k: seen[q // size, k // size]
        starts, entries = (torch.from_numpy(x).to(self.device) for x in (table.starts, table.entries))
        return _searched(leaf.size, starts, entries, width)


def _searched(size: int, starts: Tensor, entries: Tensor, width: int) -> Term:
    """A look-up by halving, without a loop whose length depends on data: rows have at most `width` entries."""

    def listed(h: Line, q: Tensor, k: Tensor) -> Tensor:
        unit, row = k // size, q // size
        known, row = row < len(starts) - 1, row.clamp(max=len(starts) - 2)
        first, stop = starts[row], starts[row + 1]
        place = first - 1  # of the last entry that is seen to be at most `unit`
        for step in reversed(range(width.bit_length())):
            ahead = place + (1 << step)
            right = (ahead < stop) & (entries[ahead.clamp(max=len(entries) - 1)] <= unit)
            place = torch.where(right, ahead, place)
        return known & (place >= first) & (entries[place.clamp(min=0)] == unit)

    return listed


# ---------------------------------------------------------------- terms of terms


def _apply(operation: Callable, left: Term, right: Term) -> Term:
    return lambda h, q, k: operation(left(h, q, k), right(h, q, k))  # // and % round down, also on tensors


def _compare(operation: Callable, left: Term, right: Term) -> Term:
    def compared(h: Line, q: Tensor, k: Tensor) -> Tensor:
        found = operation(left(h, q, k), right(h, q, k))
        return found if isinstance(found, Tensor) else (q == q) & found

    return compared


def _where(other: Term, chosen: tuple[Term, Term]) -> Term:
    test, then = chosen
    return lambda h, q, k: torch.where(test(h, q, k), then(h, q, k), other(h, q, k))


def _both(left: Term, right: Term) -> Term:
    return lambda h, q, k: left(h, q, k) & right(h, q, k)


def _either(left: Term, right: Term) -> Term:
    return lambda h, q, k: left(h, q, k) | right(h, q, k)


def _all(terms: list[Term]) -> Term:
    return reduce(_both, terms)


def _any(terms: list[Term]) -> Term:
    return reduce(_either, terms)


def _least(left: Tensor | int, right: Tensor | int) -> Tensor | int:
    if isinstance(left, int):
        return min(left, right) if isinstance(right, int) else right.clamp(max=left)
    return left.clamp(max=right) if isinstance(right, int) else torch.minimum(left, right)


def _greatest(left: Tensor | int, right: Tensor | int) -> Tensor | int:
    return -_least(-left, -right)
