"""What a plan will cost on one thread of a CPU, where stacks of tiles go through torch's own attention.

The unit is the time of 64 queries with 64 keys and one head, forward and backward, in a product of many rows: some 60
us of a server's core with heads of 64 in fp32.  What is lost for each key, what a region costs besides and what a
call costs were measured there too.  Which tiles are taken together is not known before a list is made; it is taken
to be as in a band, where each tile begins one later than its neighbour.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sparsec.plan.cost_model import named
from sparsec.plan.evaluate import steps
from sparsec.plan.nodes import Region, Residue, Variant
from sparsec.plan.programs import BLOCK

_HEIGHTS = np.array([[1], [2], [4], [8]])  # tiles of queries that are taken together, as in kernels/cpu/stacks.py
_LOST = 0.84  # for each tile of keys of a product, as there
_TILE = 0.6  # of queries: reading them, storing and joining their results
_CALL = 3.0  # of Python, some 3 ms over 16 heads
_REGION = 1.5
_GROUPED = 11.0  # for each tile of a group, whose tokens are gathered and whose pairs are compared with earlier groups


def cpu_cost(variant: Variant, n: int) -> float:
    """Predicted time of forward and backward at self-attention of n positions, a head's share of 16."""
    regions = [region for kernel in variant.of("forward") for region in kernel.regions]
    return _CALL + sum(_region(region, n) for region in regions)


@lru_cache(maxsize=1024)
def _region(region: Region, n: int) -> float:
    anywhere = named(region.rows, region, n)  # of any place, so that neighbours share none
    visited = steps(region.rows, region, n)
    if region.grouped:
        return float(_REGION + _GROUPED * visited.sum())
    stride = region.layout.stride if isinstance(region.layout, Residue) else 1
    tiles = max(1, -(-n // (BLOCK * stride)))  # of a residue class, or of all positions
    heights = _HEIGHTS[_HEIGHTS[:, 0] <= tiles]
    band = np.minimum(visited + heights - 1, tiles)
    together = np.where(visited > 0, band, 0) + anywhere * heights
    time = (together * (1 + _LOST / heights)).min(0)
    return float(_REGION + time.sum() + _TILE * np.count_nonzero(time))
