"""Where few ranges say badly which tiles hold a pair, lists of exactly these take their place, if they are cheaper."""

from __future__ import annotations

from dataclasses import replace

from sparsec.plan.cost_model import FROM_LIST, LENGTHS
from sparsec.plan.evaluate import steps
from sparsec.plan.nodes import Contiguous, Cover, Region

_WORTH = 0.9  # of the steps over ranges
_AT_MOST = 1.1  # of them, at any other length


def from_lists(region: Region) -> Region:
    """The region with lists for those covers whose ranges are not exact and hold far more tiles than are touched."""
    if not isinstance(region.layout, Contiguous):
        return region
    rows, columns = (_listed(cover, region) or cover for cover in region.covers)
    return replace(region, rows=rows, columns=columns)


def _listed(cover: Cover, region: Region) -> Cover | None:
    if cover.precision == "exact" or not cover.segments:
        return None
    listed = replace(cover, segments=(), ordered=True, precision="list")
    shares = [FROM_LIST * steps(listed, region, n).sum() / max(steps(cover, region, n).sum(), 1) for n in LENGTHS]
    return listed if min(shares) <= _WORTH and max(shares) <= _AT_MOST else None
