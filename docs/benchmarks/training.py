"""The tables of docs/howto/train.md, from what examples/byte_model/train.py and mistral.py wrote."""

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


_NAMES = {"sparsec-free-order": "sparsec, free order of sums"}
_PARTS = {"layers": "its layers, by `layer.compile()`", "nothing": "nothing but FlexAttention"}


def mistral(reports: list[dict]) -> Iterator[str]:
    """Lines of Markdown: a model of transformers with sparsec beside the same with FlexAttention."""
    for report in reports:
        runs = report["runs"]
        steps = min(len(run["losses"]) for run in runs)
        yield f"{report['parameters'] / 1e6:,.0f} million parameters, {report['layers']} layers, hidden states of"
        yield f"{report['size']:,}, a window of {report['window']:,}, rows of {report['length']:,} tokens, on an"
        yield f"{report['device']}; losses are those of step {steps}, of one batch each, in nats.  Made by"
        yield f"`{' '.join(report['command'])}`:"
        yield ""
        head = ["torch.compile of", "attention", "tokens a second", "times FlexAttention", "loss", "first step s"]
        body = []
        for run in runs:
            peer = next(each for each in runs if each["compiled"] == run["compiled"] and each["attention"] == "flex")
            faster = run["tokens_a_second"] / peer["tokens_a_second"]
            cells = [_PARTS[run["compiled"]], _NAMES.get(run["attention"], run["attention"])]
            cells += [f"{run['tokens_a_second']:,.0f}", f"{faster:.3f}"]
            cells += [f"{run['losses'][steps - 1]:.4f}", f"{run['first_step_s']:.0f}", megabytes(run["peak_bytes"])]
            body.append(cells)
        yield from rows([*head, "memory MB"], body)
        yield ""
