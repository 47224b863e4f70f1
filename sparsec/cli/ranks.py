"""The options of `sparsec cost` about several GPUs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparsec.analysis.cost import Cost
    from sparsec.ir.nodes import Pattern
    from sparsec.report.ranks import Ranks

MOST_RANKS = 4096

RankCount = Annotated[
    int | None,
    typer.Option("--ranks", min=2, max=MOST_RANKS, metavar="R", help="Say what travels between R GPUs of a sequence."),
]
Layout = Annotated[
    str,
    typer.Option("--layout", metavar="NAME", help="How --ranks cuts: contiguous, head-tail, balanced or auto."),
]
LinkName = Annotated[
    str, typer.Option("--link", metavar="NAME", help="What connects the GPUs of --ranks: nvlink or ib.")
]


@dataclass(frozen=True)
class Sharding:
    """What was asked for."""

    ranks: int
    layout: str
    link: str


def checked(count: int | None, layout: str, link: str, n: int, queries: range) -> Sharding | None:
    """What was asked for, None without --ranks.  BadParameter for what does not fit."""
    if count is None:
        return None
    from sparsec.report.ranks import LINKS

    check_layout(layout, n, queries)
    _check_known("--link", link, LINKS)
    return Sharding(count, layout, link)


def check_layout(layout: str, n: int, queries: range) -> None:
    """BadParameter for a layout that is not known, and for calls with other queries than keys."""
    from sparsec.analysis.sharding import LAYOUTS

    _check_known("--layout", layout, (*LAYOUTS, "auto"))
    if queries != range(n):
        raise typer.BadParameter("a sequence is cut with all its queries: without --n-q", param_hint="--ranks")


def _check_known(option: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not known; known are {', '.join(known)}", param_hint=option)


def over_ranks(pattern: Pattern, cost: Cost, asked: Sharding | None, gpu: str | None) -> Ranks | None:
    """What travels, where it was asked for."""
    if asked is None:
        return None
    from sparsec.report.ranks import ranks

    return ranks(pattern, cost, asked.ranks, asked.layout, gpu, asked.link)
