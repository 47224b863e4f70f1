"""The keys that a decoder's cache must hold: those that the step at hand or any later one sees."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod

from sparsec.analysis.closed_form import ClosedForm, number_of
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import affine_over, exact
from sparsec.sets import budgets, kv_cache
from sparsec.sets.affine import Affine
from sparsec.sets.context import OutOfBudget, allowance, budget, within

_MOST_CASES = 64  # more make no formula that people read
_MOST_LENGTHS = 4096  # at which one range of a formula is evaluated for its largest value


@dataclass(frozen=True, slots=True)
class DecoderCache:
    """Keys of one head that are held at the step with n keys, its own key and steps without end included.

    Nothing drops a key that a later step sees, so this is the least cache that gives exact results.
    """

    form: ClosedForm | None  # the number as a function of n, None where it has no short formula
    bounded: bool | None  # whether one number bounds it for all n; None where that is not known
    most: int | None  # such a number, the least one if `tight`
    tight: bool  # False: tables are taken for all that they could list, or only ages were bounded

    def to_json(self) -> dict:
        """Everything as plain data."""
        form = self.form and self.form.text
        return {"formula": form, "bounded": self.bounded, "most": self.most, "tight": self.tight}


@within(budgets.CACHE)
def decoder_cache(condition: ir.Set) -> DecoderCache:
    """What decoding one token at a time has to keep of a condition; the step with n keys has the query n - 1."""
    affine = affine_over(condition)
    tight = all(map(exact, ir.leaves(condition)))
    with allowance(budgets.CACHE // 2):  # the rest is for a bound
        form = number_of(lambda: kv_cache.held(affine), _MOST_CASES)
    if form is None:
        oldest = _oldest(affine)
        return DecoderCache(None, True if oldest is not None else None, oldest, tight=False)
    bounded, most = _largest(form)
    if not tight and not bounded:
        bounded = None  # what tables list may be less than all
    return DecoderCache(form, bounded, most, tight)


def _oldest(condition: ir.Set) -> int | None:
    try:
        with budget(budgets.scaled(budgets.QUESTION, condition)):
            return kv_cache.oldest(condition)
    except OutOfBudget:
        return None


def _largest(form: ClosedForm) -> tuple[bool | None, int | None]:
    """Whether a number of points of a line is bounded for all n, and its largest value.

    Such a number rises or falls evenly between the turns of its floors, so the largest stands next to a turn or at
    an end of a range.
    """
    largest = 0
    for case in form.cases:
        last = case.last
        try:
            period, turns = _turns(case.count.floors.known.values())
        except OverflowError:
            return None, None
        if last is None:
            lengths = _from(case.first, period, turns)
            if any(case.count(n + period) != case.count(n) for n in lengths):
                return False, None
        else:
            lengths = {case.first, last, *_from(case.first, period, turns), *_from(last + 1 - period, period, turns)}
            lengths = {n for n in lengths if case.first <= n <= last}
        largest = max(largest, *map(case.count, lengths))
    return True, largest


def _turns(floors: Collection[tuple[Affine, int]]) -> tuple[int, frozenset[int]]:
    """(period, residues of it next to which some floor turns).  OverflowError where they are too many."""
    divisors = {divisor for _, divisor in floors}
    period = prod(divisors)
    evenly = all(value.names == ("n",) and value["n"] == 1 for value, _ in floors)
    number = sum(2 * period // divisor for divisor in divisors) if evenly else period
    if number > _MOST_LENGTHS:
        raise OverflowError
    if not evenly:
        return period, frozenset(range(period))
    turns = {turn for value, divisor in floors for turn in range(-value.constant % divisor, period, divisor)}
    return period, frozenset({0, *turns, *((turn - 1) % period for turn in turns)})


def _from(first: int, period: int, residues: frozenset[int]) -> set[int]:
    """The lengths first, first + 1, ..., first + period - 1 with one of the residues."""
    return {first + (residue - first) % period for residue in residues}
