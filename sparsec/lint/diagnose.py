"""Everything there is to say about a text: what `sparsec check` prints and an editor underlines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Unpack

from sparsec.diagnostics import Diagnostic, MissingParameter, NeedsHeads, NeedsLayer, SparsecError
from sparsec.lint.inputs import unread
from sparsec.lint.remarks import lint
from sparsec.lint.subject import Lower, Subject
from sparsec.lower.file import Keywords, Lowered, check_names, lower_fully
from sparsec.lower.layers import MOST_LAYERS, alike
from sparsec.lower.scope import Scope, mentions
from sparsec.source import Source
from sparsec.syntax import ast
from sparsec.syntax.parse import parse


class Advice(Protocol):
    """What is asked about each pattern of a file, in turn, until it is exhausted."""

    @property
    def exhausted(self) -> bool:
        """Whether the last pattern was not looked at in full, and no other will be."""

    def __call__(self, subject: Subject) -> Iterable[Diagnostic]:
        """Advice about one pattern."""


# Errors of the call, not of the text: it is right as far as it tells.
_UNBOUND = (NeedsHeads, NeedsLayer, MissingParameter)


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a text.

    A place may lie in another text, one that this one uses.  `unbound` has the patterns that could not be looked at
    in full, each with what it asks of the caller: heads, a layer, a parameter without default.  `unadvised` has those
    for which no time was left to look for advice.
    """

    diagnostics: tuple[Diagnostic, ...] = ()
    unbound: Mapping[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    unadvised: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        return all(each.severity != "error" for each in self.diagnostics)


def diagnose(
    source: Source,
    *,
    pattern: str | None = None,
    heads: int | None = None,
    layer: int | None = None,
    layers: int | None = None,
    parameters: Mapping[str, int] | None = None,
    advice: Advice | None = None,
) -> Diagnosis:
    """The errors and warnings of a text, of its one pattern called `pattern` or of all; keywords as of `sparsec.load`.

    A text of sets and inputs alone is there to be used by others: its names are checked.  `advice` is asked for more
    about each pattern, in turn.  Raises nothing for a wrong text.
    """
    chosen = Keywords(heads=heads, layer=layer, layers=layers, parameters=parameters)
    found: list[Diagnostic] = []
    unbound: dict[str, tuple[Diagnostic, ...]] = {}
    unadvised: list[str] = []
    try:
        file = parse(source)
        scope = check_names(file)
    except SparsecError as error:
        return Diagnosis(error.diagnostics)
    found += unread(scope)
    for name in _patterns(file, pattern):
        try:
            found += _looked_at(scope, {**chosen, "pattern": name}, advice)
            if advice and advice.exhausted:
                unadvised.append(str(name))
        except SparsecError as error:
            if all(isinstance(each, _UNBOUND) for each in error.diagnostics):
                unbound[str(name)] = error.diagnostics
            else:
                found += error.diagnostics
    return Diagnosis(tuple(dict.fromkeys(found)), unbound, tuple(unadvised))


def examine(file: ast.File | Scope, alike: tuple[int, ...] = (), **chosen: Unpack[Keywords]) -> Lowered:
    """As `lower_fully`, with the warnings that ask for proofs: every command says the same of a text.

    `alike`: layers that have the pattern of the chosen one; warnings speak of all of them.  SparsecError with every
    error, that of a pattern which is proved to keep no pair (SP0906) among them.
    """
    lowered = lower_fully(file, **chosen)
    found = lint(Subject(lowered.entry, lowered.pattern, Lower(chosen, alike)))
    if errors := [each for each in found if each.severity == "error"]:
        raise SparsecError(*errors)
    return replace(lowered, warnings=tuple(dict.fromkeys((*lowered.warnings, *found))))


def examine_layers(file: ast.File | Scope, **chosen: Unpack[Keywords]) -> list[tuple[tuple[int, ...], Lowered]]:
    """As `examine`, for each of `layers` where none is chosen, those with the same masks together.

    () stands for all layers, where it does not matter which, and for the one that was chosen.
    """
    count = chosen.get("layers")
    if chosen.get("layer") is not None or not isinstance(count, int) or not 0 < count <= MOST_LAYERS:
        return [((), examine(file, **chosen))]
    each: list[Keywords] = [{**chosen, "layer": layer} for layer in range(count)]
    if "layer" not in mentions(lower_fully(file, **each[0]).entry):
        return [((), examine(file, **each[0]))]
    patterns = [lower_fully(file, **keywords).pattern for keywords in each]
    groups = alike(patterns, lambda pattern: (pattern.conditions, pattern.head_conditions))
    return [(layers, examine(file, layers, **each[layers[0]])) for layers, _ in groups]


def _patterns(file: ast.File, wanted: str | None) -> list[str | None]:
    """The names to lower; None where there is nothing, which is an error to be found there."""
    declared: list[str | None] = [each.name for each in file.definitions if each.kind == "pattern"]
    if wanted is not None:
        return [wanted]
    return declared or ([] if file.definitions or file.inputs else [None])


def _looked_at(scope: Scope, chosen: Keywords, advice: Advice | None) -> Iterator[Diagnostic]:
    """The warnings of one pattern.  SparsecError with its errors."""
    for layers, lowered in examine_layers(scope, **chosen):
        yield from lowered.warnings
        if advice:
            one: Keywords = {**chosen, "layer": layers[0]} if layers else chosen
            yield from advice(Subject(lowered.entry, lowered.pattern, Lower(one, layers)))
