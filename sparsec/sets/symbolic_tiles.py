"""A pattern seen through tiles whose sizes are not known yet.

A tile is a box: queries q_lo..q_hi and keys k_lo..k_hi, ends included, every side at least MIN_TILE long.
Projections keep those edges symbolic, so one generated file serves every tile size and every n:

- `touched(...)`: which keys a row of tiles has to visit, as intervals in q_lo, q_hi (or, seen from the other
  side, which queries a column of tiles has to visit, in k_lo, k_hi);
- `full(...)`: the condition on the four edges under which every pair of the box is kept.

The clip to the actual lengths is left out of the sets (kernels clip), or even causal would grow special cases.

With a `stride` above 1 the pairs are those of one residue class, counted within it, and have a parameter `residue`
with 0 <= residue < stride.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import islpy as isl

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.sets import budgets, from_isl, to_isl
from sparsec.sets.context import OutOfBudget, budget, read_once, remembered, text_of
from sparsec.sets.intervals import Bounded, Interval, is_filled, is_inside, rising
from sparsec.sets.pieces import integer
from sparsec.sets.redundancy import irredundant

MIN_TILE = 16


@dataclass(frozen=True, slots=True)
class Reach:
    """Intervals whose union covers what a tile row or column touches.

    `ordered`: they rise by their first position for every tile; otherwise the kernel has to sort them.
    """

    intervals: tuple[Interval, ...]
    ordered: bool


class TooManyPieces(Exception):
    """What is touched falls into more intervals than the caller wants."""


def touched(pairs: isl.Set, side: str, limit: int, stride: int = 1, least: int = MIN_TILE) -> Reach:
    """What a tile row (`side="q"`) or tile column (`side="k"`) touches, as at most `limit` intervals.

    `least`: tiles are at least so long.  Raises TooManyPieces, or OutOfBudget under a budget.
    """
    pairs, stride, own = _of_one_class(pairs, stride)
    question = ("touched", text_of(pairs), side, limit, stride, least)
    return _guarded(remembered(question, lambda: _touched(pairs, side, limit, stride, least)), own)


def _touched(pairs: isl.Set, side: str, limit: int, stride: int, least: int) -> Reach:
    reach, domain = _project(pairs, side, stride, least)
    convex = reach.get_basic_sets()
    if len(convex) > limit:
        raise TooManyPieces
    pieces = [Bounded(piece.to_set(), domain) for piece in convex]
    order = rising(pieces)
    return Reach(tuple(piece.interval for piece in order or pieces), ordered=order is not None)


def _of_one_class(pairs: isl.Set, stride: int) -> tuple[isl.Set, int, ir.Set]:
    """Pairs that lie in one residue class without the residue, a stride for them, and the condition on the residue.

    Heads that differ in a phase see the same of different classes.  Other pairs as they are.
    """
    if stride > 1:
        place = pairs.find_dim_by_name(isl.dim_type.param, "residue")
        fixed = pairs.plain_get_val_if_fixed(isl.dim_type.param, place)
        if fixed.is_int() and 0 <= (residue := integer(fixed)) < stride:
            own = ir.Compare(ir.Var("residue"), "==", ir.Const(residue))
            return pairs.project_out(isl.dim_type.param, place, 1), 1, own
    return pairs, stride, ir.TRUE


def _guarded(reach: Reach, own: ir.Set) -> Reach:
    intervals = (replace(each, when=algebra.conjunction(own, each.when)) for each in reach.intervals)
    return replace(reach, intervals=tuple(intervals))


def hull(pairs: isl.Set, side: str, stride: int = 1, least: int = MIN_TILE) -> Reach:
    """One interval that covers all that a tile row or column touches."""
    pairs, stride, own = _of_one_class(pairs, stride)
    reach, domain = _project(pairs, side, stride, least)
    if reach.is_empty():
        return Reach((), ordered=True)
    return _guarded(Reach((Bounded(reach, domain, reach.simple_hull().to_set()).interval,), ordered=True), own)


def full(pairs: isl.Set, limit: int, stride: int = 1) -> ir.Set:
    """The condition on q_lo, q_hi, k_lo, k_hi under which the whole box is kept.

    A union of at most `limit` convex conditions, each as wide as it can be; where more would be needed the rest
    is left out, which makes full tiles be treated as partial and is never wrong.
    """
    pairs, stride, own = _of_one_class(pairs, stride)
    found = remembered(("full", text_of(pairs), limit, stride), lambda: _full(pairs, limit, stride))
    return algebra.disjunction(*(algebra.conjunction(own, part) for part in found))


def _full(pairs: isl.Set, limit: int, stride: int) -> tuple[ir.Set, ...]:
    edges = (*parameters(stride), "q_lo", "q_hi", "k_lo", "k_hi")
    domain = _domain(edges, f"{_tile('q')} and {_tile('k')}", stride)
    box = _read(edges, "[q, k] : q_lo <= q <= q_hi and k_lo <= k <= k_hi")
    left_out = box.intersect_params(domain).subtract(pairs)
    missing = _explicit(left_out.params().coalesce())
    kept = domain.subtract(missing).coalesce()
    parts = [from_isl.condition(piece, domain) for piece in _implicants(kept, domain, missing)[:limit]]
    return tuple(part for part in parts if _proved_full(part, left_out))


def _explicit(values: isl.Set) -> isl.Set:
    """`values`, or a set around it, with every floor written out: isl needs that before it can subtract."""
    try:
        with budget(budgets.NEATER):
            return values.compute_divs().coalesce()
    except OutOfBudget:
        return values.remove_divs()


def _proved_full(part: ir.Set, left_out: isl.Set) -> bool:
    """Whether no pair of a box is left out where `part` holds.

    Projections and printing are steps to believe in no more than need be; this takes neither.
    """
    try:
        with budget(budgets.NEATER):
            return left_out.intersect(to_isl.points(part, left_out.get_space())).is_empty()
    except OutOfBudget:
        return False


def filled(
    pairs: isl.Set,
    side: str,
    first: ir.Int | None,
    last: ir.Int | None,
    when: ir.Set,
    at_edges: str = "1 = 1",
    stride: int = 1,
) -> bool:
    """Whether first..last is proved to be touched from end to end, for tiles whose edges meet `at_edges`."""
    try:
        with budget(budgets.NEATER):
            reach, domain = _project(pairs, side, stride)
            edges = _parameters((*parameters(stride), f"{side}_lo", f"{side}_hi"), at_edges)
            return is_filled(reach, domain.intersect(edges), first, last, when)
    except OutOfBudget:
        return False


def inside(pairs: isl.Set, side: str, first: ir.Int | None, last: ir.Int | None, when: ir.Set, stride: int = 1) -> bool:
    """Whether first..last is proved to hold all that is touched."""
    try:
        with budget(budgets.NEATER):
            reach, domain = _project(pairs, side, stride)
            return is_inside(reach, domain, first, last, when)
    except OutOfBudget:
        return False


def parameters(stride: int) -> tuple[str, ...]:
    """What a set of pairs has for parameters."""
    return ("n", "residue") if stride > 1 else ("n",)


def _project(pairs: isl.Set, side: str, stride: int, least: int = MIN_TILE) -> tuple[isl.Set, isl.Set]:
    """The positions touched by [side_lo, side_hi], and the domain of those parameters."""
    edges = (*parameters(stride), f"{side}_lo", f"{side}_hi")
    domain = _domain(edges, f"n >= 1 and {_tile(side, least)}", stride)
    box = _read(edges, f"[q, k] : {side}_lo <= {side} <= {side}_hi")
    reach = pairs.intersect(box).project_out(isl.dim_type.set, "qk".index(side), 1)
    return reach.intersect_params(domain).coalesce(), domain


def _tile(side: str, least: int = MIN_TILE) -> str:
    return f"{side}_lo >= 0 and {side}_hi - {side}_lo >= {least - 1}"


def _domain(names: tuple[str, ...], known: str, stride: int) -> isl.Set:
    return _parameters(names, f"{known} and 0 <= residue < {stride}" if stride > 1 else known)


def _implicants(values: isl.Set, domain: isl.Set, others: isl.Set) -> list[isl.Set]:
    """`values` as few convex pieces as can be, each freed of every constraint that the rest of it makes needless.

    `others`: what of `domain`, and maybe of what is outside, is not among `values`.
    """
    short, others = values.gist(domain), others.intersect(domain)  # without what the domain says already
    wide = list(dict.fromkeys(_widened(piece, others) for piece in short.get_basic_sets()))
    return irredundant(wide, lambda piece, rest: bool(rest) and piece.intersect(domain).is_subset(_union(rest)))


def _widened(piece: isl.BasicSet, others: isl.Set) -> isl.Set:
    def needless(_: isl.Constraint, rest: list[isl.Constraint]) -> bool:
        return _meet(piece, rest).is_disjoint(others)  # soon proved, a subset of `values` takes a subtraction

    return _meet(piece, irredundant(piece.get_constraints(), needless))


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
    return read_once(f"[{', '.join(names)}] -> {{ : {text} }}")


def _read(names: tuple[str, ...], text: str) -> isl.Set:
    return read_once(f"[{', '.join(names)}] -> {{ {text} }}")
