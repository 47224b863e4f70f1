"""Numbers of a text that make tiles hold few kept pairs, and those that would not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from sparsec.diagnostics import Diagnostic, SplitsTiles
from sparsec.ir import nodes as ir
from sparsec.lint.knobs import knobs
from sparsec.lint.subject import Subject, put

_TILE = 64
_MOST_NUMBERS = 8  # of a text for which others are tried
_LARGEST_NUMBER = 16_384
_GAIN = 1.2  # how many times more of the work has to be useful for another number to be worth a word
_USEFUL = 0.5  # of the work, at least: below, pairs are scattered over tiles, and the number is not why

Work = Callable[[ir.Pattern], tuple[int, int]]  # (kept pairs, pairs of the tiles that are visited), at one length


def splits_tiles(subject: Subject, work: Work) -> Iterator[Diagnostic]:
    """Numbers beside multiples of a tile, where such a multiple visits no more tiles and far more of them is useful."""
    definition, pattern = subject.definition, subject.pattern
    if any(ir.leaves(condition) for condition in pattern.conditions):
        return
    places = [node for node in knobs(subject.entry) if _rounded(node.value)]
    pairs, most = work(pattern) if places else (0, 0)
    for node in places[:_MOST_NUMBERS]:
        shares = {}
        for value in _rounded(node.value):
            other = subject.changed(put(definition, node, replace(node, value=value)))
            if other is not None and other.conditions != pattern.conditions:
                kept, visited = work(other)
                if 0 < visited <= most:
                    shares[value] = kept / visited
        best = max(shares, key=lambda value: (round(shares[value], 2), value), default=None)
        if best is not None and shares[best] >= max(_USEFUL, _GAIN * pairs / most):
            yield SplitsTiles(
                written=node.value,
                better=best,
                useful=round(100 * pairs / most),
                better_useful=round(100 * shares[best]),
                where=subject.where(),
                span=node.span,
            )


def _rounded(value: int) -> tuple[int, ...]:
    """The numbers to try for another: multiples of a tile beside it, or divisors of one."""
    if not 2 < value <= _LARGEST_NUMBER:
        return ()
    low = value // _TILE * _TILE or 1 << (value.bit_length() - 1)
    high = -(-value // _TILE) * _TILE if value >= _TILE // 2 else 1 << value.bit_length()
    return () if value in (low, high) else (low, high)
