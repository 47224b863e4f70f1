"""Unions of many parts that hold in different rows: the numbers of each part as a table, and one text for all of them.

q in 0..99 & k in 0..99 | q in 99..250 & k in 99..250 | ...  ->  rows (0, 99, ..), (99, 250, ..), ...: which part a
query is about is found by binary search, and the others are not asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sparsec.ir import nodes as ir
from sparsec.ir.ranges import rows_named

MANY = 8  # parts, at least

_INTEGER = re.compile(r"(?<![\w.])\d+(?![\w.])")
_DIVISOR = re.compile(r"(?:// |% )(?=\d)")


@dataclass(frozen=True)
class RowClasses:
    """Parts of a union that are alike but for their numbers."""

    rows: tuple[tuple[int, ...], ...]  # first row, the one after the last, and the numbers, by rising rows
    text: str  # of all parts; n0, n1, ... stand for the numbers

    @property
    def names(self) -> str:
        """Of the numbers."""
        return ", ".join(f"n{index}" for index in range(len(self.rows[0]) - 2))


def row_classes(parts: Sequence[ir.Set], text_of: Callable[[ir.Set], str]) -> tuple[list[RowClasses], list[ir.Set]]:
    """Tables of parts that hold in disjoint rows and print alike, and the parts that are left."""
    alike: dict[str, list[tuple[tuple[int, int], list[int], ir.Set]]] = {}
    left: list[ir.Set] = []
    for part in parts:
        bounds = rows_named(part)
        if bounds is None:
            left.append(part)
            continue
        text = text_of(part)
        alike.setdefault(_INTEGER.sub("0", text), []).append((bounds, [*map(int, _INTEGER.findall(text))], part))
    found = []
    for some in alike.values():
        some.sort(key=lambda each: each[0])
        disjoint = all(a[0][1] <= b[0][0] for a, b in pairwise(some))
        made = _made(some[0][2], [(*bounds, *numbers) for bounds, numbers, _ in some], text_of) if disjoint else None
        if len(some) >= MANY and made:
            found.append(made)
        else:
            left += [part for *_, part in some]
    return found, left


def _made(part: ir.Set, rows: list[tuple[int, ...]], text_of: Callable[[ir.Set], str]) -> RowClasses | None:
    """Numbers that are equal in all parts stay in the text; None where divisors differ."""
    text = text_of(part)
    columns = list(zip(*(row[2:] for row in rows), strict=True))
    differ = [len({*column}) > 1 for column in columns]
    divisors = {match.end() for match in _DIVISOR.finditer(text)}
    places = [match.start() for match in _INTEGER.finditer(text)]
    if any(more and place in divisors for more, place in zip(differ, places, strict=True)):
        return None
    kept = list(dict.fromkeys(column for column, more in zip(columns, differ, strict=True) if more))
    names: Iterator[str] = iter(
        [f"n{kept.index(column)}" if more else "" for column, more in zip(columns, differ, strict=True)]
    )
    text = _INTEGER.sub(lambda match: next(names) or match[0], text)
    numbers = zip(*kept, strict=True) if kept else iter([()] * len(rows))
    return RowClasses(tuple((*row[:2], *own) for row, own in zip(rows, numbers, strict=True)), text)
