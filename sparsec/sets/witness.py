"""Questions about conditions that sets answer for every n at once, with a pair as witness.

Conditions with tables are bounded on the side that keeps a "none" true; a witness is then only a candidate.
All may raise OutOfBudget under a budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.ir.approximate import Approximation
from sparsec.sets.context import OutOfBudget, context, number
from sparsec.sets.copies import unshared
from sparsec.sets.pieces import integer
from sparsec.sets.to_isl import clipped, reachable


@dataclass(frozen=True, slots=True)
class Witness:
    """The pair (q, k) at n keys; -1 for the side that the question is not about."""

    n: int
    q: int = -1
    k: int = -1


def kept_pair(condition: ir.Set, bound: Approximation = "over") -> Witness | None:
    """A pair that some call can keep, at the smallest n; None when the condition is empty.

    With `bound="under"`, a pair that is kept whatever the tables list.
    """
    return first(reachable(condition, bound))


def no_pair(condition: ir.Set) -> bool:
    """Whether no call keeps any pair, whatever the tables list."""
    return bool(reachable(condition).is_empty())


def own_pair(condition: ir.Set, bound: Approximation = "over") -> Witness | None:
    """As `kept_pair`, with the query among the keys, q < n, as in self-attention and decoding."""
    return first(clipped(condition, bound))


def later_key(condition: ir.Set) -> Witness | None:
    """A pair with k > q, at the smallest n; None when the condition is causal."""
    return first(clipped(condition).intersect(_read("{ [q, k] : k > q }")))


def row_without_key(condition: ir.Set) -> Witness | None:
    """A query of self-attention that sees no key, at the smallest n."""
    return first(_uncovered(clipped(condition, "under"), "q"))


def lonely_row(condition: ir.Set) -> Witness | None:
    """As `row_without_key`, but a query that sees no key whatever the tables list."""
    return first(_uncovered(clipped(condition), "q"))


def ends_at(condition: ir.Set, row: int) -> bool:
    """Whether queries below `row` see themselves, and no other sees any key, in any call, whatever the tables list."""
    own = clipped(ir.TRUE).intersect(_read(f"{{ [q, k] : q = k and q < {row} }}"))
    beyond = reachable(condition).intersect(_read(f"{{ [q, k] : q >= {row} }}"))
    return bool(beyond.is_empty()) and bool(own.is_subset(clipped(condition, "under")))


def canvas(condition: ir.Set, of_queries: ir.Set) -> tuple[int, int] | None:
    """(queries, keys) of a pattern of fixed size, where a part of it that asks about q alone says where queries end."""
    queries = last(of_queries, "q")
    keys = None if queries is None else last(condition, "k")
    return None if queries is None or keys is None else (queries + 1, keys + 1)


def gap(condition: ir.Set, queries: int, keys: int) -> Witness | None:
    """As `lonely_row`, among the first queries, and with all of a canvas's keys there."""
    inside = _read(f"[n] -> {{ [q] : q < {queries} and n >= {max(queries, keys)} }}")
    return first(_uncovered(clipped(condition), "q").intersect(inside))


def sure_later_key(condition: ir.Set) -> Witness | None:
    """As `later_key`, but a pair that is kept whatever the tables list."""
    return first(clipped(condition, "under").intersect(_read("{ [q, k] : k > q }")))


def every_later_key(condition: ir.Set) -> bool:
    """Whether every query of self-attention sees all keys k > q, whatever the tables list."""
    return bool(clipped(ir.TRUE).intersect(_read("{ [q, k] : k > q }")).is_subset(clipped(condition, "under")))


def future_only(condition: ir.Set) -> bool:
    """Whether no query of self-attention sees a key before its own, and some see later ones, whatever tables list."""
    earlier = clipped(condition).intersect(_read("{ [q, k] : k < q }"))
    return bool(earlier.is_empty()) and sure_later_key(condition) is not None


def unseen_key(condition: ir.Set) -> Witness | None:
    """A key of self-attention that no query sees, at the smallest n."""
    return first(_uncovered(clipped(condition, "under"), "k"))


def pair_between(condition: ir.Set, other: ir.Set) -> Witness | None:
    """A pair of `condition` that is not in `other`, for some call; None when `other` contains `condition`."""
    return first(reachable(condition).subtract(reachable(other, "under")))


