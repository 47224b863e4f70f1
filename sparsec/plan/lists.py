"""Where few ranges say badly which tiles hold a pair, lists of exactly these take their place, if they are cheaper."""

from __future__ import annotations

from dataclasses import replace

from sparsec.ir import nodes as ir
from sparsec.ir.inputs import inputs_read
from sparsec.plan.cost_model import FROM_LIST, LENGTHS
from sparsec.plan.evaluate import steps
from sparsec.plan.nodes import Contiguous, Cover, Region

_WORTH = 0.9  # of the steps over ranges
_AT_MOST = 1.1  # of them, at any other length
_NEAR = 1.0  # of them, below which the longest lengths, which take longest to look at, are looked at too
_LENGTHS = LENGTHS[8], LENGTHS[4], LENGTHS[0], LENGTHS[12]  # 65,536, 4,096, 256, 1 M


def from_lists(region: Region) -> Region:
    """The region with lists for those covers whose ranges are not exact and hold far more tiles than are touched.

    Not where data of the call decides: lists are kept for a length.  Tables are about positions as they stand.
    """
    if region.listed or inputs_read(region.condition):
        return region
    if region.layout != Contiguous() and ir.leaves(region.condition):
        return region
    rows, columns = (listed(cover) if _cheaper(cover, region) else cover for cover in region.covers)
    return replace(region, rows=rows, columns=columns)


def listed(cover: Cover) -> Cover:
    """The tiles of a cover from a list."""
    return replace(cover, segments=(), ordered=True, precision="list")


def _cheaper(cover: Cover, region: Region) -> bool:
    if cover.precision == "exact" or not cover.segments:
        return False
    shares = []
    for n in _LENGTHS:
        found = FROM_LIST * steps(listed(cover), region, n).sum() / max(steps(cover, region, n).sum(), 1)
        shares.append(float(found))
        if shares[-1] > _AT_MOST or (len(shares) > 1 and min(shares) > _NEAR):
            return False
    return min(shares) <= _WORTH
