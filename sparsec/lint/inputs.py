"""Inputs that a file declares and does not read."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.diagnostics import Diagnostic, UnusedInput
from sparsec.lower.scope import Scope, inputs_of


def unread(scope: Scope) -> Iterator[Diagnostic]:
    """A warning for each input of a file that none of its own sets and patterns reads, if it has some."""
    if not scope.own:
        return
    read = {name for entry in scope.own.values() for name in inputs_of(entry)}
    for name, source in scope.inputs.items():
        if name not in read:
            yield UnusedInput(name=name, span=source.name_span)
