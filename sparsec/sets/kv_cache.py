"""Keys that a decoder has to hold on to, for every number of keys at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import lcm, prod
from typing import NamedTuple

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.sets import from_isl
from sparsec.sets.context import OutOfBudget, context
from sparsec.sets.pieces import integer
from sparsec.sets.to_isl import relation
from sparsec.sets.witness import largest


def held(condition: ir.Set) -> isl.Set:
    """[n] -> { [k] }: keys below n that the decoding step with n keys, or any later step, sees.

    The step with n keys has the query n - 1.  Tables count as everything.
    """
    steps = isl.Set.read_from_str(context(), "[n] -> { [q, k] : n = q + 1 and 0 <= k <= q }")
    seen = relation(condition).intersect(steps).project_out(isl.dim_type.param, 0, 1)
    later = isl.Map.read_from_str(context(), "[n] -> { [q, k] -> [k] : k < n <= q + 1 }")
    return seen.apply(later).set_dim_name(isl.dim_type.set, 0, "k").coalesce()


def oldest(condition: ir.Set) -> int | None:
    """The largest n - k of a key k that is held at n; 0 where none ever is, None where it grows with n."""
    age = isl.Map.read_from_str(context(), "[n] -> { [k] -> [n - k] }")
    ages = held(condition).apply(age)
    ages = ages.project_out(isl.dim_type.param, 0, ages.dim(isl.dim_type.param))
    return 0 if ages.is_empty() else largest(ages)


def dropped(condition: ir.Set) -> int | None:
    """The least n from which on no step sees key 0; None where there is always a later one that does."""
    lengths = held(condition).fix_val(isl.dim_type.set, 0, 0).move_dims(isl.dim_type.set, 0, isl.dim_type.param, 0, 1)
    lengths = lengths.project_out(isl.dim_type.set, 1, 1)
    if lengths.is_empty():
        return 1
    last = largest(lengths)
    return None if last is None else last + 1


def held_condition(conditions: Sequence[ir.Set]) -> ir.Set:
    """Whether key k < n is held at the step with n keys by one of the conditions, a condition on k and n.

    More where tables are concerned.  OutOfBudget for sets that take long to print.  What is held at a step was held
    before, or is the step's own key: so a cache may drop what is not held, step by step.
    """
    return from_isl.condition(_lengths_and_keys(conditions).params(), _read("[n, k] -> { : 0 <= k < n }"))


class Repeating(NamedTuple):
    """A set of keys k >= 0, in which key k >= `start` is where k + period is; `condition` on k says which are in it."""

    start: int
    period: int
    condition: ir.Set


class Lifetimes(NamedTuple):
    """How long keys are held; none is both in `forever` and in `passing`.

    `oldest`: the largest n - k of a passing key at the step with n keys; 0 where none passes, None without a bound.
    """

    forever: Repeating
    passing: Repeating
    oldest: int | None


def lifetimes(conditions: Sequence[ir.Set]) -> Lifetimes:
    """Which keys are held from their own step on for ever, and which are dropped at some later step.

    OutOfBudget where that is not found, or takes long to print.
    """
    pairs = _lengths_and_keys(conditions).move_dims(isl.dim_type.set, 0, isl.dim_type.param, 0, 2)
    once_dropped = _read("{ [n, k] : 0 <= k < n }").subtract(pairs).project_out(isl.dim_type.set, 0, 1)
    forever = _read("{ [k] : 0 <= k }").subtract(once_dropped).coalesce()
    passing = pairs.subtract(forever.insert_dims(isl.dim_type.set, 0, 1)).coalesce()
    ages = passing.apply(isl.Map.read_from_str(context(), "{ [n, k] -> [n - k] }"))
    oldest = 0 if ages.is_empty() else largest(ages)
    return Lifetimes(_repeating(forever), _repeating(passing.project_out(isl.dim_type.set, 0, 1).coalesce()), oldest)


def _repeating(keys: isl.Set) -> Repeating:
    divisors = [divisor for part in keys.compute_divs().get_basic_sets() for divisor in _divisors(part)]
    for period in dict.fromkeys((lcm(1, *divisors), prod(divisors))):
        shifted = keys.apply(isl.Map.read_from_str(context(), f"{{ [k] -> [k - {period}] : {period} <= k }}"))
        differ = keys.subtract(shifted).union(shifted.subtract(keys))
        last = -1 if differ.is_empty() else largest(differ)
        if last is not None:
            named = keys.set_dim_name(isl.dim_type.set, 0, "k").move_dims(isl.dim_type.param, 0, isl.dim_type.set, 0, 1)
            return Repeating(last + 1, period, from_isl.condition(named.params(), _read("[k] -> { : 0 <= k }")))
    raise OutOfBudget


def _lengths_and_keys(conditions: Sequence[ir.Set]) -> isl.Set:
    """[n, k] -> { [] : key k is held at the step with n keys, by one of the conditions }."""
    keys = reduce(isl.Set.union, map(held, conditions)).coalesce()
    return keys.move_dims(isl.dim_type.param, keys.dim(isl.dim_type.param), isl.dim_type.set, 0, 1)


def _divisors(part: isl.BasicSet) -> list[int]:
    divisions = (part.get_local_space().get_div(place) for place in range(part.dim(isl.dim_type.div)))
    return [integer(division.get_denominator_val()) for division in divisions]


def _read(text: str) -> isl.Set:
    return isl.Set.read_from_str(context(), text)
