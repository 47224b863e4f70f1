"""Keys that each query lists for itself, apart from all else that a condition keeps.

past(512) | selected(sel)    beside the keys of sel: past(512)    the keys of sel: those without past(512)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    adding = dict(_tests(condition, adds=True))
    own = {test: name for test, name in adding.items() if test not in dict(_tests(condition, adds=False))}
    if not own:
        return None
    beside = _with(condition, dict.fromkeys(own, ir.FALSE))
    lists, earlier = [], dict[ir.DataTest, ir.Set]()
    for test, name in own.items():
        kept = _with(condition, earlier | {test: ir.TRUE})
        others = map(algebra.complement, earlier)
        lists.append(ChosenKeys(name, algebra.conjunction(kept, algebra.complement(beside), *others)))
        earlier[test] = ir.FALSE
    return KeysApart(beside, tuple(lists))


def _tests(condition: ir.Set, adds: bool) -> Iterator[tuple[ir.DataTest, str]]:
    """The tests of lists of single keys that add pairs where they hold, or take some; and the names of their inputs."""
    match condition:
        case ir.And(parts) | ir.Or(parts):
            for part in parts:
                yield from _tests(part, adds)
        case ir.Not(part):
            yield from _tests(part, not adds)
        case ir.DataTest(ir.Chosen(name, 1, 1)) if adds:
            yield condition, name


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
