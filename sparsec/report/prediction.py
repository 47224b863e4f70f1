"""Dense attention beside a plan, by the cost model that the planner chooses layouts with, and by that of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from sparsec.analysis.count import count, pattern_count
from sparsec.analysis.facts import is_causal
from sparsec.analysis.numbers import Uncounted
from sparsec.ir import nodes as ir
from sparsec.plan.build import build, contiguous
from sparsec.plan.cost_model import LENGTHS, cost
from sparsec.plan.cpu_cost import cpu_cost
from sparsec.plan.evaluate import steps
from sparsec.plan.nodes import Contiguous, Plan, Region, Variant
from sparsec.plan.programs import BLOCK

_PAST = ir.Compare(ir.Var("k"), "<=", ir.Var("q"))


@dataclass(frozen=True, slots=True)
class Speed:
    """Forward and backward against dense attention of as many heads, on an H100 but for `cpu_ratio`."""

    ratio: float  # how many times faster than dense at the length asked for
    pays_from: int | None  # the length from which on it is faster; None where that is beyond a million
    cpu_ratio: float  # as `ratio`, on one thread of a CPU

    def to_json(self) -> dict:
        """Everything as plain data."""
        return asdict(self)


def speed(plan: Plan, n: int, *, past: bool) -> Speed:
    """The prediction for a plan, against dense attention to all or to the past."""
    dense = contiguous(_PAST if past else ir.TRUE)
    return Speed(_ratio(plan, dense, n), _pays_from(plan, dense), _ratio(plan, dense, n, cpu_cost))


def visited(plan: Plan, n: int) -> int:
    """Pairs of all tiles of 64 x 64 that forward visits, over all heads that are told apart; without tables."""
    return sum(max(1, len(group.heads)) * _visited(group.at(n).regions, n) for group in plan.groups)


def wasted(condition: ir.Set, regions: Sequence[Region], n: int) -> float | None:
    """The share of the pairs in tiles that forward visits which a condition does not keep, in layouts of their own.

    None in the contiguous layout alone, which is told for itself, with tables, and where pairs can't be counted.
    """
    if all(region.layout == Contiguous() for region in regions) or ir.leaves(condition):
        return None
    try:
        return 1 - count(condition, n) / max(1, _visited(regions, n))
    except Uncounted:
        return None


def _visited(regions: Sequence[Region], n: int) -> int:
    return BLOCK**2 * sum(int(steps(region.rows, region, n).sum()) for region in regions)


def work(pattern: ir.Pattern, n: int = 8192) -> tuple[int, int]:
    """(kept pairs, pairs of the tiles that forward visits); for patterns without tables."""
    return pattern_count(pattern, n), visited(build(pattern), n)


def beside_dense(pattern: ir.Pattern, n: int = 8192) -> tuple[float, float, float]:
    """(times the speed of dense attention, share of its pairs, share of the tiles that it visits); without tables.

    Dense attention is causal where the pattern is.
    """
    causal = all(map(is_causal, pattern.conditions))
    dense, plan = contiguous(_PAST if causal else ir.TRUE), build(pattern)
    heads = max(1, len(pattern.head_conditions))
    whole = n * (n + 1) // 2 if causal else n * n
    tiles = heads * _visited(dense.regions, n)
    return _ratio(plan, dense, n), pattern_count(pattern, n) / (heads * whole), visited(plan, n) / tiles


def _ratio(plan: Plan, dense: Variant, n: int, cost: Callable[[Variant, int], float] = cost) -> float:
    weights = [max(1, len(group.heads)) for group in plan.groups]
    own = sum(weight * cost(group.at(n), n) for weight, group in zip(weights, plan.groups, strict=True))
    return sum(weights) * cost(dense, n) / own


def _pays_from(plan: Plan, dense: Variant) -> int | None:
    """The least multiple of a tile, as far as the lengths that are looked at tell."""
    slow, fast = BLOCK, None
    for n in reversed(LENGTHS):
        if _ratio(plan, dense, n) <= 1:
            slow = n
            break
        fast = n
    while fast is not None and fast - slow > BLOCK:
        middle = (slow + fast) // 2 // BLOCK * BLOCK
        if _ratio(plan, dense, middle) > 1:
            fast = middle
        else:
            slow = middle
    return fast
