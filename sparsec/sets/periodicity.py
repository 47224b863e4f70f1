"""Which pairs a condition can hold, by residues: proofs that a layout keeps together all that it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import combinations
from math import gcd, lcm

import islpy as isl

from sparsec.ir import nodes as ir
from sparsec.sets import budgets
from sparsec.sets.context import OutOfBudget, budget, context, read_once, remembered
from sparsec.sets.copies import unshared
from sparsec.sets.pieces import integer
from sparsec.sets.to_isl import reachable

LARGEST = 1 << 15  # stride or period
_MOST = 12  # numbers that are tried


def stride(condition: ir.Set) -> int:
    """The largest s found with q = k (mod s) for every pair; 1 where there is none."""
    return remembered(("stride", condition), lambda: _stride(condition))


def _stride(condition: ir.Set) -> int:
    numbers = sorted(_periods(condition))[-_MOST:]
    shared = {gcd(a, b) for a, b in combinations(numbers, 2)}
    found = 1
    try:
        with budget(budgets.CLASSES):
            pairs = reachable(condition)
            for s in sorted({*numbers, *shared}, reverse=True):
                both = lcm(found, s)
                if found % s and both <= LARGEST and pairs.is_subset(_read(f"(q - k) mod {both} = 0")):
                    found = both
    except OutOfBudget:
        pass
    return found


def periodic_keys(condition: ir.Set) -> tuple[int, int, int] | None:
    """(period, first, width) with 0 <= (k - first) mod period < width <= period - first for every kept key.

    The narrowest share of the keys that is found, None where that is all.
    """
    return remembered(("periodic keys", condition), lambda: _periodic_keys(condition))


def _periodic_keys(condition: ir.Set) -> tuple[int, int, int] | None:
    found = []
    for period in sorted(_periods(condition))[-_MOST:]:
        try:
            with budget(budgets.CLASSES):
                residues = _residues(reachable(condition), period)
                if residues is not None:
                    found.append((period, residues[0], residues[1] - residues[0] + 1))
        except OutOfBudget:
            continue
    return min(found, key=lambda keys: (keys[2] / keys[0], keys[0]), default=None)


def _residues(pairs: isl.Set, period: int) -> tuple[int, int] | None:
    """The least and the largest k mod period, proved to bound it."""
    number = isl.Map.read_from_str(context(), f"{{ [q, k] -> [k mod {period}] }}")
    values = pairs.apply(number)
    values = values.project_out(isl.dim_type.param, 0, values.dim(isl.dim_type.param))
    if values.is_empty():
        return None
    low, high = integer(unshared(values).dim_min_val(0)), integer(unshared(values).dim_max_val(0))
    return (low, high) if pairs.is_subset(_read(f"{low} <= k mod {period} <= {high}")) else None


def _periods(condition: ir.Set) -> set[int]:
    """Numbers that residues in `condition` can repeat after."""
    found = {abs(number) for part in ir.walk(condition) for number in _period(part)}
    return {number for number in found if 2 <= number <= LARGEST}


def _period(node: ir.Node) -> Iterator[int]:
    match node:
        case ir.Mod(left, divisor):  # x // d % m repeats after d m
            yield divisor
            yield divisor * reduce(int.__mul__, (p.divisor for p in ir.walk(left) if isinstance(p, ir.FloorDiv)), 1)
        case ir.Mul(ir.Const(factor), _) | ir.Mul(_, ir.Const(factor)):
            yield factor


def _read(text: str) -> isl.Set:
    return read_once(f"{{ [q, k] : {text} }}")
