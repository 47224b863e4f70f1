"""What a score is made of: signs that a pattern decides, what rises by the same from key to key, and a bound."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, cast

from sparsec.analysis.facts import is_causal
from sparsec.ir import nodes as ir
from sparsec.ir.scores import (
    Apply,
    Arithmetic,
    Choose,
    Extreme,
    ReadReal,
    Real,
    Scaled,
    Whole,
    arithmetic,
    constant,
    number,
    parts,
)

_BACK = ir.Sub(ir.Var("q"), ir.Var("k"))
_AHEAD = ir.Sub(ir.Var("k"), ir.Var("q"))


class Tilted(NamedTuple):
    """A score as `level + tilt * (k - q)`."""

    level: Real
    tilt: Real  # the same for all pairs of a head


@lru_cache(maxsize=64)
def with_known_signs(score: Real, conditions: tuple[ir.Set, ...]) -> Real:
    """The same score of all pairs of some conditions: the distance as `q - k` where no query sees a later key."""
    distances = Whole(ir.Abs(_BACK)), Whole(ir.Abs(_AHEAD))
    if not any(part in distances for part in parts(score)) or not all(map(is_causal, conditions)):
        return score
    return _replaced(score, distances)


def _replaced(node: Real, distances: tuple[Real, ...]) -> Real:
    if node in distances:
        return Whole(_BACK)
    changed: dict[str, Any] = {
        name: _replaced(part, distances)
        for name in node.__match_args__
        if isinstance(part := getattr(node, name), Real)
    }
    return cast(Real, replace(node, **changed)) if changed and not isinstance(node, Whole | ReadReal) else node


def tilted(score: Real) -> Tilted | None:
    """A score that is a sum with terms `slope * (q - k)`, their slopes the same for all pairs of a head; None: none is.

    Such terms cost a sum for each pair, and everything else once for each key of a tile: s - slope * (q - k) is
    s + slope * (k - k_0) less slope * (q - k_0), a number of the row.
    """
    level: list[tuple[bool, Real]] = []
    tilt: list[tuple[bool, Real]] = []
    for plus, term in _terms(score, True):
        slope = _slope(term)
        if slope is None:
            level.append((plus, term))
        else:
            tilt.append((plus == slope[0], slope[1]))
    return Tilted(_sum(level), _sum(tilt)) if level and tilt else None


def _sum(terms: list[tuple[bool, Real]]) -> Real:
    (plus, found), *more = terms
    found = found if plus else arithmetic(number(0), "-", found)
    for plus, term in more:
        found = arithmetic(found, "+" if plus else "-", term)
    return found


def _terms(node: Real, plus: bool) -> list[tuple[bool, Real]]:
    """The terms of a sum, and whether each is added."""
    match node:
        case Arithmetic(left, "+", right):
            return _terms(left, plus) + _terms(right, plus)
        case Arithmetic(left, "-", right):
            return _terms(left, plus) + _terms(right, not plus)
    return [(plus, node)]


def _slope(term: Real) -> tuple[bool, Real] | None:
    """Whether a term rises from a key to the next or falls, and by how much; None where that differs among pairs."""
    match term:
        case Whole(distance) if distance in (_AHEAD, _BACK):
            return distance == _AHEAD, number(1)
        case Arithmetic(left, "*", right):
            for slope, other in ((_slope(left), right), (_slope(right), left)):
                if slope is not None and is_of_head(other):
                    return slope[0], other if constant(slope[1]) == 1 else arithmetic(slope[1], "*", other)
        case Arithmetic(left, "/", right) if (slope := _slope(left)) is not None and is_of_head(right):
            return slope[0], arithmetic(slope[1], "/", right)
    return None


def is_of_head(node: Real) -> bool:
    """Whether it is the same for all pairs of a head, and reads nothing."""
    named = (part for part in parts(node) if isinstance(part, ir.Var) and part.name in ("q", "k"))
    return not any(named) and not any(
        isinstance(part, Scaled | ReadReal | ir.Read | ir.ElementOf) for part in parts(node)
    )


def most(score: Real) -> float | None:
    """What a score is never above, and its negative never below, whatever is put in; None where nothing is known."""
    match score:
        case Apply("tanh"):
            return 1.0
        case Apply("abs", value):
            return most(value)
        case Arithmetic(left, "+" | "-", right):
            sides = most(left), most(right)
            return None if None in sides else sum(cast(tuple[float, float], sides))
        case Arithmetic(left, "*", right):
            sides = most(left), most(right)
            return None if None in sides else cast(float, sides[0]) * cast(float, sides[1])
        case Arithmetic(left, "/", right) if constant(right):
            bound = most(left)
            return None if bound is None else bound / abs(cast(float, constant(right)))
        case Extreme(_, left, right) | Choose(left, _, right):
            sides = most(left), most(right)
            return None if None in sides else max(cast(tuple[float, float], sides))
    known = constant(score)
    return None if known is None else abs(known)
