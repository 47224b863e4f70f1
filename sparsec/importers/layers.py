"""Patterns that differ from layer to layer, as `match layer`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby


def by_layer(head: str, bodies: Sequence[str | None]) -> str:
    """A pattern whose layer i has body i, None being a layer without attention; a rhythm of the layers is found."""
    present = {body for body in bodies if body is not None}
    if len(present) == 1:
        return f"{head} =\n    {present.pop()}\n"
    count = len(bodies)
    period = next(p for p in range(1, count + 1) if all(bodies[i] == bodies[i % p] for i in range(count)))
    value = "layer" if 2 * period > count else f"layer % {period}"
    arms: dict[str, list[str]] = {}
    for body, run in groupby(range(period if value != "layer" else count), key=bodies.__getitem__):
        first, *rest = run
        if body is not None:
            arms.setdefault(body, []).append(f"{first}..{rest[-1] + 1}" if rest else str(first))
    heads = {body: " | ".join(each) for body, each in arms.items()}
    width = max(map(len, heads.values()))
    lines = "".join(f"        {each:{width}} -> {body}\n" for body, each in heads.items())
    return f"{head} =\n    match {value} {{\n{lines}    }}\n"
