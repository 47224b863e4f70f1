"""Positions that are marked along an axis: round numbers, in powers of two where a length is made of them."""

from __future__ import annotations

_MOST = 8  # steps


def ticks(span: tuple[int, int], most: int = _MOST) -> list[int]:
    """Some positions of a span, its first and its last among them; others stand apart from these.

    `most`: steps that there is room for.
    """
    first, last = span[0], span[1] - 1
    step = _step(span[1] - first, max(1, most))
    between = range(-(-first // step) * step, last, step)
    apart = [each for each in between if each - first >= step * 0.6 and last - each >= step * 0.6]
    return list(dict.fromkeys([first, *apart, last]))


def _step(length: int, most: int) -> int:
    """The least round number of which at most `most` fit into a length."""
    if length % 64 == 0 or length & (length - 1) == 0:
        power = 1
        while length > power * most:
            power *= 2
        return power
    scale = 1
    while True:
        for factor in (1, 2, 5):
            if length <= factor * scale * most:
                return factor * scale
        scale *= 10
