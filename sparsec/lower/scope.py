"""Which definition a name means: the file's own, a used file's, the prelude's, in this order.

Every definition keeps the scope that it was written in, so that putting its body in the place of its name captures
nothing.  Parameters are looked up before definitions, but only where the name stands without arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from os.path import realpath
from pathlib import Path

from sparsec import resources
from sparsec.diagnostics import CircularUse, DefinedTwice, Diagnostic, Recursion, SparsecError, TooComplex
from sparsec.lower.inputs import names_head, problems
from sparsec.lower.layers import named
from sparsec.source import Source, Span
from sparsec.syntax import ast
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read

INTEGERS = ("q", "k", "n", "h", "H", "layer", "L")  # every condition starts from these
_MAX_USES = 32
_MAX_INPUTS = 64


@dataclass(frozen=True, eq=False)
class Scope:
    """A file's names: its own definitions and inputs, those of the files it uses; `outer` is the prelude's scope."""

    file: ast.File
    own: dict[str, Entry] = field(default_factory=dict)
    used: dict[str, Entry] = field(default_factory=dict)
    inputs: dict[str, ast.Input] = field(default_factory=dict)
    used_inputs: dict[str, ast.Input] = field(default_factory=dict)
    outer: Scope | None = None
    uses: list[Scope] = field(default_factory=list)

    def find(self, name: str) -> Entry | None:
        found = self.own.get(name) or self.used.get(name)
        return found or (self.outer.find(name) if self.outer else None)

    def input(self, name: str) -> ast.Input | None:
        """The input that a name means where it stands bare or before `[`."""
        return self.inputs.get(name) or self.used_inputs.get(name)

    def changed(self, definition: ast.Definition) -> Scope:
        """The names with another definition in the place of the one that is called so."""
        scope = replace(self, own=dict(self.own))
        scope.own[definition.name] = Entry(definition, scope)
        return scope

    def names(self) -> list[str]:
        return [*self.own, *self.used, *(self.outer.names() if self.outer else ())]


@dataclass(frozen=True, eq=False)
class Entry:
    """A definition and the scope that its body is read in."""

    definition: ast.Definition
    scope: Scope

    @property
    def text(self) -> str:
        """The definition as written, behind the inputs, sets and scores that it needs besides the prelude's."""
        needed: list[ast.Definition | ast.Input] = [*inputs_of(self).values()]
        needed += [item.definition for item, _ in _reached(self) if item is not self and item.scope.outer is not None]
        files = [scope.file.source for scope in reversed(all_scopes(self.scope))]  # used files first
        needed.sort(key=lambda each: (files.index(each.span.source), each.span.start))
        return "\n".join(each.span.text for each in (*needed, self.definition))


@cache
def prelude() -> Scope:
    source = Source("grammar/prelude.spat", resources.text("grammar/prelude.spat"))
    return _declare(Scope(parse(source)), [])


def open_scope(file: ast.File, errors: list[Diagnostic]) -> Scope:
    """The scope of a file; reads the files that it uses, and adds what is wrong with them or with it to `errors`."""
    return _open(file, errors, {}, (), (realpath(Path(file.source.name).parent), realpath(".")))


def _open(
    file: ast.File, errors: list[Diagnostic], known: dict[str, Scope], outside: tuple[str, ...], trees: tuple[str, ...]
) -> Scope:
    """`outside` are the files that are being opened; messages may quote files of `trees`."""
    here = Path(file.source.name)
    open_now = (*outside, realpath(here))
    scope = Scope(file, outer=prelude())
    for use in (item for item in file.declarations if isinstance(item, ast.Use)):
        path = here.parent / use.path
        if len(open_now) > _MAX_USES:
            errors.append(TooComplex(what=f"files that use each other more than {_MAX_USES} deep", span=use.span))
            continue
        if (key := realpath(path)) in open_now:
            errors.append(CircularUse(cycle=f"`{here.name}` uses `{use.path}`", span=use.span))
            continue
        try:
            if key not in known:
                known[key] = _open(parse(read(path, use.span, trees)), errors, known, open_now, trees)
        except SparsecError as error:
            errors.extend(each if each.span else each.changed(span=use.span) for each in error.diagnostics)
            continue
        scope.uses.append(known[key])
        for name, entry in known[key].own.items():
            if scope.used.setdefault(name, entry) is not entry or name in scope.used_inputs:
                errors.append(DefinedTwice(name=name, where="in another used file", span=use.span))
        for name, source in known[key].inputs.items():
            if scope.used_inputs.setdefault(name, source) is not source or name in scope.used:
                errors.append(DefinedTwice(name=name, where="in another used file", span=use.span))
    return _declare(scope, errors)


