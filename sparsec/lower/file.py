"""AST -> Pattern: names resolved, sorts checked, parameters, heads and layers bound, sets written out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from operator import index
from pathlib import Path
from typing import SupportsIndex, TypedDict

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic, SparsecError
from sparsec.ir.chosen import Chooser
from sparsec.ir.inputs import chosen, read_by_scores_alone
from sparsec.ir.nodes import FALSE, Pattern, Set
from sparsec.ir.scores import Real
from sparsec.lower.arms import shown
from sparsec.lower.conditions import Evaluation
from sparsec.lower.inputs import declared
from sparsec.lower.scope import Entry, Scope, all_scopes, binding, inputs_of, mentions, open_scope, recursions
from sparsec.lower.scores import Scoring
from sparsec.lower.signatures import MAX_NUMBER
from sparsec.lower.sorts import check
from sparsec.lower.tables import table_path
from sparsec.lower.terms import Term, terms
from sparsec.source import Span
from sparsec.syntax import ast
from sparsec.syntax.check import MAX_ERRORS
from sparsec.syntax.errors.near import near

_MAX_HEADS = 4096
_MAX_STEPS = 400_000  # over all heads


@dataclass(frozen=True)
class Lowered:
    """A pattern, what is legal but odd about it, and the names that it was made with."""

    pattern: Pattern
    warnings: tuple[Diagnostic, ...]
    entry: Entry
    counts: Mapping[str, int]  # H, layer and L, as far as they were given

    def terms(self) -> tuple[tuple[Term, ...], ...]:
        """For each condition of the pattern, the terms that it is the union of."""
        parameters, heads = dict(self.pattern.parameters), self.pattern.head_conditions or (0,)
        found = []
        for number in range(len(self.pattern.conditions)):
            constants = {"h": heads.index(number), **self.counts} if "H" in self.counts else self.counts
            evaluation = Scoring(self.entry.definition.span.source, constants)
            found.append(terms(evaluation, self.entry, parameters))
        return tuple(found)

    @property
    def files(self) -> tuple[Path, ...]:
        """The used files and the tables' files, each once; without the pattern's own file."""
        found: list[Path] = []
        for scope in all_scopes(self.entry.scope):
            if scope is not self.entry.scope:
                found.append(Path(scope.file.source.name))
            for entry in scope.own.values():
                found += [table_path(node) for node in ast.walk(entry.definition.body) if isinstance(node, ast.Text)]
        return tuple(dict.fromkeys(found))


class Keywords(TypedDict, total=False):
    """Which pattern of a file `lower` is asked for, and what it is bound to."""

    pattern: str | None
    heads: int | None
    layer: int | None
    layers: int | None
    parameters: Mapping[str, int] | None


def lower(
    file: ast.File | Scope,
    *,
    pattern: str | None = None,
    heads: int | None = None,
    layer: int | None = None,
    layers: int | None = None,
    parameters: Mapping[str, int] | None = None,
) -> Pattern:
    """The pattern that a file (or its names, once checked) declares, or the one called `pattern`, everything bound.

    `heads`, `layer` and `layers` are needed only by patterns that mention h or H, layer, L.  SparsecError: all errors.
    """
    return lower_fully(file, pattern=pattern, heads=heads, layer=layer, layers=layers, parameters=parameters).pattern


def lower_fully(
    file: ast.File | Scope,
    *,
    pattern: str | None = None,
    heads: int | None = None,
    layer: int | None = None,
    layers: int | None = None,
    parameters: Mapping[str, int] | None = None,
) -> Lowered:
    """As `lower`, with the warnings and the files read."""
    entry = _choose(file if isinstance(file, Scope) else check_names(file), pattern)
    counts = _counts(heads, layer, layers)
    if missing := _missing(needs := mentions(entry), counts):
        raise SparsecError(*missing)
    values = _parameters(entry, parameters or {})
    work = _Work(entry, values, counts)
    if "h" in needs:
        conditions = work.finish([work.condition(h) for h in range(counts["H"])])
    else:
        conditions = work.finish([work.condition(None)]) * (counts["H"] if "H" in needs else 1)
    scores = work.scores * (counts["H"] if "H" in needs and "h" not in needs else 1)
    distinct = tuple(dict.fromkeys(scored := [*zip(conditions, scores, strict=True)]))
    given = [*map(declared, inputs_of(entry).values())]
    of_scores = read_by_scores_alone(given, distinct)
    of_sets = [each for each in given if each not in of_scores and not each.is_chosen_by]
    return Lowered(
        Pattern(
            name=entry.definition.name,
            doc=inspect.cleandoc(entry.definition.doc or ""),
            text=entry.text,
            parameters=tuple(values.items()),
            conditions=tuple(condition for condition, _ in distinct),
            head_conditions=tuple(map(distinct.index, scored)) if {"h", "H"} & set(needs) else (),
            inputs=(*of_sets, *starmap(chosen, work.choices.items())),
            scores=tuple(score for _, score in distinct) if any(score for _, score in distinct) else (),
            score_inputs=of_scores,
            choice_inputs=tuple(each for each in given if each.is_chosen_by),
        ),
        tuple(dict.fromkeys(work.warnings)),
        entry,
        counts,
    )


def check_names(file: ast.File) -> Scope:
    """The scope of a file whose names, arguments and sorts are right.  SparsecError with all that are not."""
    errors: list[Diagnostic] = []
    scope = open_scope(file, errors)
    for each in all_scopes(scope):
        errors += [error for entry in each.own.values() for error in check(entry)]
        errors += recursions(each, each.own.values())
    _refuse(errors)
    return scope


def check_changed(scope: Scope, definition: ast.Definition) -> Scope:
    """The names of a checked file with another definition in the place of one.  SparsecError with what is wrong."""
    changed = scope.changed(definition)
    entry = changed.own[definition.name]
    _refuse(check(entry) + recursions(changed, [entry]))
    return changed


def _refuse(errors: list[Diagnostic]) -> None:
    if len(found := list(dict.fromkeys(errors))) > MAX_ERRORS:
        found[MAX_ERRORS:] = [say.TooManyErrors(count=MAX_ERRORS)]
    if found:
        raise SparsecError(*found)


def _choose(scope: Scope, name: str | None) -> Entry:
    if name in scope.own and scope.own[name].definition.kind == "pattern":
        return scope.own[name]
    patterns = {key: entry for key, entry in scope.own.items() if entry.definition.kind == "pattern"}
    listed = ", ".join(f"`{key}`" for key in patterns)
    if not patterns:
        raise SparsecError(say.NoPattern(name=scope.file.source.name))
    if name is None and len(patterns) > 1:
        hint = "pass `pattern=...`, or on the command line `-p ...`"
        raise SparsecError(say.UnknownPattern(problem=f"this file declares {listed}: which is meant?", hint=hint))
    if name is not None:
        names = near(name, patterns)
        hint = f"did you mean `{names[0]}`?" if names else f"it declares {listed}"
        raise SparsecError(say.UnknownPattern(problem=f"this file declares no pattern `{name}`", hint=hint))
    return next(iter(patterns.values()))


def _counts(heads: int | None, layer: int | None, layers: int | None) -> dict[str, int]:
    """H, layer and L as far as they are given.  SparsecError SP0405 when one is out of range."""
    errors, found = [], {}
    limit = layers if isinstance(layers, int) and layers > 0 else MAX_NUMBER
    for key, what, value, least, most in (
        ("H", "heads", heads, 1, _MAX_HEADS),
        ("L", "layers", layers, 1, MAX_NUMBER),
        ("layer", "layer", layer, 0, limit - 1),
    ):
        if value is None:
            continue
        number = _integer(value)
        if number is None or not least <= number <= most:
            errors.append(say.BadHeads(what=what, range=f"between {least} and {most}", value=repr(value)[:40]))
        else:
            found[key] = number
    if errors:
        raise SparsecError(*errors)
    return found


def _missing(needs: Mapping[str, Span], counts: Mapping[str, int]) -> list[Diagnostic]:
    errors: list[Diagnostic] = []
    heads = [name for name in ("h", "H") if name in needs]
    if heads and "H" not in counts:
        errors.append(say.NeedsHeads(name=heads[0], span=needs[heads[0]]))
    for name, keyword in (("layer", "layer"), ("L", "layers")):
        if name in needs and name not in counts:
            errors.append(say.NeedsLayer(name=name, keyword=keyword, span=needs[name]))
    return errors


def _parameters(entry: Entry, given: Mapping[str, int]) -> dict[str, int]:
    """Every parameter's value, in the order of the declaration: the caller's, else the default."""
    definition = entry.definition
    declared = [parameter.name for parameter in definition.parameters]
    errors: list[Diagnostic] = []
    values: dict[str, int] = {}
    for name in given:
        if name not in declared:
            names = near(str(name), declared)
            takes = ", ".join(f"`{key}`" for key in declared)
            hint = f"did you mean `{names[0]}`?" if names else f"it has {takes}" if takes else "it has none"
            errors.append(say.UnknownParameter(name=str(name), pattern=definition.name, hint=hint))
    evaluation = Evaluation(definition.span.source, {})
    for parameter in definition.parameters:
        value = None
        if parameter.name in given:
            value = _integer(given[parameter.name])
            if value is None:
                shown_value = repr(given[parameter.name])[:40]
                errors.append(say.BadParameterValue(name=parameter.name, value=shown_value))
            elif abs(value) > MAX_NUMBER:
                errors.append(say.TooLarge(span=parameter.span))
        elif parameter.default is None:
            errors.append(say.MissingParameter(name=parameter.name, pattern=definition.name, span=parameter.span))
        else:
            value = evaluation.default(entry, parameter.default, values)
        values[parameter.name] = value if value is not None else 1
    if errors or evaluation.errors:
        raise SparsecError(*errors, *evaluation.errors)
    return values


def _integer(value: object) -> int | None:
    """An int, or what stands for one (numpy's integers do, True and 2.0 do not)."""
    try:
        return index(value) if isinstance(value, SupportsIndex) and not isinstance(value, bool) else None
    except TypeError:
        return None


class _Work:
    """The conditions of all heads, and what was wrong with any of them."""

    def __init__(self, entry: Entry, parameters: Mapping[str, int], counts: Mapping[str, int]) -> None:
        self.entry, self.parameters, self.counts = entry, parameters, counts
        self.errors: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []
        self.missing: dict[Span, list[int]] = {}
        self.scores: list[Real | None] = []  # of the conditions so far
        self.choices: dict[Chooser, int] = {}
        self.steps = 0

    def condition(self, head: int | None) -> Set | None:
        constants = dict(self.counts) if head is None else {**self.counts, "h": head}
        evaluation = Scoring(self.entry.definition.span.source, constants)
        condition = evaluation.condition(self.entry, self.parameters)
        has_pairs = not evaluation.errors and not evaluation.missing and condition != FALSE
        self.scores.append(evaluation.score(self.entry, self.parameters) if has_pairs else None)
        self.steps += evaluation.steps
        if self.steps > _MAX_STEPS:
            raise SparsecError(
                say.TooComplex(
                    what=f"over all heads, more than {_MAX_STEPS:,} parts", span=self.entry.definition.name_span
                )
            )
        self.errors += evaluation.errors
        self.warnings += evaluation.warnings
        self.choices |= evaluation.choices
        for span, value in evaluation.missing:
            self.missing.setdefault(span, []).append(value)
        return condition

    def finish(self, conditions: list[Set | None]) -> list[Set]:
        """The conditions.  SparsecError with what was wrong, the first error where those of heads share a place."""
        errors = {(error.code, error.span): error for error in reversed(self.errors)}
        found: list[Diagnostic] = [
            say.MissingArm(values=shown(values), span=span) for span, values in self.missing.items()
        ]
        found += reversed(errors.values())
        definition = self.entry.definition
        if not found and set(conditions) == {FALSE}:
            where = binding(self.entry, self.parameters, self.counts)
            found = [say.EmptyPattern(name=definition.name, where=where, span=definition.name_span)]
        if found:
            raise SparsecError(*sorted(found, key=lambda error: error.place.start))
        known = [condition for condition in conditions if condition is not None]
        assert len(known) == len(conditions)  # a condition that is missing left an error
        return known