def furthest(condition: ir.Set) -> tuple[int | None, int | None]:
    """(largest q - k, largest k - q) over all n; None where there is no bound.  ValueError for an empty condition."""
    distance = clipped(condition).apply(isl.Map.read_from_str(context(), "{ [q, k] -> [q - k] }"))
    distance = distance.project_out(isl.dim_type.param, 0, distance.dim(isl.dim_type.param))
    if distance.is_empty():
        raise ValueError("no pair")
    return largest(distance), largest(distance.neg())


def last(condition: ir.Set, side: str, bound: Approximation = "over", *, ahead: bool = False) -> int | None:
    """The largest q, or k, of a pair, or of one with k > q, over all n; None: no bound.  ValueError: no pair."""
    positions = _side(condition, side, bound, ahead)
    positions = positions.project_out(isl.dim_type.param, 0, positions.dim(isl.dim_type.param))
    if positions.is_empty():
        raise ValueError("no pair")
    return largest(positions)


def rows(condition: ir.Set, n: int, bound: Approximation = "over", *, ahead: bool = False) -> int:
    """How many of n queries of self-attention see a key, or a later key."""
    positions = _side(condition, "q", bound, ahead)
    if positions.dim(isl.dim_type.param):
        positions = positions.fix_val(isl.dim_type.param, 0, n)
    return integer(positions.coalesce().count_val())


def _side(condition: ir.Set, side: str, bound: Approximation, ahead: bool) -> isl.Set:
    """The queries, or keys, of the pairs of self-attention, or of those with k > q."""
    pairs = clipped(condition, bound)
    if ahead:
        pairs = pairs.intersect(_read("{ [q, k] : k > q }"))
    return pairs.project_out(isl.dim_type.set, 1 if side == "q" else 0, 1)


def largest(values: isl.Set) -> int | None:
    """The largest of a set of integers without parameters, None where they have no bound."""
    value = unshared(values).dim_max_val(0)
    if value.is_infty():
        return None
    past_it = values.lower_bound_val(isl.dim_type.set, 0, value + 1)
    if values.fix_val(isl.dim_type.set, 0, value).is_empty() or not past_it.is_empty():
        raise OutOfBudget  # see _smallest
    return integer(value)


def _uncovered(pairs: isl.Set, side: str) -> isl.Set:
    other = 1 if side == "q" else 0
    positions = _read(f"[n] -> {{ [{side}] : 0 <= {side} < n }}")
    return positions.subtract(pairs.project_out(isl.dim_type.set, other, 1).set_dim_name(isl.dim_type.set, 0, side))


def first(points: isl.Set) -> Witness | None:
    """None for no point, else the point with the smallest n, then the smallest coordinates."""
    names = points.get_var_names(isl.dim_type.set)
    if points.dim(isl.dim_type.param):
        points = points.move_dims(isl.dim_type.set, 0, isl.dim_type.param, 0, 1)
        names = ["n", *names]
    points = points.intersect(_at_least_one(points, names))
    if points.is_empty():
        return None
    found = {}
    for place, name in enumerate(names):
        found[name] = _smallest(points, place)
        points = points.fix_val(isl.dim_type.set, place, number(found[name]))
    return Witness(**({"n": max(found.values()) + 1} | found))


def _smallest(points: isl.Set, place: int) -> int:
    """The least value of a coordinate that is nowhere negative.

    By halving, because isl's own lexmin and dim_min have lost points of sets with several moduli.
    """
    low, high = 0, integer(unshared(points).sample_point().get_coordinate_val(isl.dim_type.set, place))
    while low < high:
        middle = (low + high) // 2
        if points.upper_bound_val(isl.dim_type.set, place, number(middle)).is_empty():
            low = middle + 1
        else:
            high = middle
    return low


def _at_least_one(points: isl.Set, names: list[str]) -> isl.Set:
    if "n" not in names:
        return isl.Set.universe(points.get_space())
    return isl.Set.universe(points.get_space()).lower_bound_val(isl.dim_type.set, names.index("n"), 1)


def _read(text: str) -> isl.Set:
    return isl.Set.read_from_str(context(), text)
