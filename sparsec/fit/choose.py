"""Of several candidates one for each group, so that the sum of values is largest and that of costs within a budget."""

from __future__ import annotations

import numpy as np

_STEPS = 4096  # of the budget, and 64 for each group: rounding costs up wastes a step a group


def choose(values: np.ndarray, costs: np.ndarray, budget: int) -> list[int] | None:
    """The candidate of each group: values float [groups, candidates], costs int alike.  None where none is within it.

    The multiple-choice knapsack, by dynamic programming over steps of the budget (Dudzinski, Walukiewicz 1987), within
    1/64 of it; what rounding left over goes to the groups that gain most.  Of equal choices the cheaper, or the first.
    """
    groups, candidates = values.shape
    if int(costs.min(1).sum()) > budget:
        return None
    order = np.lexsort(
        (np.broadcast_to(np.arange(candidates), costs.shape), costs)
    )  # cheap ones first: ties are theirs
    steps = max(_STEPS, 64 * groups)
    unit = max(1, budget // steps)
    sizes = [[-(-int(cost) // unit) for cost in row] for row in costs]
    length = budget // unit + 1
    if sum(min(row) for row in sizes) >= length:  # within it, but not by whole steps
        return [int(row[0]) for row in order]
    best, picks = np.zeros(length), np.zeros((groups, length), np.int16)
    for group in range(groups):
        found = np.full(length, -np.inf)
        for each in order[group]:
            size = sizes[group][each]
            if size < length:
                value = np.full(length, -np.inf)
                value[size:] = best[: length - size] + values[group, each]
                better = value > found
                found[better], picks[group][better] = value[better], each
        best = found
    place = int(np.argmax(best))  # the first: the cheapest of the best
    chosen = [0] * groups
    for group in reversed(range(groups)):
        chosen[group] = int(picks[group, place])
        place -= sizes[group][chosen[group]]
    return _filled(values, costs, budget, chosen)


def _filled(values: np.ndarray, costs: np.ndarray, budget: int, chosen: list[int]) -> list[int]:
    """With what is left of the budget spent, the largest gain first."""
    left = budget - sum(int(costs[group, each]) for group, each in enumerate(chosen))
    while True:
        own = np.arange(len(chosen)), np.array(chosen)
        gains = values - values[own][:, None]
        gains[costs - costs[own][:, None] > left] = 0
        group, each = np.unravel_index(np.argmax(gains), gains.shape)
        if gains[group, each] <= 0:
            return chosen
        left -= int(costs[group, each] - costs[group, chosen[group]])
        chosen[group] = int(each)
