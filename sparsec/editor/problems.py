"""What is wrong with a text, with the edits that mend it."""

from __future__ import annotations

from dataclasses import dataclass

from sparsec.diagnostics import Diagnostic
from sparsec.editor.outline import outline, quoted
from sparsec.lint.diagnose import diagnose
from sparsec.source import Source


@dataclass(frozen=True)
class Edit:
    title: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Problem:
    """A message at [start, end) of the text; `edits` each take it away."""

    code: str
    severity: str
    message: str
    start: int
    end: int
    edits: tuple[Edit, ...] = ()


def problems(source: Source) -> list[Problem]:
    """All that `sparsec check` says; what is wrong in a used file stands at its `use`."""
    return [_problem(source, each) for each in diagnose(source).diagnostics]


def _problem(source: Source, each: Diagnostic) -> Problem:
    message = "\n".join(filter(None, [each.fill(each.message), each.fill(each.help)]))
    if each.span is not None and each.span.source != source:
        path = each.span.source.name
        uses = [word for word in outline(source).uses() if path.endswith(quoted(word))]
        place = (uses[0].start, uses[0].end) if uses else (0, 0)
        return Problem(each.code, each.severity, f"in {path}:{each.span.line}: {message}", *place)
    place = (each.span.start, each.span.end) if each.span is not None else (0, 0)
    edits = [Edit(fix.title, fix.span.start, fix.span.end, fix.replacement) for fix in each.fixes]
    return Problem(each.code, each.severity, message, *place, tuple(edits))
