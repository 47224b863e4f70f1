"""A set of one length as plain data from which membership is computed, point by point or for a whole grid at once.

isl's floors (`divs`) become values that are computed in order; the pieces may overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import islpy as isl

from sparsec.sets import budgets
from sparsec.sets.affine import Affine
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.pieces import KINDS, integer, rows

_LARGEST = 1 << 31  # coefficients that int64 can hold times a position

_DIMENSIONS = (isl.dim_type.in_, isl.dim_type.div)


@dataclass(frozen=True, slots=True)
class Region:
    """The points whose equalities are 0 and inequalities are >= 0; name d_i stands for floors[i][0] // floors[i][1]."""

    floors: tuple[tuple[Affine, int], ...]
    equalities: tuple[Affine, ...]
    inequalities: tuple[Affine, ...]


def regions(points: isl.Set) -> tuple[Region, ...]:
    """`points`, a set without parameters, as a union of regions.  OutOfBudget, also for numbers beyond int64."""
    with budget(budgets.FLOORS):
        pieces = points.compute_divs().coalesce().compute_divs().get_basic_sets()
    return tuple(map(_region, pieces))


def _region(piece: isl.BasicSet) -> Region:
    floors = piece.dim(isl.dim_type.div)
    names = (*piece.get_space().get_var_names(isl.dim_type.set), *(f"d{index}" for index in range(floors)))
    region = Region(
        tuple(_floor(piece.get_div(index), names) for index in range(floors)),
        rows(piece.equalities_matrix(*KINDS), names),
        rows(piece.inequalities_matrix(*KINDS), names),
    )
    values = (*region.equalities, *region.inequalities, *(value for value, _ in region.floors))
    if any(abs(number) > _LARGEST for value in values for number in (value.constant, *dict(value.terms).values())):
        raise OutOfBudget
    return region


def _floor(div: isl.Aff, names: tuple[str, ...]) -> tuple[Affine, int]:
    """The numerator and the denominator of a floor."""
    numerator, denominator = div.scale_val(div.get_denominator_val()), integer(div.get_denominator_val())
    values = [
        integer(numerator.get_coefficient_val(kind, index))
        for kind in _DIMENSIONS
        for index in range(numerator.dim(kind))
    ]
    return Affine.of(zip(names, values, strict=True), integer(numerator.get_constant_val())), denominator
