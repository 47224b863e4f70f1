"""Witnesses for conditions with tables, by looking at a few short lengths."""

from __future__ import annotations

import numpy as np

from sparsec.analysis import tables
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import without_data
from sparsec.sets.witness import Witness

_LONGEST = 512


def searched(name: str, condition: ir.Set) -> Witness | None:
    """A witness for the fact `name` of `facts.Facts` among a few lengths, None when they show none.

    Where data of the call decides, it holds whatever that is.
    """
    condition = without_data(condition, "under" if name in ("empty", "later_key") else "over")
    unit = max((leaf.size for leaf in ir.tables(condition)), default=1)
    for n in sorted({1, 2, unit, 2 * unit + 1, 4 * unit, 96, 8 * unit + 3}):
        if n > _LONGEST:
            break
        positions = np.arange(n)
        kept = tables.holds(condition, positions[:, None], positions, n, tables.tables(condition, n, range(n)))
        kept = np.broadcast_to(kept, (n, n))
        places: np.ndarray | list[tuple[int, int]]
        match name:
            case "empty":
                places = np.argwhere(kept)
            case "later_key":
                places = np.argwhere(np.triu(kept, 1))
            case "row_without_key":
                places = [(q, -1) for q in np.nonzero(~kept.any(1))[0]]
            case _:
                places = [(-1, k) for k in np.nonzero(~kept.any(0))[0]]
        if len(places):
            return Witness(n, *map(int, places[0]))
    return None
