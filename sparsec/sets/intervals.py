"""Convex sets of positions as intervals whose bounds are printed, read back and proved.

isl's lexmin and lexmax have lost points of sets with several moduli, and what its printer makes is used far from
here.  So nothing of theirs is believed: every node is read back as a set, and the piece has to lie inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.sets import budgets, from_isl
from sparsec.sets.context import OutOfBudget, budget, remembered, text_of
from sparsec.sets.copies import unshared
from sparsec.sets.to_isl import function, points

_LARGEST_BOUND = 32  # nodes of one bound; past that a simpler, wider one is better


@dataclass(frozen=True, slots=True)
class Interval:
    """Positions first..last, ends included; None is open.  Empty unless `when` holds."""

    first: ir.Int | None
    last: ir.Int | None
    when: ir.Set
    exact: bool  # every position of the interval is touched


class Bounded:
    """A set { [x] } over parameters in `domain`, and an interval that is proved to contain it.

    `shape` is the set or a convex one around it, from which the bounds are taken.
    """

    def __init__(self, piece: isl.Set, domain: isl.Set, shape: isl.Set | None = None):
        self.piece, self.domain, self.space = piece, domain, piece.get_space()
        self.shape = piece if shape is None else shape
        question = ("interval", text_of(piece), text_of(domain), None if shape is None else text_of(shape))
        self.interval: Interval = remembered(question, self._interval)  # terms of a union occur in many

    @property
    def first(self) -> ir.Int | None:
        return self.interval.first

    @property
    def when(self) -> ir.Set:
        return self.interval.when

    def _interval(self) -> Interval:
        when = self._when()
        first = self._bound(isl.Set.lexmin_pw_multi_aff, isl.PwAff.le_set)
        last = self._bound(isl.Set.lexmax_pw_multi_aff, isl.PwAff.ge_set)
        try:
            with budget(budgets.BOUND):
                exact = is_filled(self.piece, self.domain, first, last, when)
        except OutOfBudget:
            exact = False
        return Interval(first, last, when, exact)

    def may_precede(self, other: Bounded) -> bool:
        """Whether self.first <= other.first wherever both are there."""
        if self.first is None:
            return True
        both = points(self.when, self.space).intersect(points(other.when, self.space)).intersect_params(self.domain)
        if other.first is None:
            return both.is_empty()
        later = function(self.first, self.space).gt_set(function(other.first, self.space))
        return later.intersect(both).is_empty()

    def _when(self) -> ir.Set:
        """The condition on the parameters under which the piece holds a position; true where that has no proof."""
        for candidate in (self.shape, self.shape.remove_divs()):
            try:
                with budget(budgets.BOUND):
                    node = from_isl.condition(candidate.params(), self.domain)
                    if from_isl.size(node) <= _LARGEST_BOUND and self.piece.is_subset(points(node, self.space)):
                        return node
            except OutOfBudget:
                continue
        return ir.TRUE

    def _bound(self, extreme, side) -> ir.Int | None:
        """A proved bound: the extreme, or else simpler and wider, or else open (None)."""
        for candidate in (self.shape, self.shape.remove_divs().coalesce()):
            try:
                with budget(budgets.BOUND):
                    node = from_isl.integer(extreme(unshared(candidate)).get_at(0), self.domain)
                    if from_isl.size(node) > _LARGEST_BOUND:
                        continue
                    if self.piece.is_subset(side(function(node, self.space), _position(self.space))):
                        return node
            except OutOfBudget:
                continue
            except isl.Error as error:
                if "unbounded" not in str(error):
                    raise
                break
        return None


def is_filled(piece: isl.Set, domain: isl.Set, first: ir.Int | None, last: ir.Int | None, when: ir.Set) -> bool:
    """Whether every position of first..last is in `piece`.  May raise OutOfBudget under a budget."""
    return _spread(piece.get_space(), domain, first, last, when).is_subset(piece)


def is_inside(piece: isl.Set, domain: isl.Set, first: ir.Int | None, last: ir.Int | None, when: ir.Set) -> bool:
    """Whether first..last holds every position of `piece`.  May raise OutOfBudget under a budget."""
    return piece.is_subset(_spread(piece.get_space(), domain, first, last, when))


def _spread(space: isl.Space, domain: isl.Set, first: ir.Int | None, last: ir.Int | None, when: ir.Set) -> isl.Set:
    """The positions first..last."""
    spread = points(when, space).intersect_params(domain)
    if first is not None:
        spread = spread.intersect(function(first, space).le_set(_position(space)))
    if last is not None:
        spread = spread.intersect(function(last, space).ge_set(_position(space)))
    return spread


def _position(space: isl.Space) -> isl.PwAff:
    return isl.PwAff.from_aff(isl.Aff.var_on_domain(isl.LocalSpace.from_space(space), isl.dim_type.set, 0))


def rising(pieces: list[Bounded]) -> list[Bounded] | None:
    """`pieces` by rising first position, None where no order is proved for every tile."""
    order: list[Bounded] = []
    while len(order) < len(pieces):
        rest = [piece for piece in pieces if piece not in order]
        first = next((p for p in rest if all(p.may_precede(other) for other in rest if other is not p)), None)
        if first is None:
            return None
        order.append(first)
    return order
