"""Points of a set at one length: counted by isl itself, and the fixing of n."""

from __future__ import annotations

from typing import TypeAlias

import islpy as isl

from sparsec.sets.pieces import integer

Points: TypeAlias = isl.Set  # what callers outside this folder name in their signatures


def at(points: Points, n: int) -> Points:
    """`points` for one n; the result has no parameter."""
    place = points.find_dim_by_name(isl.dim_type.param, "n")
    if place < 0:
        return points
    return points.fix_val(isl.dim_type.param, place, n).project_out(isl.dim_type.param, place, 1)


def counted(points: Points, n: int) -> int:
    """The number of points at n, by isl: one by one where need be, so for small n."""
    return integer(at(points, n).count_val())
