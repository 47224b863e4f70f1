"""A condition as what no group decides, and the pairs of groups of tokens, each a region in the layout of its groups.

causal & (past(64) | lsh(..))  ->  contiguous: causal & past(64)
                                   grouped:    lsh(..) & causal & ~past(64)
"""

from __future__ import annotations

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.ir.chosen import Hashing, Routing
from sparsec.ir.inputs import Input
from sparsec.plan.nodes import Cover, Grouped, Region, Side
from sparsec.sets.redundancy import given, simplify

_SIDES: tuple[Side, Side] = ("q", "k")
_MOST_GROUPS = 4  # tests of groups that have regions of their own


def groups_apart(condition: ir.Set, inputs: tuple[Input, ...]) -> tuple[ir.Set, tuple[Region, ...]]:
    """What is left of a simplified condition, and disjoint regions of groups; none where a group is asked about under a
    complement, of which most pairs are in no group.
    """
    made = {each.name: each.choice for each in inputs if isinstance(each.choice, Hashing | Routing)}
    tests = [leaf for leaf in ir.leaves(condition) if isinstance(leaf, ir.DataTest)]
    rest, regions = condition, list[Region]()
    for leaf in tests:
        own = made.get(leaf.test.name) if isinstance(leaf.test, ir.Grouped) else None
        if own is None or _under_complement(rest, leaf) or len(regions) == _MOST_GROUPS:
            continue
        without = simplify(_taken_as(rest, leaf, ir.FALSE))
        others = _taken_as(rest, leaf, ir.TRUE)
        mask = simplify(algebra.conjunction(others, given(ir.Not(without), others)))
        if mask != ir.FALSE:
            regions.append(_region(leaf, mask, own))
        rest = without
    return rest, tuple(regions)


def _under_complement(condition: ir.Set, leaf: ir.Set, negated: bool = False) -> bool:
    match condition:
        case ir.Not(part):
            return _under_complement(part, leaf, not negated)
        case ir.And(parts) | ir.Or(parts):
            return any(_under_complement(part, leaf, negated) for part in parts)
    return negated and condition == leaf


def _taken_as(condition: ir.Set, leaf: ir.Set, value: ir.Set) -> ir.Set:
    """The condition with another one in the place of a test."""
    match condition:
        case ir.Not(part):
            return algebra.complement(_taken_as(part, leaf, value))
        case ir.And(parts):
            return algebra.conjunction(*(_taken_as(part, leaf, value) for part in parts))
        case ir.Or(parts):
            return algebra.disjunction(*(_taken_as(part, leaf, value) for part in parts))
    return value if condition == leaf else condition


def _region(leaf: ir.Set, mask: ir.Set, choice: Hashing | Routing) -> Region:
    if isinstance(choice, Hashing):
        layout = Grouped(choice.name, True, choice.chunk, choice.rounds)
        seen = "its chunk and the one before, in each round"
    else:
        layout, seen = Grouped(choice.name, False, choice.count, 1), "the keys of its clusters"
    rows, columns = (Cover(side, (), ordered=True, precision="groups", why="") for side in _SIDES)
    why = f"A query sees {seen}."
    return Region(layout, algebra.conjunction(leaf, mask), mask, rows, columns, ir.FALSE, why)
