"""What a pattern costs with data of a call: pairs and tiles counted by the reference, or estimated from some rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sparsec.analysis.cost import ConditionCost, Cost
from sparsec.analysis.count import Tiles
from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.ir.inputs import of_row

_MOST_PAIRS = 1 << 28  # that are looked at: some seconds
_FEWEST_ROWS = 4  # of tiles


def with_given(cost: Cost, pattern: ir.Pattern, arrays: Mapping[str, np.ndarray]) -> tuple[Cost, str]:
    """The cost with the data of a batch's first row, where `cost` is of a bound; how it was counted, in words.

    `arrays` have the axes of the declarations.
    """
    by_head = any("H" in each.axes for each in pattern.inputs)
    chosen = pattern.head_conditions or (0,) * cost.heads
    heads = range(cost.heads) if by_head else [chosen.index(number) for number in sorted(set(chosen))]
    side = cost.tile[0]
    rows = np.arange(-(-len(cost.queries) // side))
    most = max(_FEWEST_ROWS, _MOST_PAIRS // (max(cost.n, 1) * side * len(heads)))
    looked = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    parts = []
    for head in heads:
        own = of_row(pattern.inputs, arrays, 0, head)
        pairs, tiles = _counted(pattern.conditions[chosen[head]], own, cost, looked, len(rows))
        parts.append(ConditionCost(1 if by_head else chosen.count(chosen[head]), pairs, None, tiles))
    how = "counted" if len(looked) == len(rows) else f"estimated from {len(looked):,} of {len(rows):,} rows of tiles"
    return replace(cost, conditions=tuple(parts), complexity=None, tile_sizes=()), how


def _counted(
    condition: ir.Set, data: Mapping[str, np.ndarray], cost: Cost, looked: np.ndarray, rows: int
) -> tuple[int, Tiles]:
    """Pairs and tiles of the rows of tiles that are looked at, as shares of all of them."""
    (height, width), keys = cost.tile, np.arange(cost.n)
    pairs = full = partial = 0
    for row in looked:
        queries = np.asarray(cost.queries[row * height : (row + 1) * height])
        mask = np.broadcast_to(reference.evaluate(condition, queries, keys, cost.n, data), (len(queries), cost.n))
        kept = np.add.reduceat(mask.sum(0), np.arange(0, cost.n, width)) if cost.n else np.zeros(0, int)
        whole = kept == len(queries) * width
        pairs, full, partial = (
            pairs + int(kept.sum()),
            full + int(whole.sum()),
            partial + int(((kept > 0) & ~whole).sum()),
        )
    share = rows / max(len(looked), 1)
    full, partial = round(full * share), round(partial * share)
    return round(pairs * share), Tiles(full, partial, rows * -(-cost.n // width) - full - partial)
