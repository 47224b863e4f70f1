"""How far information travels through layers: the receptive field, and the depth from which more layers add nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

import numpy as np

from sparsec.analysis import tables
from sparsec.analysis.count import count
from sparsec.analysis.numbers import Uncounted, points
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import affine_over, affine_under
from sparsec.sets import budgets
from sparsec.sets import reach as sets
from sparsec.sets.context import OutOfBudget, budget

_LONGEST_DENSE = 1024  # the most positions for which reach is computed pair by pair

Layers = Sequence[tuple[ir.Set, ...]]  # the conditions of the heads of each layer, the first layer first
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reach:
    """What the outputs of `depth` layers depend on, among n positions.  None: not known.

    Each position depends on itself, by the residual connection.  Where layers differ, `settled` and `full` are known
    only if the given ones reach everything.
    """

    n: int
    depth: int
    causal: bool  # no output depends on a later position
    pairs: int | None  # (q, k) such that the output at q depends on the input at k
    last: int | None  # positions that the output at n - 1 depends on
    back: int | None  # the largest q - k
    ahead: int | None  # the largest k - q
    settled: tuple[int, int] | None  # bounds of the least depth from which layers add nothing
    full: bool | None  # whether then each output depends on every position, or on every one up to it if causal

    @property
    def all_pairs(self) -> int:
        """The most pairs that could be reached: n * n, or the n (n + 1) / 2 with k <= q."""
        return self.n * (self.n + 1) // 2 if self.causal else self.n**2

    def to_json(self) -> dict:
        """Everything as plain data."""
        return asdict(self) | {"all_pairs": self.all_pairs}


def reach(layers: Layers, n: int) -> Reach:
    """What the last of some layers depends on at the input of the first, at self-attention of n positions.

    Where all layers are alike, `settled` and `full` are those of any number of them.  Exact by sets; where a table
    decides, or sets take too long, by looking at all pairs if n is at most 1024.
    """
    known = _by_sets(layers, n) or Reach(n, len(layers), False, None, None, None, None, None, None)
    told = known.settled is not None and len(set(known.settled)) == 1 and None not in (known.pairs, known.full)
    return known if told or n > _LONGEST_DENSE else _by_pairs(layers, n)


def power(one: _T, depth: int, composed: Callable[[_T, _T], _T]) -> _T:
    """`depth` layers that are alike."""
    if depth == 1:
        return one
    half = power(one, depth // 2, composed)
    twice = composed(half, half)
    return composed(twice, one) if depth % 2 else twice


def settled(one: _T, composed: Callable[[_T, _T], _T], same: Callable[[_T, _T], bool]) -> tuple[int, _T]:
    """The least depth from which more layers like `one` add nothing, and what they reach."""
    powers = [one]
    while not same(twice := composed(powers[-1], powers[-1]), powers[-1]):
        powers.append(twice)
    *shorter, whole = powers
    depth, reached = 0, None
    for exponent in reversed(range(len(shorter))):
        more = shorter[exponent] if reached is None else composed(reached, shorter[exponent])
        if not same(more, whole):
            depth, reached = depth + 2**exponent, more
    return depth + 1, whole


@dataclass(frozen=True)
class _Travelled(Generic[_T]):
    """Relations after all layers, and after as many as one likes where they are alike."""

    through: _T
    depth: int  # from which layers add nothing
    whole: _T


def _travelled(
    ones: Sequence[_T], alike: bool, composed: Callable[[_T, _T], _T], same: Callable[[_T, _T], bool]
) -> _Travelled[_T]:
    """`alike`: any number of layers may follow.  Otherwise what all of them reach is all there is."""
    if alike:
        return _Travelled(power(ones[0], len(ones), composed), *settled(ones[0], composed, same))
    first = [ones[0]]
    for one in ones[1:]:
        first.append(composed(one, first[-1]))
    depth = next(depth for depth, reached in enumerate(first, 1) if same(reached, first[-1]))
    return _Travelled(first[-1], depth, first[-1])


def _alike(layers: Layers) -> bool:
    return len(set(layers)) == 1


def _told(layers: Layers, full: bool | None, value: _T) -> _T | None:
    """Layers that differ tell nothing of those that would follow, unless all is reached."""
    return value if full or _alike(layers) else None


# ---------------------------------------------------------------- by sets


def _by_sets(layers: Layers, n: int) -> Reach | None:
    """What sets tell, with tables bounded from below and from above; None where they take too long."""
    try:
        with budget(budgets.REACH):
            least = most = _of_sets(layers, n, full=False)
            if any(ir.leaves(condition) for heads in layers for condition in heads):
                most = _of_sets(layers, n, full=True)
            causal = not sets.looks_ahead(most.through)
            full = _is_full(least.whole, most.whole, n, causal)
            between = _between(layers, n, least, most) if sets.same(least.whole, most.whole) else None
            numbers = _numbers(least.through, n) if sets.same(least.through, most.through) else (None, None, None, None)
    except (OutOfBudget, Uncounted):
        return None
    pairs, last, back, ahead = numbers
    depths, whole = _told(layers, full, between), _told(layers, full, full)
    return Reach(n, len(layers), causal, pairs, last, back, ahead, depths, whole)


def _is_full(least: sets.Reached, most: sets.Reached, n: int, causal: bool) -> bool | None:
    """Whether all is reached, between two bounds."""
    if sets.lacking(least, n, past_only=causal) is None:
        return True
    return None if sets.lacking(most, n, past_only=causal) is None else False


def _numbers(through: sets.Reached, n: int) -> tuple[int | None, int | None, int | None, int | None]:
    """Pairs, positions of the last query, the largest distances."""
    return points([(1, through)], n), points([(1, sets.row(through, n - 1))], n), *sets.distances(through)


def _of_sets(layers: Layers, n: int, full: bool) -> _Travelled[sets.Reached]:
    plain = _without_tables(layers, full)
    ones = {heads: sets.layer(heads, n=n) for heads in dict.fromkeys(plain)}
    return _travelled([ones[heads] for heads in plain], _alike(layers), sets.composed, sets.same)


def _without_tables(layers: Layers, full: bool) -> Layers:
    bound = affine_over if full else affine_under
    known = {heads: tuple(map(bound, heads)) for heads in dict.fromkeys(layers)}
    return [known[heads] for heads in layers]


def _between(
    layers: Layers, n: int, least: _Travelled[sets.Reached], most: _Travelled[sets.Reached]
) -> tuple[int, int]:
    """The depths between which the true one lies; tables can only bring pairs nearer."""
    if most.depth == 1 < least.depth and _alike(layers):
        itself = ir.Compare(ir.Var("k"), "==", ir.Var("q"))
        if count(ir.Or((*layers[0], itself)), n) != points([(1, least.whole)], n):
            return min(2, least.depth), least.depth
    return most.depth, least.depth


# ---------------------------------------------------------------- by pairs


def _by_pairs(layers: Layers, n: int) -> Reach:
    ones = {heads: _dense(heads, n) for heads in dict.fromkeys(layers)}
    found = _travelled([ones[heads] for heads in layers], _alike(layers), _product, np.array_equal)
    back, ahead = (int((np.subtract.outer(*[np.arange(n)] * 2) * sign * found.through).max()) for sign in (1, -1))
    causal = not np.triu(found.through, 1).any()
    size = n * (n + 1) // 2 if causal else n * n
    full = int(found.whole.sum()) == size
    return Reach(
        n, len(layers), causal, int(found.through.sum()), int(found.through[-1].sum()), back, ahead,
        _told(layers, full, (found.depth, found.depth)), _told(layers, full, full),
    )  # fmt: skip


def _dense(heads: tuple[ir.Set, ...], n: int) -> np.ndarray:
    """Bool [n, n]: the output at q of a layer depends on k."""
    at = np.arange(n)
    reached = np.eye(n, dtype=bool)
    for condition in heads:
        reached |= tables.holds(condition, at[:, None], at, n, tables.tables(condition, n, range(n)))
    return reached


def _product(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    return later.astype(np.float32) @ earlier.astype(np.float32) > 0