def _declare(scope: Scope, errors: list[Diagnostic]) -> Scope:
    first: dict[str, ast.Definition | ast.Input] = {}
    for item in scope.file.declarations:
        if isinstance(item, ast.Use):
            continue
        if (earlier := first.setdefault(item.name, item)) is not item:
            where = f"in line {earlier.span.line}"
            errors.append(DefinedTwice(name=item.name, where=where, span=item.name_span))
        elif item.name in scope.used or item.name in scope.used_inputs:
            errors.append(DefinedTwice(name=item.name, where="in a used file", span=item.name_span))
        if isinstance(item, ast.Definition):
            scope.own.setdefault(item.name, Entry(item, scope))
        else:
            errors.extend(problems(item, INTEGERS))
            scope.inputs.setdefault(item.name, item)
    if len(scope.inputs) > _MAX_INPUTS:
        span = scope.file.inputs[_MAX_INPUTS].name_span
        errors.append(TooComplex(what=f"a file of more than {_MAX_INPUTS} inputs", span=span))
    return scope


def all_scopes(scope: Scope) -> list[Scope]:
    """The scope and those of all files it uses, directly or not, each once."""
    found, stack = [], [scope]
    while stack:
        if (top := stack.pop()) not in found:
            found.append(top)
            stack.extend(top.uses)
    return found


def references(entry: Entry) -> list[tuple[Entry, Span]]:
    """The definitions that this one names, in the order of writing, and where."""
    found = []
    own = {parameter.name for parameter in entry.definition.parameters}
    for node in entry.definition.named:
        if isinstance(node, ast.Index):
            continue
        bare = isinstance(node, ast.Name)
        other = bare and (node.name in own or node.name in INTEGERS or entry.scope.input(node.name) is not None)
        if not other and (target := entry.scope.find(node.name)):
            found.append((target, node.span))
    return found


def recursions(scope: Scope, first: Iterable[Entry]) -> list[Diagnostic]:
    """One error for each reference that leads back to the definition that holds it, met from `first` on."""
    errors: list[Diagnostic] = []
    done: set[Entry] = set()
    for start in first:
        path = {start: iter(references(start))} if start not in done else {}  # from the first to the one being read
        while path:
            entry, rest = next(reversed(path.items()))
            following = next(rest, None)
            if following is None:
                done.add(entry)
                del path[entry]
                continue
            target, span = following
            if target in path:
                cycle = list(path)[list(path).index(target) :]
                errors.append(_recursion(scope, [item.definition.name for item in [*cycle, target]], span))
            elif target not in done:
                path[target] = iter(references(target))
    return errors


def _recursion(scope: Scope, cycle: list[str], span: Span) -> Diagnostic:
    hidden = scope.outer is not None and scope.outer.find(cycle[0])
    hint = f"this file's `{cycle[0]}` hides the prelude's: choose another name for it" if hidden else ""
    shown = cycle if len(cycle) < 8 else [*cycle[:4], "...", *cycle[-2:]]
    return Recursion(cycle=" -> ".join(f"`{name}`" for name in shown), hint=hint, span=span)


