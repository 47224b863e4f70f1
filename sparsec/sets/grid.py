"""Tiles of a fixed size, numbered from 0, that hold points of a set."""

from __future__ import annotations

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.sets.context import context
from sparsec.sets.convert import clipped
from sparsec.sets.points import at


def touched(condition: ir.Set, n: int, tile: tuple[int, int]) -> isl.Set:
    """{ [i, j] }: tiles of tile[0] queries and tile[1] keys with a pair of self-attention at n."""
    return _tiles(at(clipped(condition), n), tile)


def not_full(condition: ir.Set, n: int, tile: tuple[int, int]) -> isl.Set:
    """{ [i, j] }: tiles with all their keys below n that lack a pair of a query below n."""
    missing = _tiles(at(clipped(ir.Not(condition)), n), tile)
    return missing.intersect(isl.Set.read_from_str(context(), f"{{ [i, j] : j < {n // tile[1]} }}"))


def _tiles(pairs: isl.Set, tile: tuple[int, int]) -> isl.Set:
    number = f"{{ [q, k] -> [i, j] : i = floor(q / {tile[0]}) and j = floor(k / {tile[1]}) }}"
    return pairs.apply(isl.Map.read_from_str(context(), number)).coalesce()
