"""`sparsec check --fix`: the edits of messages, made in the file where they are safe and proved."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sparsec.analysis.relation import overall, relations
from sparsec.diagnostics import Diagnostic, SparsecError
from sparsec.ir.nodes import Pattern
from sparsec.lint.diagnose import Diagnosis, diagnose, examine
from sparsec.lower.file import Keywords
from sparsec.source import Source
from sparsec.syntax import ast
from sparsec.syntax.parse import parse

_MOST = 100  # edits of one file


@dataclass(frozen=True)
class Fixed:
    """A text after the edits, and what each of them did."""

    source: Source
    edits: tuple[str, ...] = ()


def fixed(source: Source, chosen: Keywords) -> Fixed:
    """The text after all safe edits, one after the other.

    An edit of a right text keeps every pair of every pattern, which is proved for what is bound; one of a wrong text
    takes its message away.  What does not end in a text of the language is not made at all.
    """
    found = Fixed(source)
    while len(found.edits) < _MOST and (better := _next(found, chosen)):
        found = better
    try:
        parse(found.source)
    except SparsecError:
        return Fixed(source)
    return found


def _next(found: Fixed, chosen: Keywords) -> Fixed | None:
    """One edit further, or None where there is none to make."""
    before = diagnose(found.source, **chosen)
    for each in before.diagnostics:
        for fix in each.fixes[:1]:
            if not fix.safe or fix.span.source != found.source:
                continue
            after = replace(found.source, text=fix.text)
            if _right(before, each, found.source, after, chosen):
                line = fix.span.line
                return Fixed(after, (*found.edits, f"line {line}: {fix.title} ({each.code})"))
    return None


def _right(before: Diagnosis, cured: Diagnostic, old: Source, new: Source, chosen: Keywords) -> bool:
    after = diagnose(new, **chosen)
    if before.valid:
        return after.valid and _same(old, new, chosen)
    place = (cured.code, cured.place.start)
    return all((each.code, each.span.start) != place for each in after.diagnostics if each.span)


def _same(old: Source, new: Source, chosen: Keywords) -> bool:
    """Whether each pattern is proved to keep the same pairs, for all n and what is bound."""
    files = parse(old), parse(new)
    if files[0] == files[1]:
        return True
    names = [[each.name for each in file.definitions if each.kind == "pattern"] for file in files]
    if names[0] != names[1]:
        return False
    for name in names[0]:
        try:
            a, b = (_pattern(file, {**chosen, "pattern": name}) for file in files)
        except SparsecError:
            return False
        if overall(relations(a, b)).verdict != "equal":
            return False
    return True


def _pattern(file: ast.File, chosen: Keywords) -> Pattern:
    return examine(file, **chosen).pattern
