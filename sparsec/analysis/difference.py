"""The pairs at which two conditions differ, with what both share taken out: seen at points, or proved to be none.

A part of a long union is then looked at for itself, and the other parts only where it keeps a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from math import inf

from sparsec.analysis.replaced import replaced
from sparsec.analysis.samples import Point, holds, points
from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.ir.ranges import rows_named

_MOST_LOOKS = 30_000
_MOST_TABLES = 3
_LOOK = 5  # comparisons
_MOST_KNOWN = 1024
_ANY_ROWS = (-inf, inf)
_known: dict[int, tuple[ir.Set, int, tuple[float, float]]] = {}  # by id, with the part, so that no other can have it


@dataclass(frozen=True)
class Difference:
    """The pairs of `core` that are in all of `inside` and in none of `outside`."""

    core: ir.Set
    inside: tuple[ir.Set, ...] = ()
    outside: tuple[ir.Set, ...] = ()

    @property
    def parts(self) -> tuple[ir.Set, ...]:
        return (self.core, *self.inside, *self.outside)

    @property
    def tables(self) -> tuple[ir.Leaf, ...]:
        return tuple(dict.fromkeys(leaf for part in self.parts for leaf in ir.leaves(part)))

    def seen(self, most: int = _MOST_LOOKS) -> bool:
        """Whether one of the points tried is such a pair, with every table empty or every table full.

        At most about `most` looks are taken at parts at points, one for each rectangle or so of a part.
        """
        return self._seen(most, tables=False) or (bool(self.tables) and self._seen(most, tables=True))

    def none(self) -> bool:
        """Whether it is proved that there are none, whatever the tables list.  May raise OutOfBudget under a budget."""
        tables = self.tables
        if len(tables) > _MOST_TABLES:
            return False
        # A pair is in a table or not: none in all cases is none.
        cases = product((ir.TRUE, ir.FALSE), repeat=len(tables))
        return all(self._none(dict(zip(tables, case, strict=True))) for case in cases)

    def _seen(self, most: int, tables: bool) -> bool:
        _, own, (first, stop) = _told(self.core)
        for point in chain(points(self.core), points(ir.And((*self.inside, *self.outside)))):
            inner = first <= point["q"] < stop and holds(self.core, point, tables)
            if inner and self._is_around(point, tables):
                return True
            most -= own + (self._looks_around if inner else 0)
            if most <= 0:
                return False
        return False

    @cached_property
    def _looks_around(self) -> int:
        return sum(map(_looks, (*self.inside, *self.outside)))

    def _is_around(self, at: Point, tables: bool) -> bool:
        if not all(holds(part, at, tables) for part in self.inside):
            return False
        row = at["q"]
        for part, _, (first, stop) in map(_told, self.outside):
            if first <= row < stop and holds(part, at, tables):
                return False
        return True

    def _none(self, case: dict[ir.Leaf, ir.Set]) -> bool:
        from sparsec.sets.to_isl import reachable, relation

        pairs = reachable(replaced(algebra.conjunction(self.core, *self.inside), case))
        for part in self.outside:
            if pairs.is_empty():
                break
            pairs = pairs.subtract(relation(replaced(part, case)))
        return bool(pairs.is_empty())


def _looks(part: ir.Set) -> int:
    """How many looks at a part count for: a rectangle is one."""
    return _told(part)[1]


def _told(part: ir.Set) -> tuple[ir.Set, int, tuple[float, float]]:
    """(the part, `_looks`, the first row that it can hold for and the one after the last).

    It is asked for every part beside every other, so the last ones are known by what they are, not by what they say.
    """
    told = _known.get(id(part))
    if told is None or told[0] is not part:
        looks = 1 + sum(isinstance(node, ir.Compare | ir.Member) for node in ir.walk(part)) // _LOOK
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        told = _known[id(part)] = part, looks, rows_named(part) or _ANY_ROWS
    return told


def difference(one: ir.Set, other: ir.Set) -> Difference:
    """The pairs that are in one of two conditions and not in the other."""
    for kind, join in ((ir.Or, algebra.disjunction), (ir.And, algebra.conjunction)):
        if not isinstance(one, kind) and not isinstance(other, kind):
            continue
        left, right = (each.parts if isinstance(each, kind) else (each,) for each in (one, other))
        shared = _shared(left, right)
        if not shared:
            continue
        rest = difference(*(join(*(part for part in parts if id(part) not in shared)) for parts in (left, right)))
        around = tuple(part for part in left if id(part) in shared)
        if kind is ir.Or:
            return Difference(rest.core, rest.inside, (*rest.outside, *around))
        return Difference(rest.core, (*rest.inside, *around), rest.outside)
    without = (algebra.conjunction(one, algebra.complement(other)), algebra.conjunction(other, algebra.complement(one)))
    return Difference(ir.FALSE if one == other else algebra.disjunction(*without))


def _shared(left: tuple[ir.Set, ...], right: tuple[ir.Set, ...]) -> set[int]:
    """The ids of the parts on both sides; equal ones count only where none is the very same, as hashing takes long."""
    if same := set(map(id, left)) & set(map(id, right)):
        return same
    equal = set(left) & set(right)
    return {id(part) for part in (*left, *right) if part in equal} if equal else set()
