"""Regions -> the kernels of a variant, in launch order.

A forward and a dq kernel go over all regions whose queries stand alike, so that the softmax stays in registers:

    contiguous a, residue classes c, gathered b  ->  forward ab, forward c; dq ab, dq c; dkdv b, dkdv a, dkdv c

The first forward kernel starts the softmax, each next one goes on with it; the last one stores the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparsec.ir.ranges import MOST_POSITIONS
from sparsec.plan.nodes import Begin, Contiguous, End, Gathered, Kernel, Kind, Region, Variant


def variant(regions: Sequence[Region], from_n: int = 0) -> Variant:
    """The variant of some disjoint regions."""
    alike = _alike(regions)
    ordered = tuple(region for some in alike for region in some)
    made = _Kernels(ordered, "abcdefgh" if len(ordered) > 1 else "")
    by_key = sorted(ordered, key=lambda region: region.gathered is None)  # gathered keys are not every key
    rows = [
        made.of_rows(kind, some, place == 0, place == len(alike) - 1)
        for kind in ("forward", "dq")
        for place, some in enumerate(alike)
    ]
    return Variant(from_n, ordered, (*rows, *(made.of_columns(region, by_key) for region in by_key)))


def _alike(regions: Sequence[Region]) -> list[tuple[Region, ...]]:
    """Regions whose queries stand alike: the contiguous one and gathered keys.

    Listed pairs have kernels of their own: these gather, and want other tiles.  So have gathered keys whose tiles come
    from a list, since a kernel reads one.
    """
    joined = [
        region
        for region in regions
        if isinstance(region.layout, Contiguous) or (region.gathered and not region.rows.from_list)
    ]
    joined.sort(key=lambda region: isinstance(region.layout, Gathered))
    made: list[tuple[Region, ...]] = []
    for region in regions:
        if region not in joined:
            made.append((region,))
        elif tuple(joined) not in made:
            made.append(tuple(joined))
    return made


@dataclass(frozen=True)
class _Kernels:
    """Makes the kernels of a variant whose regions have these letters."""

    regions: tuple[Region, ...]
    letters: str

    def name(self, regions: Iterable[Region]) -> str:
        return "".join(self.letters[place : place + 1] for place in map(self.regions.index, regions))

    def of_rows(self, kind: Kind, regions: tuple[Region, ...], first: bool, last: bool) -> Kernel:
        """Out and log-sum-exp, or dq, of tiles of queries."""
        prefix = max(region.rows.split_prefix for region in regions) if regions[0].stride == 1 else 0
        prefix = 0 if regions[0].listed else prefix
        begin: Begin = "init" if first else "continue"
        end: End = "store" if last else "carry"
        return Kernel(kind, self.name(regions), regions, begin, end, prefix)

    def of_columns(self, region: Region, by_key: list[Region]) -> Kernel:
        """Dk and dv of tiles of keys.  The first that reaches every key collects the sums of gathered keys."""
        gathered = [each for each in by_key if each.gathered]
        starts = region is by_key[min(len(gathered), len(by_key) - 1)] and not region.gathered
        adds, last = not (region.gathered or starts), region is by_key[-1]
        end: End = "sums" if region.gathered else "store" if last else "carry"
        prefix = MOST_POSITIONS if region.gathered else 0  # gathered keys are few, and each sees many queries
        prefix = region.columns.split_prefix if isinstance(region.layout, Contiguous) else prefix
        collects = tuple((self.name([each]), each) for each in gathered) if starts else ()
        begin: Begin = "continue" if adds else "init"
        return Kernel("dkdv", self.name([region]), (region,), begin, end, prefix, collects)
