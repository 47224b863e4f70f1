"""Keys that a decoder has to hold on to, for every number of keys at once."""

from __future__ import annotations

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.sets import from_isl
from sparsec.sets.context import context
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


def held_condition(condition: ir.Set) -> ir.Set:
    """Whether key k < n is held at the step with n keys, a condition on k and n; more where tables are concerned.

    OutOfBudget for sets that take long to print.  What is held at a step was held before, or is the step's own key: so
    a cache may drop what is not held, step by step.
    """
    keys = held(condition)
    pairs = keys.move_dims(isl.dim_type.param, keys.dim(isl.dim_type.param), isl.dim_type.set, 0, 1).params()
    return from_isl.condition(pairs, isl.Set.read_from_str(context(), "[n, k] -> { : 0 <= k < n }"))
