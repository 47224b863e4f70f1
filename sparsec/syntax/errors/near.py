"""Names that a misspelt one may have been meant to be; a name that is merely alike is none of them."""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 3  # names that are offered
_LEAST_PREFIX = 4  # letters that are enough to begin a name with


def near(name: str, known: Iterable[str]) -> list[str]:
    """Those of `known` that `name` misspells or begins, the likeliest first.

    A short name has one slip, a long one two or three: a letter too many, too few, wrong or swapped with its
    neighbour.  A name of five letters has two where both of its ends are right.  `noncausal` ends with `causal` and is
    no slip of it.
    """
    slips = 0 if len(name) < 3 else 1 if len(name) < 6 else 2 if len(name) < 10 else 3
    found: dict[str, tuple[bool, int]] = {}
    for other in known:
        word, real = name.lower(), other.lower()
        if word != real and word.endswith(real):
            continue
        begins = len(word) >= _LEAST_PREFIX and real.startswith(word)
        extends = len(real) >= _LEAST_PREFIX and word.startswith(real)
        ends = len(word) == 5 and (word[0], word[-1]) == (real[:1], real[-1:])
        most = slips + ends
        distance = _distance(word, real, most)
        if distance <= most or begins or extends:
            found[other] = (distance > most, distance)
    return sorted(found, key=lambda other: found[other])[:_MOST]


def _distance(one: str, other: str, most: int) -> int:
    """How many letters were put in, left out, changed or swapped; `most` + 1 where it is more than that."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        last, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted)))
            if i > 1 and j > 1 and (letter, one[i - 2]) == (other[j - 2], wanted):
                row[j] = min(row[j], last[j - 2] + 1)
        if min(row) > most:
            return most + 1
    return row[-1]
