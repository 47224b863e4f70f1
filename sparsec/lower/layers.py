"""Layers of a model that are alike, and what they are called together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

MOST_LAYERS = 1024  # that are gone through

_Value = TypeVar("_Value")


def alike(values: Iterable[_Value], key: Callable[[_Value], object]) -> list[tuple[tuple[int, ...], _Value]]:
    """Values with equal keys together: their places, and the first of them."""
    found: dict[object, tuple[list[int], _Value]] = {}
    for place, value in enumerate(values):
        found.setdefault(key(value), ([], value))[0].append(place)
    return [(tuple(places), value) for places, value in found.values()]


def named(layers: Sequence[int]) -> str:
    """Layers in words, runs of three and more by their ends; empty for none."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    words = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"layer{'s' * (len(layers) > 1)} {', '.join(words)}" if layers else ""
