"""An integer set as disjoint convex pieces, in plain data.

isl describes a piece with floors (`divs`) of its variables.  Here each floor is one more integer variable, bound
by its own two inequalities: its value is unique, so a piece has as many points as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import islpy as isl

from sparsec.sets.affine import Affine
from sparsec.sets.context import OutOfBudget, context, number

KINDS = (isl.dim_type.set, isl.dim_type.div, isl.dim_type.param, isl.dim_type.cst)


@dataclass(frozen=True, slots=True)
class Piece:
    """The integer points over `names` where every equality is == 0 and every inequality is >= 0."""

    names: tuple[str, ...]
    equalities: tuple[Affine, ...]
    inequalities: tuple[Affine, ...]


def pieces(points: isl.Set) -> tuple[Piece, ...]:
    """`points` as disjoint pieces over (its dimensions, floors d0, d1, ..., its parameters)."""
    disjoint = points.coalesce().make_disjoint().coalesce().compute_divs()
    return tuple(_lifted(piece) for piece in disjoint.get_basic_sets())


def tightened(piece: Piece) -> Piece | None:
    """The same integer points without needless constraints; None when not even a rational point is left."""
    space = isl.Space.create_from_names(context(), set=list(piece.names), params=[])
    points = isl.BasicSet.from_constraint_matrices(
        space, _matrix(piece.equalities, piece.names), _matrix(piece.inequalities, piece.names), *KINDS
    ).remove_redundancies()
    if points.plain_is_empty():
        return None
    return Piece(
        piece.names,
        rows(points.equalities_matrix(*KINDS), piece.names),
        rows(points.inequalities_matrix(*KINDS), piece.names),
    )


def integer(value: isl.Val) -> int:
    """The number that an isl value stands for.  OutOfBudget when the budget ended just before."""
    text = value.to_str()
    if text is None:
        raise OutOfBudget
    return int(text)


def _lifted(piece: isl.BasicSet) -> Piece:
    names = (
        *piece.get_space().get_var_names(isl.dim_type.set),
        *(f"d{index}" for index in range(piece.dim(isl.dim_type.div))),
        *piece.get_space().get_var_names(isl.dim_type.param),
    )
    inequalities = list(rows(piece.inequalities_matrix(*KINDS), names))
    for index in range(piece.dim(isl.dim_type.div)):
        inequalities += _floor(piece.get_div(index), f"d{index}", names)
    return Piece(names, rows(piece.equalities_matrix(*KINDS), names), tuple(inequalities))


def _floor(div: isl.Aff, name: str, names: tuple[str, ...]) -> tuple[Affine, Affine]:
    """0 <= numerator - denominator * d <= denominator - 1, for d = floor(div)."""
    numerator, denominator = div.scale_val(div.get_denominator_val()), integer(div.get_denominator_val())
    kinds = (isl.dim_type.in_, isl.dim_type.div, isl.dim_type.param)
    values = [integer(numerator.get_coefficient_val(kind, i)) for kind in kinds for i in range(div.dim(kind))]
    value = Affine.of(zip(names, values, strict=True), integer(numerator.get_constant_val()))
    rest = value - Affine.name(name) * denominator
    return rest, rest * -1 + (denominator - 1)


def _matrix(lines: Iterable[Affine], names: tuple[str, ...]) -> isl.Mat:
    listed, columns = tuple(lines), {name: index for index, name in enumerate(names)}
    matrix = isl.Mat.alloc(context(), 0, len(names) + 1).add_zero_rows(len(listed))
    for i, row in enumerate(listed):
        for j, value in (*((columns[name], value) for name, value in row.terms), (len(names), row.constant)):
            if value:
                matrix = matrix.set_element_val(i, j, number(value))
    return matrix


def rows(matrix: isl.Mat, names: tuple[str, ...]) -> tuple[Affine, ...]:
    """The rows of a matrix with a column for each name and one for the constant."""
    lines = ([integer(matrix.get_element_val(i, j)) for j in range(matrix.cols())] for i in range(matrix.rows()))
    return tuple(Affine.of(zip(names, line[:-1], strict=True), line[-1]) for line in lines)
