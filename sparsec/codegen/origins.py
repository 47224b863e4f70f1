"""Which terms of a pattern the segments of a cover come from: the comments of `_keys` and `_queries`.

A segment comes from a term that is proved to touch all of it: 0 .. 3 of past(100) | sinks(4) from `sinks(4)`.  Where no
term touches all of a segment (a hull, two windows that overlap) and others are visited besides, nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import over
from sparsec.lower.terms import Term
from sparsec.plan.coordinates import in_class
from sparsec.plan.nodes import Contiguous, Cover, Region, Residue, Segment
from sparsec.sets import budgets
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.points import Points
from sparsec.sets.symbolic_tiles import filled, inside, parameters
from sparsec.sets.to_isl import reachable, relation

_LONGEST = 60  # letters of a comment
_ARGUMENT = re.compile(r"(?<=[(, ])\d+(?=[,)])")

Names = tuple[str, ...]
Origins = tuple[tuple[Names, ...], tuple[Names, ...]]  # of the segments of rows, and of columns; (): not known


def origins(region: Region, terms: Sequence[Term]) -> Origins:
    """The names of the terms that the segments of a region come from."""
    try:
        with budget(budgets.ORIGINS):
            here = [term for term in terms if _meets(term, region)]
            rows, columns = (_of_cover(cover, region, here) for cover in region.covers)
            return rows, columns
    except OutOfBudget:
        return unknown(region)


def unknown(region: Region) -> Origins:
    """No names."""
    rows, columns = (((),) * len(cover.segments) for cover in region.covers)
    return rows, columns


def common(some: Sequence[Origins]) -> Origins:
    """The origins of regions that share their kernels: names that differ in numbers have `_` in their place."""
    rows, columns = (tuple(map(_common, zip(*(each[side] for each in some), strict=True))) for side in (0, 1))
    return rows, columns


def comment(names: Names) -> str:
    """The names in one line, nothing where they are too many."""
    text = ", ".join(names)
    return text if len(text) <= _LONGEST else ""


def _common(some: tuple[Names, ...]) -> Names:
    if len(set(some)) > 1:
        some = tuple(tuple(dict.fromkeys(_ARGUMENT.sub("_", name) for name in names)) for names in some)
    return some[0] if len(set(some)) == 1 else ()


def _meets(term: Term, region: Region) -> bool:
    """Whether some pair of the region may be one of the term."""
    return not reachable(algebra.conjunction(term.condition, region.condition)).is_empty()


def _of_cover(cover: Cover, region: Region, terms: Sequence[Term]) -> tuple[Names, ...]:
    named = tuple(dict.fromkeys(name for name, _ in terms))
    if len(named) == 1 or len(cover.segments) == 1:
        return (named if "" not in named else (),) * len(cover.segments)
    if not isinstance(region.layout, Contiguous | Residue):
        return ((),) * len(cover.segments)
    stride = region.stride
    touched = [(name, _pairs(condition, region)) for name, condition in terms if name]

    def of_exact(segment: Segment) -> Names:
        ends = segment.first, segment.last, segment.when
        return tuple(name for name, pairs in touched if filled(pairs, cover.side, *ends, stride=stride))[:1]

    def of_hull(segment: Segment) -> Names:
        ends = segment.first, segment.last, segment.when
        held = (name for name, pairs in touched if name not in placed and inside(pairs, cover.side, *ends, stride))
        return tuple(dict.fromkeys(held))

    found = [of_exact(segment) if segment.exact else () for segment in cover.segments]
    placed = {name for names in found for name in names}
    return tuple(names or of_hull(segment) for names, segment in zip(found, cover.segments, strict=True))


def _pairs(condition: ir.Set, region: Region) -> Points:
    """The pairs of a term that are in the region, in its coordinates."""
    own, stride = algebra.conjunction(condition, region.mask), region.stride
    return relation(over(in_class(own, stride) if stride > 1 else own).affine, parameters=parameters(stride))
