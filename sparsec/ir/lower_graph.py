"""Which definitions a definition needs: for recursion, and for whether it depends on heads or layers."""

from __future__ import annotations

from collections.abc import Iterable

from sparsec.diagnostics import Diagnostic, Recursion
from sparsec.ir.lower_scope import INTEGERS, Entry, Scope
from sparsec.source import Span
from sparsec.syntax import ast


def references(entry: Entry) -> list[tuple[Entry, Span]]:
    """The definitions that this one names, in the order of writing, and where."""
    found = []
    own = {parameter.name for parameter in entry.definition.parameters}
    for node in ast.walk(entry.definition.body):
        bare = isinstance(node, ast.Name) and node.name not in own and node.name not in INTEGERS
        if (bare or isinstance(node, ast.Call)) and (target := entry.scope.find(node.name)):
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
            target, span = next(rest, (None, None))
            if target is None:
                done.add(entry)
                del path[entry]
            elif target in path:
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
    """The integers of `INTEGERS` that a definition depends on, itself or through others, and where it first does."""
    found: dict[str, Span] = {}
    stack, seen = [(entry, None)], {entry}
    while stack:
        item, via = stack.pop()
        own = {parameter.name for parameter in item.definition.parameters}
        for node in ast.walk(item.definition.body):
            if isinstance(node, ast.Name) and node.name in INTEGERS and node.name not in own:
                found.setdefault(node.name, via or node.span)
        for target, span in references(item):
            if target not in seen:
                seen.add(target)
                stack.append((target, via or span))
    return found
