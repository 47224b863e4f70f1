"""Cells and rows of the tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEAD = re.compile(r"pattern\s+\w+\s*(\([^)]*\))?\s*=")
_LONGEST = 120

PASSES = ("forward", "backward")


def rows(head: list[str], body: list[list[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *body):
        yield f"| {' | '.join(cells)} |"


def definition(run: dict) -> str:
    """What stands behind the `=` of the pattern, on one line; of a long one the beginning."""
    text = " ".join(_HEAD.sub("", run["text"]).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def body(run: dict) -> str:
    """The pattern's name and its definition, ready for a cell."""
    text = definition(run).replace("|", "\\|")
    given = "".join(f"; {name}: {told}" for name, told in run.get("given", {}).items())
    return f"{run['pattern']}: `{text}`{documents(run)}{given}"


def documents(run: dict) -> str:
    """How many documents a row holds, where it holds several."""
    return f", {len(run['documents'])} documents" if run.get("documents") else ""


def ms(facts: dict) -> str:
    return pair({kind: facts["ms"][kind]["median"] for kind in PASSES}, "#.3g")


def megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:,.1f}"


def pair(values: dict, form: str, unit: str = "") -> str:
    """Forward / backward."""
    return " / ".join(format(values[kind], form).rstrip(".") for kind in PASSES) + unit if values else ""


def notes(runs: list[dict]) -> Iterator[str]:
    """What was left out, and why."""
    for run in runs:
        where = f"{run['pattern']}, n = {run['n']:,}"
        if "skipped" in run:
            yield f"- {where}: {run['skipped']}"
        if "unchecked" in run:
            yield f"- {where}, not compared with dense attention: {run['unchecked']}"
        for peer, note in run.get("notes", {}).items():
            yield f"- {where}, without {peer}: {' '.join(note.split())[:200]}"
