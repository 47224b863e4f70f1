"""Tiles of a fixed size, numbered from 0, that hold points of a set."""

from __future__ import annotations

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.sets.context import context
from sparsec.sets.points import at
from sparsec.sets.to_isl import clipped, relation


def touched(condition: ir.Set, n: int, tile: tuple[int, int], queries: range | None = None) -> isl.Set:
    """{ [i, j] }: tiles of tile[0] queries and tile[1] keys with a pair of `queries`, by default 0..n, and n keys."""
    return _tiles(pairs(condition, n, queries), tile, queries)


def not_full(condition: ir.Set, n: int, tile: tuple[int, int], queries: range | None = None) -> isl.Set:
    """{ [i, j] }: tiles with all their keys below n that lack a pair of a query of `queries`, by default 0..n."""
    missing = _tiles(pairs(ir.Not(condition), n, queries), tile, queries)
    return missing.intersect(isl.Set.read_from_str(context(), f"{{ [i, j] : j < {n // tile[1]} }}"))


def pairs(condition: ir.Set, n: int, queries: range | None = None) -> isl.Set:
    """{ [q, k] }: the pairs of `queries`, by default 0..n, and n keys; no tables."""
    if queries is None or queries == range(n):
        return at(clipped(condition), n)
    inside = f"{{ [q, k] : {queries.start} <= q < {queries.stop} and 0 <= k < {n} }}"
    return at(relation(condition), n).intersect(isl.Set.read_from_str(context(), inside)).coalesce()


def _tiles(pairs: isl.Set, tile: tuple[int, int], queries: range | None) -> isl.Set:
    first = queries.start if queries else 0
    number = f"{{ [q, k] -> [i, j] : i = floor((q - {first}) / {tile[0]}) and j = floor(k / {tile[1]}) }}"
    return pairs.apply(isl.Map.read_from_str(context(), number)).coalesce()


def numbered(pairs: isl.Set, spans: tuple[tuple[int, int], tuple[int, int]], cells: tuple[int, int]) -> isl.Set:
    """{ [i, j] }: cells of cells[0] queries by cells[1] keys, from the beginnings of the spans on, with a pair of both.

    The spans are of queries and of keys, their ends not included.
    """
    (top, bottom), (first, last) = spans
    box = isl.Set.read_from_str(context(), f"{{ [q, k] : {top} <= q < {bottom} and {first} <= k < {last} }}")
    number = f"{{ [q, k] -> [i, j] : i = floor((q - {top}) / {cells[0]}) and j = floor((k - {first}) / {cells[1]}) }}"
    return pairs.intersect(box).coalesce().apply(isl.Map.read_from_str(context(), number)).coalesce()
