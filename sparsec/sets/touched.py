"""Which keys a run of queries sees, and which queries see a run of keys, as conditions that any length is asked of."""

from __future__ import annotations

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.sets import budgets, from_isl, to_isl
from sparsec.sets.context import OutOfBudget, budget, context, set_space


def touched(condition: ir.Set, side: str) -> ir.Set | None:
    """Of queries q_lo..q_hi the keys k that one of them sees (`side="q"`), or of keys k_lo..k_hi the queries q.

    A condition on the position, the two ends and n, with 0 <= ends, proved equal to the projection.  None where that
    takes too long.  `condition` has no tables.
    """
    other = "k" if side == "q" else "q"
    names = (f"{side}_lo", f"{side}_hi", other, "n")
    try:
        with budget(budgets.scaled(budgets.TOUCHED, condition)):
            domain = _read(names, f": 0 <= {side}_lo <= {side}_hi and 0 <= {other} and n >= 1")
            values = _projected(condition, side, other, names).intersect_params(domain).params().compute_divs()
            found = from_isl.condition(values.coalesce(), domain)
            said = to_isl.points(found, set_space(parameters=names)).params().intersect(domain)
            return found if said.is_equal(values) else None
    except OutOfBudget:
        return None


def _projected(condition: ir.Set, side: str, other: str, names: tuple[str, ...]) -> isl.Set:
    """{ [] } over the ends and the position of the other side: it is a parameter, too."""
    box = f"{side}_lo <= {side} <= {side}_hi and {other} = at"
    space = tuple(name if name != other else "at" for name in names)
    pairs = to_isl.relation(condition).intersect(_read(space, f"[q, k] : {box}"))
    values = pairs.project_out(isl.dim_type.set, 0, 2)
    place = values.find_dim_by_name(isl.dim_type.param, "at")
    return values.set_dim_name(isl.dim_type.param, place, other)


def _read(names: tuple[str, ...], text: str) -> isl.Set:
    return isl.Set.read_from_str(context(), f"[{', '.join(names)}] -> {{ {text} }}")


def received(condition: ir.Set, rank: int, ranks: int) -> isl.Set:
    """[n] -> { [k] }: the keys of others that a rank of n positions sees, where all ranks have one run of as many."""
    own = f"{rank} n <= q < {rank + 1} n"
    away = f"(0 <= k < {rank} n or {rank + 1} n <= k < {ranks} n)"
    parameters = isl.dim_type.param
    pairs = to_isl.relation(condition).set_dim_name(parameters, 0, "whole")
    pairs = pairs.intersect(_read(("whole", "n"), f"[q, k] : whole = {ranks} n and {own} and {away}"))
    pairs = pairs.project_out(parameters, pairs.find_dim_by_name(parameters, "whole"), 1)
    return pairs.project_out(isl.dim_type.set, 0, 1).coalesce()
