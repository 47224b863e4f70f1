"""Do two scores say the same?  Equal as SymPy knows, or a pair and a value of s that tell them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sparsec.analysis.score_gradient import difference_is_zero
from sparsec.ir import nodes as ir
from sparsec.ir import vector
from sparsec.ir.approximate import under, without_data
from sparsec.ir.scores import Number, Real, Scaled, reads_of, with_reals

_LENGTHS = (2, 5, 16, 61)  # of keys, at which pairs are looked at
_VALUES = (0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 12.0, -12.0, 70.0, -70.0)
_HEADS = ((0, 8), (7, 8), (2, 12))  # heads, and of how many, for patterns that serve any number
_CLOSE = 1e-9  # relative: what numbers of the formulas may differ by


@dataclass(frozen=True, slots=True)
class Apart:
    """A pair of both patterns, n keys, a head of H, a value of s, and the two scores."""

    n: int
    q: int
    k: int
    h: int
    H: int
    s: float
    a: float
    b: float


@dataclass(frozen=True, slots=True)
class ScoreDifference:
    """`apart` where the scores differ; "undecided" where no difference was found, and none excluded."""

    verdict: Literal["equal", "different", "undecided"]
    apart: Apart | None = None


EQUAL = ScoreDifference("equal")


def score_difference(
    a: Real | None, b: Real | None, condition: ir.Set, head: int = 0, heads: int | None = None
) -> ScoreDifference:
    """How two scores of the pairs of a condition differ, None being s; in one head, or in those of any number."""
    a, b = a or Scaled(), b or Scaled()
    if a == b:
        return EQUAL
    told = {read: Number(0.25 + 0.5 * sum(map(ord, read.name)) % 1.75) for read in (*reads_of(a), *reads_of(b))}
    one, other = (with_reals(each, told) for each in (a, b))  # all entries of an input alike: some data
    known = under(without_data(condition, "over"))  # pairs that tables list are not looked at
    for n in _LENGTHS:
        q, k = np.arange(n)[:, None], np.arange(n)
        kept = np.broadcast_to(vector.holds(known, {"q": q, "k": k, "n": n}), (n, n))
        for h, count in ((head, heads),) if heads else _HEADS:
            if (found := _apart(one, other, kept, h, count)) is not None:
                return ScoreDifference("different", found)
    return EQUAL if difference_is_zero(a, b) else ScoreDifference("undecided")


def _apart(a: Real, b: Real, kept: np.ndarray, h: int, heads: int) -> Apart | None:
    n = len(kept)
    for s in _VALUES:
        at: vector.Values = {"q": np.arange(n)[:, None], "k": np.arange(n), "n": n, "h": h, "H": heads}
        with np.errstate(all="ignore"):
            one, other = (np.broadcast_to(vector.real(each, np.full((n, n), s), at), (n, n)) for each in (a, b))
            same = (one == other) | (np.isnan(one) & np.isnan(other)) | (abs(one - other) <= _CLOSE * (1 + abs(one)))
        for q, k in np.argwhere(kept & ~same)[:1].tolist():
            return Apart(n, q, k, h, heads, s, float(one[q, k]), float(other[q, k]))
    return None
