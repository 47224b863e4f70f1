"""A condition without what is known already: the same pairs, where some facts hold.

    given(~past(128), causal & stride(128)) = q - k >= 128

Only operands go; what is left is as it was written, with negations at the comparisons.
"""

from __future__ import annotations

from functools import reduce

import islpy as isl

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.sets import budgets
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.to_isl import reachable


def given(condition: ir.Set, facts: ir.Set) -> ir.Set:
    """A condition with `given & facts = condition & facts`, in 0 <= q, 0 <= k < n."""
    try:
        with budget(budgets.GIVEN):
            return _given(condition, reachable(facts), negated=False)
    except OutOfBudget:
        return condition


def _given(node: ir.Set, facts: isl.Set, negated: bool) -> ir.Set:
    match node:
        case ir.Not(part):
            return _given(part, facts, not negated)
        case ir.And(parts) | ir.Or(parts):
            rest = [_given(part, facts, negated) for part in parts]
            return _all(rest, facts) if isinstance(node, ir.And) != negated else _any(rest, facts)
    plain = algebra.complement(node) if negated else node
    if isinstance(node, ir.Leaf):
        return plain
    pairs = reachable(plain)
    return ir.TRUE if facts.is_subset(pairs) else ir.FALSE if facts.is_disjoint(pairs) else plain


def _all(parts: list[ir.Set], facts: isl.Set) -> ir.Set:
    """Their conjunction without the parts that the facts and the others imply."""
    kept = _flat(algebra.conjunction(*parts), ir.And)
    for part in reversed(kept):
        rest = [other for other in kept if other is not part]
        if rest and not ir.leaves(part):
            known = reduce(isl.Set.intersect, (reachable(other, "upper") for other in rest), facts)
            kept = rest if known.is_subset(reachable(part)) else kept
    return algebra.conjunction(*kept)


def _any(parts: list[ir.Set], facts: isl.Set) -> ir.Set:
    """Their disjunction without the parts that add nothing to the others where the facts hold."""
    kept = _flat(algebra.disjunction(*parts), ir.Or)
    for part in reversed(kept):
        rest = [other for other in kept if other is not part]
        if rest and not ir.leaves(part):
            others = reduce(isl.Set.union, (reachable(other, "lower") for other in rest))
            kept = rest if reachable(part).intersect(facts).is_subset(others) else kept
    return algebra.disjunction(*kept)


def _flat(node: ir.Set, kind: type[ir.And] | type[ir.Or]) -> list[ir.Set]:
    return list(node.parts) if isinstance(node, kind) else [node]
