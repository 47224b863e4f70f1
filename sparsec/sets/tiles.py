"""A pattern seen through tiles whose sizes are not known yet.

A tile is a box: queries q_lo..q_hi and keys k_lo..k_hi, ends included, every side at least MIN_TILE long.
Projections keep those edges symbolic, so one generated file serves every tile size and every n:

- `touched(...)`: which keys a row of tiles has to visit, as intervals in q_lo, q_hi (or, seen from the other
  side, which queries a column of tiles has to visit, in k_lo, k_hi);
- `full(...)`: the condition on the four edges under which every pair of the box is kept.

The clip to the actual lengths is left out of the sets (kernels clip), or even causal would grow special cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.sets import expressions
from sparsec.sets.context import OutOfBudget, budget, context

MIN_TILE = 16
_LARGEST_BOUND = 32  # nodes of one bound; past that a simpler, wider one is better
_BOUND_OPERATIONS = 20_000


@dataclass(frozen=True, slots=True)
class Interval:
    """Positions first..last, ends included; None is open.  Empty unless `when` holds."""

    first: ir.Int | None
    last: ir.Int | None
    when: ir.Set
    exact: bool  # every position of the interval is touched


@dataclass(frozen=True, slots=True)
class Reach:
    """Intervals whose union covers what a tile row or column touches.

    `ordered`: they rise by their first position for every tile; otherwise the kernel has to sort them.
    """

    intervals: tuple[Interval, ...]
    ordered: bool


class TooManyPieces(Exception):
    """What is touched falls into more intervals than the caller wants."""


def touched(pairs: isl.Set, side: str, limit: int) -> Reach:
    """What a tile row (`side="q"`) or tile column (`side="k"`) touches, as at most `limit` intervals.

    Raises TooManyPieces, or OutOfBudget under a budget.
    """
    reach, domain = _project(pairs, side)
    pieces = [_Piece(piece.to_set(), domain) for piece in reach.get_basic_sets()]
    if len(pieces) > limit:
        raise TooManyPieces
    order = _rising(pieces)
    return Reach(tuple(piece.interval for piece in order or pieces), ordered=order is not None)


def hull(pairs: isl.Set, side: str) -> Reach:
    """One interval that covers all that a tile row or column touches."""
    reach, domain = _project(pairs, side)
    if reach.is_empty():
        return Reach((), ordered=True)
    return Reach((_Piece(reach.simple_hull().to_set(), domain).interval,), ordered=True)


def full(pairs: isl.Set, limit: int) -> ir.Set:
    """The condition on q_lo, q_hi, k_lo, k_hi under which the whole box is kept.

    A union of at most `limit` convex conditions, each as wide as it can be; where more would be needed the rest
    is left out, which makes full tiles be treated as partial and is never wrong.
    """
    edges = ("n", "q_lo", "q_hi", "k_lo", "k_hi")
    domain = _parameters(
        edges, f"q_lo >= 0 and q_hi - q_lo >= {MIN_TILE - 1} and k_lo >= 0 and k_hi - k_lo >= {MIN_TILE - 1}"
    )
    box = _read(edges, "[q, k] : q_lo <= q <= q_hi and k_lo <= k <= k_hi")
    kept = domain.subtract(box.intersect_params(domain).subtract(pairs).params()).coalesce()
    parts = tuple(expressions.condition(piece, domain) for piece in _implicants(kept, domain)[:limit])
    return parts[0] if len(parts) == 1 else ir.Or(parts) if parts else ir.FALSE


def _project(pairs: isl.Set, side: str) -> tuple[isl.Set, isl.Set]:
    """The positions touched by [side_lo, side_hi], and the domain of those parameters."""
    edges = ("n", f"{side}_lo", f"{side}_hi")
    domain = _parameters(edges, f"n >= 1 and {side}_lo >= 0 and {side}_hi - {side}_lo >= {MIN_TILE - 1}")
    box = _read(edges, f"[q, k] : {side}_lo <= {side} <= {side}_hi")
    reach = pairs.intersect(box).project_out(isl.dim_type.set, "qk".index(side), 1)
    return reach.intersect_params(domain).coalesce(), domain


class _Piece:
    """One convex piece of what is touched, with its bounds as isl expressions (None: open)."""

    def __init__(self, piece: isl.Set, domain: isl.Set):
        self.domain, self.piece = domain, piece
        self.when = piece.params()
        self.first = self._bound(isl.Set.lexmin_pw_multi_aff)
        self.last = self._bound(isl.Set.lexmax_pw_multi_aff)

    @property
    def interval(self) -> Interval:
        read = lambda value: None if value is None else expressions.integer(value, self.domain)  # noqa: E731
        when = expressions.condition(self.when, self.domain)
        return Interval(read(self.first), read(self.last), when, self._exact())

    def _bound(self, extreme) -> isl.PwAff | None:
        """The extreme as a bound that is exact, or else simpler and wider, or else open."""
        for candidate in (self.piece, self.piece.remove_divs().coalesce()):
            try:
                with budget(_BOUND_OPERATIONS):
                    value = extreme(candidate).get_at(0)
                    if expressions.size(expressions.integer(value, self.domain)) <= _LARGEST_BOUND:
                        return value
            except OutOfBudget:
                continue
            except isl.Error as error:
                if "unbounded" not in str(error):
                    raise
                return None
        return None

    def _exact(self) -> bool:
        space = self.piece.get_space()
        position = isl.PwAff.from_aff(isl.Aff.var_on_domain(isl.LocalSpace.from_space(space), isl.dim_type.set, 0))
        spread = isl.Set.universe(space).intersect_params(self.when)
        lift = lambda value: value.insert_domain(space)  # noqa: E731
        if self.first is not None:
            spread = spread.intersect(lift(self.first).le_set(position))
        if self.last is not None:
            spread = spread.intersect(position.le_set(lift(self.last)))
        try:
            with budget(_BOUND_OPERATIONS):
                return spread.is_subset(self.piece)
        except OutOfBudget:
            return False

    def may_precede(self, other: _Piece) -> bool:
        """Whether self.first <= other.first wherever both are there."""
        if self.first is None:
            return True
        both = self.when.intersect(other.when)
        if other.first is None:
            return both.is_empty()
        return self.first.gt_set(other.first).intersect(both).is_empty()


def _rising(pieces: list[_Piece]) -> list[_Piece] | None:
    """`pieces` by rising first position, None where no order holds for every tile."""
    order: list[_Piece] = []
    while len(order) < len(pieces):
        rest = [piece for piece in pieces if piece not in order]
        first = next((p for p in rest if all(p.may_precede(other) for other in rest if other is not p)), None)
        if first is None:
            return None
        order.append(first)
    return order


def _implicants(values: isl.Set, domain: isl.Set) -> list[isl.Set]:
    """`values` as few convex pieces as can be, each freed of every constraint that the others make needless."""
    wide = list(dict.fromkeys(_widened(piece, values, domain) for piece in values.get_basic_sets()))
    kept = list(wide)
    for piece in wide:
        rest = [other for other in kept if other is not piece]
        if rest and piece.intersect(domain).is_subset(_union(rest)):
            kept = rest
    return kept


def _widened(piece: isl.BasicSet, values: isl.Set, domain: isl.Set) -> isl.Set:
    constraints = piece.get_constraints()
    for constraint in list(constraints):
        rest = [other for other in constraints if other is not constraint]
        if _meet(piece, rest).intersect(domain).is_subset(values):
            constraints = rest
    return _meet(piece, constraints)


def _meet(piece: isl.BasicSet, constraints: list[isl.Constraint]) -> isl.Set:
    result = isl.BasicSet.universe(piece.get_space())
    for constraint in constraints:
        result = result.add_constraint(constraint)
    return result.to_set()


def _union(sets: list[isl.Set]) -> isl.Set:
    result = sets[0]
    for other in sets[1:]:
        result = result.union(other)
    return result


def _parameters(names: tuple[str, ...], text: str) -> isl.Set:
    return isl.Set.read_from_str(context(), f"[{', '.join(names)}] -> {{ : {text} }}")


def _read(names: tuple[str, ...], text: str) -> isl.Set:
    return isl.Set.read_from_str(context(), f"[{', '.join(names)}] -> {{ {text} }}")
