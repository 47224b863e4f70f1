"""Arms of a `match`: which numbers each takes, where two take the same, and numbers for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sparsec.diagnostics import Diagnostic, OverlappingArms
from sparsec.source import Span
from sparsec.syntax import ast

_Evaluate = Callable[[ast.Expr], int | None]  # the value of an arm's bound, None when it is not known


@dataclass(frozen=True)
class Interval:
    """Numbers [first, last) and the arm that takes them."""

    first: int
    last: int
    arm: int
    span: Span


def intervals(node: ast.Match, evaluate: _Evaluate) -> Iterator[Interval]:
    """What each head of each arm takes, as far as its bounds are known."""
    for number, arm in enumerate(node.arms):
        for head in arm.heads:
            if isinstance(head, ast.Range):
                first, last = evaluate(head.first), evaluate(head.last)
            else:
                first = evaluate(head)
                last = None if first is None else first + 1
            if first is not None and last is not None:
                yield Interval(first, last, number, head.span)


def overlaps(node: ast.Match, evaluate: _Evaluate) -> list[Diagnostic]:
    """One error for each head of an arm that takes a number which another takes too, and for a second `else`."""
    errors: list[Diagnostic] = []
    reached = None  # the end of the intervals so far, in the order of their beginnings
    for item in sorted(intervals(node, evaluate), key=lambda item: (item.first, item.span.start)):
        if item.first >= item.last:
            continue
        if reached is not None and item.first < reached:
            errors.append(OverlappingArms(value=str(item.first), span=item.span))
        reached = item.last if reached is None else max(reached, item.last)
    others = [arm for arm in node.arms if not arm.heads]
    return errors + [OverlappingArms(value="all the rest", span=arm.span) for arm in others[1:]]


def shown(values: Iterable[int]) -> str:
    """Numbers for people: `3, 7 and 12..16`."""
    runs: list[list[int]] = []
    for value in sorted(set(values)):
        if runs and value == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([value, value + 1])
    words = [str(first) if last - first == 1 else f"{first}..{last}" for first, last in runs]
    words = [*words[:8], "more"] if len(words) > 9 else words
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
