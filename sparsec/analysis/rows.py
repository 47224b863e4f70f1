"""Which queries have keys: for what looks at a few calls of a pattern and wants them to say something."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain

import numpy as np

from sparsec.analysis import tables
from sparsec.analysis.blocks import inside
from sparsec.analysis.find import find
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import bounded
from sparsec.sets import budgets, fixed_tiles
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.regions import regions
from sparsec.sets.witness import Witness

_PAIRS = 1 << 24  # that are looked at one by one where sets give no answer


def queries_with_keys(pattern: ir.Pattern, n: int, queries: range) -> np.ndarray:
    """Positions among `queries` that see one of n keys in some head, int64, rising.

    A hint: where sets take too long, some queries are looked at and the others left out, and so are long tables.  Data
    of the call is taken to keep all that it can.
    """
    pattern = bounded(pattern)
    some = np.zeros(len(queries), bool)
    for condition in pattern.conditions:
        some |= _affine(tables.affine(condition), n, queries)
        if ir.leaves(condition) and tables.are_few(condition, n, queries):
            begun = np.zeros(len(queries) + 1, np.int64)  # boxes that begin at a query, less those that end before it
            with suppress(OutOfBudget):
                for boxes in chain.from_iterable(tables.listed(condition, n, queries)):
                    more = boxes.chosen(boxes.change > 0)
                    np.add.at(begun, more.q - queries.start, 1)
                    np.add.at(begun, more.q + more.high - queries.start, -1)
            some |= np.cumsum(begun)[:-1] > 0
    return queries.start + np.flatnonzero(some)


def first_pair(pattern: ir.Pattern) -> Witness | None:
    """A pair that some head can keep, at the least number of keys that conditions show; None where there is none."""
    pairs = [found.pair for found in map(find, bounded(pattern).conditions) if found.pair]
    return min(pairs, key=lambda pair: (pair.n, pair.q), default=None)


def _affine(condition: ir.Set, n: int, queries: range) -> np.ndarray:
    try:
        with budget(budgets.ROWS):
            rows = regions(fixed_tiles.touched(condition, n, (1, n), queries))
        return inside(rows, np.arange(len(queries))[:, None], np.zeros(1, np.int64))[:, 0]
    except OutOfBudget:
        some = np.zeros(len(queries), bool)
        step = -(-len(queries) * n // _PAIRS)
        chunk = step * max(1, (1 << 20) // n)
        for first in range(0, len(queries), chunk):
            picked = np.arange(first, min(first + chunk, len(queries)), step)
            some[picked] = tables.holds(condition, queries.start + picked[:, None], np.arange(n), n, {}).any(-1)
        return some
