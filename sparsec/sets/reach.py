"""Which positions the output of several layers depends on, as compositions of relations.

The output of a layer at q depends on its input at the keys that q sees in some head, and at q itself, which passes by
all heads (the residual connection).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.ir.approximate import Approximation
from sparsec.sets.context import context
from sparsec.sets.points import at
from sparsec.sets.to_isl import clipped
from sparsec.sets.witness import Witness, first, largest

Reached: TypeAlias = isl.Set  # [n] -> { [q, k] }, or without n


def layer(conditions: Iterable[ir.Set], bound: Approximation = "over", n: int | None = None) -> Reached:
    """What the output at q of one layer depends on; the conditions are those of its heads.  For all n, or for one."""
    reached = isl.Set.read_from_str(context(), "[n] -> { [q, k] : q = k and 0 <= q < n }")
    for condition in conditions:
        reached = reached.union(clipped(condition, bound))
    return (reached if n is None else at(reached, n)).coalesce()


def composed(later: Reached, earlier: Reached) -> Reached:
    """What the output of `later` depends on at the input of `earlier`."""
    through = _map(later).apply_range(_map(earlier)).wrap().flatten()
    return through.set_dim_name(isl.dim_type.set, 0, "q").set_dim_name(isl.dim_type.set, 1, "k").coalesce()


def same(one: Reached, other: Reached) -> bool:
    """Whether two are equal."""
    return one.is_equal(other)


def looks_ahead(reached: Reached) -> bool:
    """Whether some q depends on a later position."""
    return not reached.intersect(isl.Set.read_from_str(context(), "{ [q, k] : k > q }")).is_empty()


def lacking(reached: Reached, n: int | None = None, *, past_only: bool) -> Witness | None:
    """A pair (q, k), with `past_only` one of k <= q, that is not reached, at the smallest n; None: all are."""
    wanted = isl.Set.read_from_str(
        context(), f"[n] -> {{ [q, k] : 0 <= q < n and 0 <= k < n {'and k <= q' * past_only} }}"
    )
    found = first((wanted if n is None else at(wanted, n)).subtract(reached))
    return found if found is None or n is None else Witness(n, found.q, found.k)


def distances(reached: Reached) -> tuple[int | None, int | None]:
    """(largest q - k, largest k - q)."""
    away = reached.apply(isl.Map.read_from_str(context(), "{ [q, k] -> [q - k] }"))
    away = away.project_out(isl.dim_type.param, 0, away.dim(isl.dim_type.param))
    return largest(away), largest(away.neg())


def row(reached: Reached, q: int) -> Reached:
    """The pairs of one q."""
    return reached.fix_val(isl.dim_type.set, 0, q)


def _map(reached: Reached) -> isl.Map:
    return reached.apply(isl.Map.read_from_str(context(), "{ [q, k] -> [[q] -> [k]] }")).unwrap()
