"""Do two scores say the same?  Equal as SymPy knows, or a pair and a value of s that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sparsec.analysis.score_gradient import difference_is_zero
from sparsec.analysis.score_terms import with_known_signs
from sparsec.ir import nodes as ir
from sparsec.ir import vector
from sparsec.ir.approximate import under, without_data
from sparsec.ir.chosen import Chosen, Grouped
from sparsec.ir.inputs import inputs_read
from sparsec.ir.scores import Number, Real, Scaled, integer_reads_of, reads_of, with_reals

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
    a, b = (with_known_signs(each or Scaled(), (condition,)) for each in (a, b))
    if a == b:
        return EQUAL
    told = {read: Number(0.25 + 0.5 * sum(map(ord, read.name)) % 1.75) for read in (*reads_of(a), *reads_of(b))}
    one, other = (with_reals(each, told) for each in (a, b))  # all entries of an input alike: some data
    names = sorted({read.name for each in (a, b) for read in integer_reads_of(each)})
    known = _pairs_looked_at(condition, bool(names))
    for n in _LENGTHS:
        q, k = np.arange(n)[:, None], np.arange(n)
        data = {name: _some_integers(name, n) for name in sorted({*names, *inputs_read(known)})}
        kept = np.broadcast_to(vector.holds(known, {"q": q, "k": k, "n": n, **data}), (n, n))
        for h, count in ((head, heads),) if heads else _HEADS:
            if (found := _apart(one, other, kept, h, count, data)) is not None:
                return ScoreDifference("different", found)
    return EQUAL if difference_is_zero(a, b) else ScoreDifference("undecided")


def _pairs_looked_at(condition: ir.Set, with_data: bool) -> ir.Set:
    """Pairs that a condition keeps, without those that tables list; `with_data`: for the data that scores read."""
    if not with_data:
        return under(without_data(condition, "over"))  # for some data
    tests = [leaf.test for leaf in ir.leaves(condition) if isinstance(leaf, ir.DataTest)]
    is_read = len(tests) == len(ir.leaves(condition)) and not any(isinstance(x, Chosen | Grouped) for x in tests)
    return condition if is_read else under(condition)


def _some_integers(name: str, n: int) -> np.ndarray:
    """Entries of an input: as many as there are positions, which a list may have."""
    return np.random.default_rng([*name.encode()]).integers(0, 5, n)


def _apart(a: Real, b: Real, kept: np.ndarray, h: int, heads: int, data: Mapping[str, np.ndarray]) -> Apart | None:
    n = len(kept)
    for s in _VALUES:
        at: vector.Values = {"q": np.arange(n)[:, None], "k": np.arange(n), "n": n, "h": h, "H": heads, **data}
        with np.errstate(all="ignore"):
            one, other = (np.broadcast_to(vector.real(each, np.full((n, n), s), at), (n, n)) for each in (a, b))
            same = (one == other) | (np.isnan(one) & np.isnan(other)) | (abs(one - other) <= _CLOSE * (1 + abs(one)))
        for q, k in np.argwhere(kept & ~same)[:1].tolist():
            return Apart(n, q, k, h, heads, s, float(one[q, k]), float(other[q, k]))
    return None
