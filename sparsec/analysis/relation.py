"""How two patterns relate over all calls, head by head: equal, one in the other, disjoint, overlapping."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sparsec.analysis.find import NONE, Found, find
from sparsec.analysis.score_difference import EQUAL, ScoreDifference, score_difference
from sparsec.ir import nodes as ir
from sparsec.ir.scores import Real

_BY_WEIGHT = ("equal", "undecided", "different")  # of the scores of heads: what holds of all together

Verdict = Literal["equal", "A in B", "B in A", "disjoint", "overlapping", "different", "other scores", "undecided"]


@dataclass(frozen=True, slots=True)
class Relation:
    """Pairs of A alone, of B alone and of both, for some heads (() where A and B are the same for every head)."""

    heads: tuple[int, ...]
    only_a: Found
    only_b: Found
    both: Found
    scores: ScoreDifference = EQUAL  # of the pairs of both

    @property
    def verdict(self) -> Verdict:
        """`different` where a pair tells A and B apart, and what else holds of them is not decided; where the pairs are
        the same, scores decide.
        """
        if self.pairs == "equal" and self.scores.verdict != "equal":
            return "other scores" if self.scores.verdict == "different" else "undecided"
        return self.pairs

    @property
    def pairs(self) -> Verdict:
        """What holds of the pairs, whatever their scores."""
        match self.only_a.status, self.only_b.status, self.both.status:
            case "none", "none", _:
                return "equal"
            case "none", "pair", _:
                return "A in B"
            case "pair", "none", _:
                return "B in A"
            case "pair", "pair", "none":
                return "disjoint"
            case "pair", "pair", "pair":
                return "overlapping"
            case ("pair", _, _) | (_, "pair", _):
                return "different"
        return "undecided"

    @property
    def same_up_to(self) -> float:
        """A and B are known to be the same in self-attention with n up to this; inf where for all n."""
        return min(self.only_a.clear, self.only_b.clear)


def relations(a: ir.Pattern, b: ir.Pattern) -> tuple[Relation, ...]:
    """The relations of two patterns bound to the same number of heads, heads with equal relations together."""
    grouped: dict[tuple[Found, Found, Found, ScoreDifference], list[int]] = {}
    known: dict[tuple[ir.Set, ir.Set], tuple[Found, Found, Found]] = {}
    heads = a.heads or b.heads or 0
    for head in range(heads or 1):
        pair = _of_head(a, head), _of_head(b, head)
        if pair not in known:
            known[pair] = _compared(*pair)
        scores = _score_of_head(a, head), _score_of_head(b, head)
        both = ir.And(pair)
        differ = score_difference(*scores, both, head, heads or None) if scores[0] != scores[1] else EQUAL
        grouped.setdefault((*known[pair], differ), []).append(head)
    return tuple(Relation(tuple(group) if heads else (), *found) for found, group in grouped.items())


def overall(parts: Iterable[Relation]) -> Relation:
    """The relation of all heads together; each pair is the first of theirs."""
    parts = tuple(parts)
    sides = ([getattr(part, side) for part in parts] for side in ("only_a", "only_b", "both"))
    scores = max((part.scores for part in parts), key=lambda each: _BY_WEIGHT.index(each.verdict))
    only_a, only_b, both = map(_any, sides)
    return Relation(tuple(head for part in parts for head in part.heads), only_a, only_b, both, scores)


def _any(found: list[Found]) -> Found:
    clear = min(each.clear for each in found)
    pairs = [each.pair for each in found if each.pair is not None]
    if pairs:
        first = min(pairs, key=lambda pair: (pair.q >= pair.n, pair.n, pair.q, pair.k))
        return Found("pair", clear, first)
    return Found("none" if all(each == NONE for each in found) else "unknown", clear)


def _score_of_head(pattern: ir.Pattern, head: int) -> Real | None:
    return pattern.score(pattern.head_conditions[head] if pattern.head_conditions else 0)


def _of_head(pattern: ir.Pattern, head: int) -> ir.Set:
    return pattern.conditions[pattern.head_conditions[head] if pattern.head_conditions else 0]


def _compared(a: ir.Set, b: ir.Set) -> tuple[Found, Found, Found]:
    """Pairs of A alone, of B alone, of both."""
    if a == b:
        return NONE, NONE, find(a)
    return find(ir.And((a, ir.Not(b)))), find(ir.And((b, ir.Not(a)))), find(ir.And((a, b)))
