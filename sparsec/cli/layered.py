"""A pattern in all layers of a model, layers in which it is the same taken together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import typer

from sparsec.cli.options import Choice

if TYPE_CHECKING:
    from sparsec.ir.nodes import Pattern
    from sparsec.syntax.ast import File

_MOST = 1024  # layers that are gone through

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Layered:
    """A pattern, the layers that have it, () where it does not matter or one was chosen, and the choice of one."""

    layers: tuple[int, ...]
    chosen: Choice
    pattern: Pattern


def by_layers(name: str, chosen: Choice) -> tuple[File, list[Layered]]:
    """A file, and the chosen pattern for the layer that was chosen, or for each group of layers with the same masks."""
    first = replace(chosen, layer=0) if _is_open(chosen) else chosen
    file, lowered = first.load(name)
    if first is chosen or not depends_on_layer(file, lowered.pattern):
        return file, [Layered((), chosen, lowered.pattern)]
    from sparsec.lower.file import lower

    choices = each_layer(chosen)
    patterns = [lowered.pattern, *(lower(file, **each.keywords) for each in choices[1:])]
    groups = alike(zip(choices, patterns, strict=True), lambda pair: (pair[1].conditions, pair[1].head_conditions))
    return file, [Layered(layers, *pair) for layers, pair in groups]


def each_layer(chosen: Choice) -> list[Choice]:
    """The choice of each of its layers.  BadParameter for more than can be gone through."""
    if chosen.layers > _MOST:
        problem = f"more than {_MOST} layers are not gone through one by one: choose one with --layer"
        raise typer.BadParameter(problem, param_hint="--layers")
    return [replace(chosen, layer=layer) for layer in range(chosen.layers)]


def depends_on_layer(file: File, pattern: Pattern) -> bool:
    """Whether a pattern of the file names `layer`, itself or through others."""
    from sparsec.lower.file import check_names
    from sparsec.lower.scope import mentions

    return "layer" in mentions(check_names(file).own[pattern.name])


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


def _is_open(chosen: Choice) -> bool:
    return chosen.layer is None and isinstance(chosen.layers, int) and chosen.layers > 0
