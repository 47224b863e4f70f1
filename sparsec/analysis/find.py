"""Does any call keep a pair of a condition?  Exact by integer sets, else by looking at many calls.

An affine condition is decided for all n at once.  Tables are decided where it does not matter what they list, and
looked at concretely where it does; so are conditions whose sets take too long.  Every pair is checked before it is
given out; where data of the call decides, one is kept whatever that is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal

from sparsec.analysis.replaced import replaced
from sparsec.analysis.samples import holds, seen
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import Approximation, exact, extent
from sparsec.ir.inputs import inputs_read
from sparsec.sets import budgets, witness
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.witness import Witness

_MOST_TABLES = 4  # decided by cases, two for each


@dataclass(frozen=True, slots=True)
class Found:
    """The answer: a pair, none for sure, or none so far.

    No n up to `clear` has a pair with its query among the keys, q < n; inf where no n has.
    """

    status: Literal["pair", "none", "unknown"]
    clear: float
    pair: Witness | None = None


NONE = Found("none", math.inf)


def find(condition: ir.Set) -> Found:
    """A pair of the condition over all calls: 0 <= q and 0 <= k < n.  Where some have q < n, one of those."""
    written = {leaf: affine for leaf in ir.leaves(condition) if (affine := exact(leaf))}
    condition = replaced(condition, written)
    if ir.leaves(condition):
        return NONE if _none_in_any_case(condition) else _searched(condition)
    return _proved(condition) or _searched(condition)


def _proved(condition: ir.Set) -> Found | None:
    """The answer for an affine condition, None where its sets take too long."""
    own = _asked(condition)
    if own != NONE:
        return own
    return _asked(condition, beyond=True)


def _asked(condition: ir.Set, *, beyond: bool = False, bound: Approximation = "over") -> Found | None:
    """What the sets say; a pair that does not hold, or takes too long, counts as no answer."""
    try:
        with budget(budgets.DIFFERENCE):
            pair = (witness.kept_pair if beyond else witness.own_pair)(condition, bound)
    except OutOfBudget:
        return None
    if pair is None:
        return NONE
    clear = math.inf if beyond else pair.n - 1
    return Found("pair", clear, pair) if _is_real(condition, pair) else None


def _is_real(condition: ir.Set, pair: Witness) -> bool:
    if not ir.leaves(condition):
        return holds(condition, {"n": pair.n, "q": pair.q, "k": pair.k})
    from sparsec.analysis.calls import keeps  # numpy, which takes long to import

    return keeps(condition, pair)


def _none_in_any_case(condition: ir.Set) -> bool:
    """Whether there is no pair whatever the tables list."""
    leaves = ir.leaves(condition)
    if len(leaves) > _MOST_TABLES:
        return False
    cases = product(*((ir.FALSE, extent(leaf)) for leaf in leaves))
    return all(_asked(replaced(condition, dict(zip(leaves, case, strict=True))), beyond=True) == NONE for case in cases)


def _searched(condition: ir.Set) -> Found:
    """What single calls show."""
    from sparsec.analysis.calls import EVERY, searched

    pair = searched(condition) or (_sure if ir.leaves(condition) else _sampled)(condition)
    clear = 0 if inputs_read(condition) else EVERY  # other data may keep pairs at any n
    if pair is None:
        return Found("unknown", clear)
    return Found("pair", min(clear, pair.n - 1) if pair.q < pair.n else clear, pair)


def _sure(condition: ir.Set) -> Witness | None:
    """A pair that is kept whatever the tables list."""
    for beyond in (False, True):
        found = _asked(condition, beyond=beyond, bound="under")
        if found is not None and found.pair is not None:
            return found.pair
    return None


def _sampled(condition: ir.Set) -> Witness | None:
    point = seen(condition)
    return Witness(**point) if point else None
