"""The costs of several patterns side by side: a row each, or a few lines each where the terminal is narrow."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from sparsec.analysis.cost import Cost
from sparsec.report.cost_text import percent

_HEADING = ("pattern", "pairs", "density", "class", "less work")
_TO_THE_LEFT = {"pattern", "class"}
_ENDLESS = 1 << 20  # columns, where no terminal says how many there are

Cells = tuple[str, ...]


def table(costs: Sequence[Cost], names: Sequence[str]) -> str:
    """A row for each pattern, under a heading; `names` tell them apart."""
    cells = [_cells(cost, name) for cost, name in zip(costs, names, strict=True)]
    widths = [max(map(len, column)) for column in zip(_HEADING, *cells, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) > shutil.get_terminal_size((_ENDLESS, 24)).columns:
        return "\n".join(map(_stanza, cells))
    return "\n".join(_line(line, widths) for line in [_HEADING, *cells])


def _cells(cost: Cost, name: str) -> Cells:
    pairs = "unknown" if cost.pairs is None else f"{cost.pairs:,}"
    saving = f"{1 / cost.density:.3g} x" if cost.density else "unknown" if cost.density is None else ""
    return name, pairs, percent(cost.density), cost.complexity or "unknown", saving


def _line(cells: Cells, widths: list[int]) -> str:
    aligned = (
        cell.ljust(width) if name in _TO_THE_LEFT else cell.rjust(width)
        for name, cell, width in zip(_HEADING, cells, widths, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _stanza(cells: Cells) -> str:
    width = max(map(len, _HEADING))
    named = zip(_HEADING[1:], cells[1:], strict=True)
    return "\n".join([cells[0], *(f"  {name:<{width}}  {cell}".rstrip() for name, cell in named)])
