"""Keys that each query lists for itself, apart from all else that a condition keeps.

past(512) | selected(sel)    beside the keys of sel: past(512)    the keys of sel: those without past(512)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sparsec.ir import algebra
from sparsec.ir import nodes as ir


@dataclass(frozen=True, slots=True)
class ChosenKeys:
    """The keys of a list that each query has of its own."""

    name: str  # of the input that holds the lists
    kept: ir.Set  # which of the pairs of a query and a key of its list are counted with this list


@dataclass(frozen=True, slots=True)
class KeysApart:
    """A condition in parts that have no pair in common: what it keeps beside some lists, and of each of these lists."""

    beside: ir.Set
    lists: tuple[ChosenKeys, ...]


def keys_apart(condition: ir.Set) -> KeysApart | None:
    """The lists of single keys that only ever add pairs to a condition, apart; None where there are none."""
    leaves = dict.fromkeys(_leaves(condition, False))
    against = set(_leaves(condition, True))
    own = [leaf for leaf in leaves if leaf not in against]
    if not own:
        return None
    none: dict[ir.DataTest, ir.Set] = dict.fromkeys(own, ir.FALSE)
    beside = _with(condition, none)
    lists = []
    for place, leaf in enumerate(own):
        earlier: dict[ir.DataTest, ir.Set] = dict.fromkeys(own[:place], ir.FALSE)
        kept = _with(condition, earlier | {leaf: ir.TRUE})
        others = [algebra.complement(each) for each in own[:place]]
        lists.append(ChosenKeys(leaf.test.name, algebra.conjunction(kept, algebra.complement(beside), *others)))
    return KeysApart(beside, tuple(lists))


def _leaves(condition: ir.Set, against: bool) -> list[ir.DataTest]:
    """The tests of lists of single keys that stand under no complement, or `against`: under one, or an odd number."""
    match condition:
        case ir.And(parts) | ir.Or(parts):
            return [leaf for part in parts for leaf in _leaves(part, against)]
        case ir.Not(part):
            return _leaves(part, not against)
        case ir.DataTest(ir.Chosen(_, 1, 1)):
            return [] if against else [condition]
    return []


def _with(condition: ir.Set, known: Mapping[ir.DataTest, ir.Set]) -> ir.Set:
    """The condition where it is known of some tests whether they hold."""
    match condition:
        case ir.And(parts):
            return algebra.conjunction(*(_with(part, known) for part in parts))
        case ir.Or(parts):
            return algebra.disjunction(*(_with(part, known) for part in parts))
        case ir.Not(part):
            return algebra.complement(_with(part, known))
        case ir.DataTest():
            return known.get(condition, condition)
    return condition
