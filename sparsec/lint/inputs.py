"""Inputs that a file declares and does not read, and those whose size is that of dense scores."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.diagnostics import Diagnostic, NumberForEachPair, UnusedInput
from sparsec.lower.scope import Entry, Scope, inputs_of
from sparsec.syntax import ast

_N = 32_768  # keys, of which the memory is told


def unread(scope: Scope) -> Iterator[Diagnostic]:
    """A warning for each input of a file that none of its own sets and patterns reads, if it has some."""
    if not scope.own:
        return
    read = {name for entry in scope.own.values() for name in inputs_of(entry)}
    for name, source in scope.inputs.items():
        if name not in read:
            yield UnusedInput(name=name, span=source.name_span)


def numbers_for_each_pair(entry: Entry) -> Iterator[Diagnostic]:
    """A warning for each input that a pattern reads and that has a number for each query and key."""
    for name, source in inputs_of(entry).items():
        axes = tuple(axis.name for axis in source.axes if isinstance(axis, ast.Name))
        if axes[-2:] == ("n", "n"):
            each = {("B",): " for each row", ("H",): " for each head", ("B", "H"): " for each row and head"}
            of = each.get(axes[:-2], "")
            yield NumberForEachPair(name=name, n=_N, size=f"{4 * _N**2 / 1e9:.1f} GB{of}", span=source.name_span)
