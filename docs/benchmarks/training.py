"""The table of docs/howto/train.md, from what examples/byte_model/train.py wrote with `--json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from cells import megabytes, rows


def read(folder: Path) -> list[dict]:
    """Runs of equal length, those of one pattern together, sparsec first."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return sorted(runs, key=lambda run: (run["pattern"], run["attention"] != "sparsec"))


def table(runs: list[dict]) -> Iterator[str]:
    """Lines of Markdown: loss after the steps that all runs have in common, and speed."""
    steps = min(run["steps"] for run in runs)
    yield f"Rows of {runs[0]['length']:,} bytes on an {runs[0]['device']}, the same rows in the same order; the loss of"
    yield f"step {steps} is in bits a byte, and the first step holds the compilation.  Made by"
    yield f"`{' '.join(runs[0]['command'])}` and its like:"
    yield ""
    head = ["pattern", "attention", "tokens a second", "loss", "first step s", "memory MB"]
    body = []
    for run in runs:
        cells = [f"`{run['pattern']}`", run["attention"], f"{run['tokens_a_second']:,.0f}"]
        cells += [f"{run['bits_a_byte'][steps - 1]:.3f}", f"{run['first_step_s']:.0f}", megabytes(run["peak_bytes"])]
        body.append(cells)
    yield from rows(head, body)
