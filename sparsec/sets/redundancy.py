"""Conditions without redundant operands: those that the rest, or what is known already, makes needless.

    simplify(past(9) & causal) = past(9)
    given(~past(128), causal & stride(128)) = q - k >= 128

Only what integer sets prove to be needless goes.  What is left is as it was written, since people read it again in the
generated kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import islpy as isl

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.ir.sampled import Pairs, pairs_for
from sparsec.sets import budgets
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.to_isl import reachable

_MOST_PARTS = 16  # the number of proofs grows with the square

Part = TypeVar("Part")


def irredundant(parts: Iterable[Part], needless: Callable[[Part, list[Part]], bool]) -> list[Part]:
    """The parts without each that is needless beside the rest, which is asked for one part after the other."""
    kept = list(parts)
    for part in list(kept):
        rest = [other for other in kept if other is not part]
        if needless(part, rest):
            kept = rest
    return kept


def _irredundant_from_last(parts: Iterable[Part], needless: Callable[[Part, list[Part]], bool]) -> list[Part]:
    """Later operands go first, as the less important ones; one stays."""
    asked = irredundant(reversed(list(parts)), lambda part, rest: bool(rest) and needless(part, rest[::-1]))
    return asked[::-1]


# ---------------------------------------------------------------- in all calls


def simplify(condition: ir.Set) -> ir.Set:
    """A condition with the same pairs in 0 <= q, 0 <= k < n, without needless operands.

    Non-goals: no reordering, no rewriting of comparisons; tables are left alone.
    """
    if ir.leaves(condition):
        return condition
    try:
        with budget(budgets.SIMPLIFY):
            return _simplified(condition, pairs_for(condition))
    except OutOfBudget:
        return condition


def _simplified(condition: ir.Set, look: Pairs) -> ir.Set:
    """`condition` without what adds nothing; what a pair refutes is not asked of sets."""
    if not look.some(condition) and reachable(condition).is_empty():
        return ir.FALSE
    if not look.some(ir.Not(condition)) and reachable(ir.TRUE).is_subset(reachable(condition)):
        return ir.TRUE
    if not isinstance(condition, ir.And | ir.Or) or len(condition.parts) > _MOST_PARTS:
        return condition
    kind, join = type(condition), isl.Set.intersect if isinstance(condition, ir.And) else isl.Set.union

    def needless(_: tuple[ir.Set], others: list[tuple[ir.Set]]) -> bool:
        rest = [other for (other,) in others]
        joined = kind(tuple(rest))
        more, less = (joined, condition) if kind is ir.And else (condition, joined)
        if look.some(ir.And((more, ir.Not(less)))):
            return False
        return reduce(join, map(reachable, rest)).is_equal(reachable(condition))

    kept = _irredundant_from_last([(part,) for part in condition.parts], needless)  # of equal ones each by itself
    simple = [_simplified(part, look) if isinstance(part, ir.And | ir.Or) else part for (part,) in kept]
    return simple[0] if len(simple) == 1 else kind(tuple(simple))


# ---------------------------------------------------------------- where some facts hold


def given(condition: ir.Set, facts: ir.Set) -> ir.Set:
    """A condition with `given & facts = condition & facts`, in 0 <= q, 0 <= k < n; negations at the comparisons."""
    try:
        with budget(budgets.GIVEN):
            return _Given(facts, pairs_for(condition, facts)).read(condition, negated=False)
    except OutOfBudget:
        return condition


@dataclass(frozen=True)
class _Given:
    """Reads conditions where some facts hold."""

    facts: ir.Set
    look: Pairs

    def read(self, node: ir.Set, negated: bool) -> ir.Set:
        match node:
            case ir.Not(part):
                return self.read(part, not negated)
            case ir.And(parts) | ir.Or(parts):
                rest = [self.read(part, negated) for part in parts]
                return self._all(rest) if isinstance(node, ir.And) != negated else self._any(rest)
        plain = algebra.complement(node) if negated else node
        if isinstance(node, ir.Leaf):
            return plain
        if not self._meet_facts(ir.Not(plain)) and reachable(self.facts).is_subset(reachable(plain)):
            return ir.TRUE
        if not self._meet_facts(plain) and reachable(self.facts).is_disjoint(reachable(plain)):
            return ir.FALSE
        return plain

    def _meet_facts(self, *parts: ir.Set) -> bool:
        """Whether a pair shows that these and the facts hold together."""
        return self.look.some(ir.And((self.facts, *parts)))

    def _all(self, parts: list[ir.Set]) -> ir.Set:
        """Their conjunction without the parts that the facts and the others imply."""

        def implied(part: ir.Set, rest: list[ir.Set]) -> bool:
            if ir.leaves(part) or self._meet_facts(*rest, ir.Not(part)):
                return False
            known = reduce(isl.Set.intersect, (reachable(other, "over") for other in rest), reachable(self.facts))
            return known.is_subset(reachable(part))

        joined = algebra.conjunction(*parts)
        return algebra.conjunction(*_irredundant_from_last(_operands(joined, ir.And), implied))

    def _any(self, parts: list[ir.Set]) -> ir.Set:
        """Their disjunction without the parts that add nothing to the others where the facts hold."""

        def covered(part: ir.Set, rest: list[ir.Set]) -> bool:
            if ir.leaves(part) or self._meet_facts(part, *map(ir.Not, rest)):
                return False
            others = reduce(isl.Set.union, (reachable(other, "under") for other in rest))
            return reachable(part).intersect(reachable(self.facts)).is_subset(others)

        joined = algebra.disjunction(*parts)
        return algebra.disjunction(*_irredundant_from_last(_operands(joined, ir.Or), covered))


def _operands(node: ir.Set, kind: type[ir.And] | type[ir.Or]) -> list[ir.Set]:
    return list(node.parts) if isinstance(node, kind) else [node]