def mentions(entry: Entry) -> dict[str, Span]:
    """The integers of `INTEGERS` that a definition depends on, itself or through others, and where it first does.

    The `h` of `w[h]`, an input's entry for the head, is none: it makes no pattern for each head.  Nor are h and H in
    scores, where they stay variables.
    """
    found = _mentions(entry, scores=False)
    in_scores = _mentions(entry, scores=True)
    return found | {name: span for name, span in in_scores.items() if name in ("layer", "L") and name not in found}


def _mentions(entry: Entry, scores: bool) -> dict[str, Span]:
    """As `mentions`, with what is reached through scores or without."""
    found: dict[str, Span] = {}
    for item, via in _reached(entry, scores):
        own = {parameter.name for parameter in item.definition.parameters}
        reads = ((node, source) for node, source in _reads(item) if isinstance(node, ast.Index))
        heads = {id(node.indices[0]) for node, source in reads if names_head(node, source)}
        for node in item.definition.named:
            if isinstance(node, ast.Name) and node.name in INTEGERS and node.name not in own and id(node) not in heads:
                found.setdefault(node.name, via or node.span)
    return found


def inputs_of(entry: Entry) -> dict[str, ast.Input]:
    """The inputs that a definition reads, itself or through others: those of its file first, in their order.

    SparsecError where two files declare different ones of one name.
    """
    found = {source: None for item, _ in _reached(entry) for _, source in _reads(item)}
    ordered = [source for scope in all_scopes(entry.scope) for source in scope.inputs.values() if source in found]
    named: dict[str, ast.Input] = {}
    for source in ordered:
        if (first := named.setdefault(source.name, source)) is not source:
            raise SparsecError(DefinedTwice(name=source.name, where="in another file", span=first.name_span))
    return named


def _reached(entry: Entry, scores: bool = True) -> Iterator[tuple[Entry, Span | None]]:
    """A definition and those that it needs, each once, and where the first one names what leads there."""
    stack: list[tuple[Entry, Span | None]] = [(entry, None)]
    seen = {entry}
    while stack:
        item, via = stack.pop()
        yield item, via
        for target, span in references(item):
            if target not in seen and (scores or target.definition.kind != "score"):
                seen.add(target)
                stack.append((target, via or span))


def _reads(entry: Entry) -> Iterator[tuple[ast.Name | ast.Index, ast.Input]]:
    """Where the body of a definition names inputs."""
    own = {parameter.name for parameter in entry.definition.parameters}
    for node in entry.definition.named:
        if isinstance(node, ast.Call) or (isinstance(node, ast.Name) and node.name in own):
            continue
        if source := entry.scope.input(node.name):
            yield node, source


def binding(
    entry: Entry,
    parameters: Mapping[str, int],
    counts: Mapping[str, int],
    head: int | None = None,
    alike: Sequence[int] = (),
) -> str:
    """`, for w = 64, head 3 of 8 and layer 0`, as far as the text depends on them; else empty.

    `counts` holds H, L and layer as far as they are given; without `head` the claim is about all heads.  `alike`: the
    layers in which the pattern is that of `layer`.
    """
    needs = mentions(entry)
    words = [f"{name} = {parameters[name]}" for name in used_parameters(entry.definition) if name in parameters]
    if {"h", "H"} & set(needs) and "H" in counts:
        one = head is not None and "h" in needs
        words.append(f"head {head} of {counts['H']}" if one else f"{counts['H']} head{'s' * (counts['H'] > 1)}")
    if "layer" in needs and "layer" in counts:
        words.append(named(alike or [counts["layer"]]) + (f" of {counts['L']}" if "L" in counts else ""))
    elif "L" in needs and "L" in counts:
        words.append(f"{counts['L']} layers")
    return ", for " + " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def used_parameters(definition: ast.Definition) -> list[str]:
    """The parameters that the body names, in the order of their declaration."""
    named = {node.name for node in definition.named if isinstance(node, ast.Name)}
    return [parameter.name for parameter in definition.parameters if parameter.name in named]
