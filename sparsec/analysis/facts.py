"""What a condition amounts to, exact for every n, with witnesses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from sparsec.ir import nodes as ir
from sparsec.sets import budgets, witness
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.witness import Witness

_MOST_PARTS = 32


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about one condition in self-attention.

    `unknown` names the facts that were not decided: sets that explode, and tables, whose witnesses are searched for
    at a few lengths only.
    """

    empty: bool  # no call keeps any pair
    later_key: Witness | None  # a pair with k > q
    row_without_key: Witness | None
    unseen_key: Witness | None
    furthest_back: int | None  # the largest q - k; None when it grows with n, or there is no pair
    furthest_ahead: int | None  # the largest k - q
    needless: tuple[int, ...]  # operands of a union that add nothing, each beside all the others that stay
    unknown: frozenset[str]

    @property
    def causal(self) -> bool | None:
        """Whether no query sees a later key; None when that is not known."""
        return None if "later_key" in self.unknown else self.later_key is None


@lru_cache(maxsize=256)
def facts(condition: ir.Set) -> Facts:
    """Facts about a condition.  Those that need too much work are listed as unknown."""
    unknown: set[str] = set()
    pair = _witness("empty", witness.kept_pair, condition, unknown)
    back, ahead = _furthest(condition, unknown)
    return Facts(
        empty=pair is None and "empty" not in unknown,
        later_key=_witness("later_key", witness.later_key, condition, unknown),
        row_without_key=_witness("row_without_key", witness.row_without_key, condition, unknown),
        unseen_key=_witness("unseen_key", witness.unseen_key, condition, unknown),
        furthest_back=back,
        furthest_ahead=ahead,
        needless=_needless(condition, unknown),
        unknown=frozenset(unknown),
    )


def is_causal(condition: ir.Set) -> bool | None:
    """Whether no query sees a later key; None when that is not known."""
    unknown: set[str] = set()
    later = _witness("later_key", witness.later_key, condition, unknown)
    return None if unknown else later is None


def _witness(
    name: str, query: Callable[[ir.Set], Witness | None], condition: ir.Set, unknown: set[str]
) -> Witness | None:
    try:
        with budget(budgets.scaled(budgets.FACT, condition)):
            found = query(condition)
    except OutOfBudget:
        unknown.add(name)
        return None
    if found is not None and ir.leaves(condition):
        from sparsec.analysis.search import searched  # numpy, which takes long to import

        found = searched(name, condition)
        if found is None:
            unknown.add(name)
    return found


def _furthest(condition: ir.Set, unknown: set[str]) -> tuple[int | None, int | None]:
    try:
        with budget(budgets.scaled(budgets.FACT, condition)):
            reach = witness.furthest(condition)
    except ValueError:
        return None, None
    except OutOfBudget:
        reach = (None, None)
        unknown |= {"furthest_back", "furthest_ahead"}
    if ir.leaves(condition):
        unknown |= {"furthest_back", "furthest_ahead"}
    return reach


def _needless(condition: ir.Set, unknown: set[str]) -> tuple[int, ...]:
    if not isinstance(condition, ir.Or) or len(condition.parts) > _MOST_PARTS:
        return ()
    kept = dict(enumerate(condition.parts))
    for index in reversed(range(len(condition.parts))):
        rest = tuple(part for other, part in kept.items() if other != index)
        try:
            with budget(budgets.scaled(budgets.FACT, condition)):
                if rest and witness.pair_between(condition.parts[index], ir.Or(rest)) is None:
                    del kept[index]
        except OutOfBudget:
            unknown.add("needless")
    return tuple(index for index in range(len(condition.parts)) if index not in kept)
