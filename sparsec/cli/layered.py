"""A pattern in all layers of a model, layers in which it is the same taken together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from sparsec.cli.inputs import read
from sparsec.cli.options import Choice
from sparsec.cli.output import report
from sparsec.lower.layers import MOST_LAYERS

if TYPE_CHECKING:
    from sparsec.ir.nodes import Pattern
    from sparsec.syntax.ast import File


@dataclass(frozen=True)
class Layered:
    """A pattern, the layers that have it, () where it does not matter or one was chosen, and the choice of one."""

    layers: tuple[int, ...]
    chosen: Choice
    pattern: Pattern


def by_layers(name: str, chosen: Choice) -> tuple[File, list[Layered]]:
    """A file, and the chosen pattern for the layer that was chosen, or for each group of layers with the same masks.

    Warnings about each of them are printed.
    """
    if not _is_open(chosen):
        file, lowered = chosen.load(name)
        return file, [Layered((), chosen, lowered.pattern)]
    from sparsec.lint.diagnose import examine_layers
    from sparsec.syntax.parse import parse

    assert chosen.layers is not None  # as `_is_open` found
    each_layer(chosen, chosen.layers)
    file = parse(read(name).source)
    groups = examine_layers(file, **chosen.keywords)
    report(dict.fromkeys(warning for _, lowered in groups for warning in lowered.warnings))
    choices = [replace(chosen, layer=layers[0]) if layers else chosen for layers, _ in groups]
    return file, [
        Layered(layers, choice, lowered.pattern) for choice, (layers, lowered) in zip(choices, groups, strict=True)
    ]


def each_layer(chosen: Choice, layers: int) -> list[Choice]:
    """The choice of each of the layers.  BadParameter for more than can be gone through."""
    if layers > MOST_LAYERS:
        problem = f"more than {MOST_LAYERS} layers are not gone through one by one: choose one with --layer"
        raise typer.BadParameter(problem, param_hint="--layers")
    return [replace(chosen, layer=layer) for layer in range(layers)]


def depends_on_layer(file: File, pattern: Pattern) -> bool:
    """Whether a pattern of the file names `layer`, itself or through others."""
    from sparsec.lower.file import check_names
    from sparsec.lower.scope import mentions

    return "layer" in mentions(check_names(file).own[pattern.name])


def _is_open(chosen: Choice) -> bool:
    return chosen.layer is None and isinstance(chosen.layers, int) and chosen.layers > 0
