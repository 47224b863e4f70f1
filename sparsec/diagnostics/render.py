"""A diagnostic as text: a headline, the place, the line with a caret under it, a label and a cure."""

from __future__ import annotations

import re
import unicodedata

from sparsec.diagnostics.core import Diagnostic
from sparsec.source import Span
from sparsec.terminal import BLUE, BOLD, RED, YELLOW, Paint, painter

# What GitHub Actions and Azure Pipelines read as a command to them in a log: the first at the beginning of a line only.
_COMMAND = re.compile(r"^(\s*:)(?=:)|(#)(?=#(?:\[|vso\[))", re.MULTILINE)
_WIDTH = 110  # columns of the source line that are shown


def render(diagnostic: Diagnostic, colour: bool = False) -> str:
    """The message as lines of plain text, or with terminal colours.

    Odd characters of the source are never printed, nor what the host of a log would take for a command to it.
    """
    paint = painter(colour)
    style = RED if diagnostic.severity == "error" else YELLOW
    message = printable(diagnostic.fill(diagnostic.message), keep="\n")
    lines = [paint(f"{diagnostic.severity}[{diagnostic.code}]", style) + paint(f": {message}", BOLD)]
    if diagnostic.span is not None:
        lines += _place(diagnostic.span, diagnostic.fill(diagnostic.label), paint, style)
    if text := diagnostic.fill(diagnostic.help):
        indent = "   " if diagnostic.span is None else " " * (len(str(diagnostic.span.line)) + 1)
        lines.append(f"{indent}{paint('=', BLUE)} help: " + printable(text, keep="\n"))
    return "\n".join(lines)


def _place(span: Span, label: str, paint: Paint, style: str) -> list[str]:
    text = span.source.text
    line, column = span.source.position(span.start)
    gutter = " " * len(str(line))
    at = f"{gutter}{paint('-->', BLUE)} {printable(span.source.name)}:{line}:{column}"
    if not span.source.quotable:
        return [at]
    first = span.start - column + 1
    last = text.find("\n", span.start)
    end = len(text) if last < 0 else last
    shown = max(first, span.start - _WIDTH // 2)  # long lines are cut to a window around the caret
    stop = min(end, shown + _WIDTH)
    before = printable(text[shown : span.start])
    marked = printable(text[span.start : max(span.start, min(span.end, stop))])
    after = printable(text[max(span.start, min(span.end, stop)) : stop])
    carets = "^" * max(1, _width(marked))
    below = " " * _width(before) + paint(f"{carets} {printable(label)}".rstrip(), style)
    return [
        at,
        f"{gutter} {paint('|', BLUE)}",
        f"{paint(f'{line} |', BLUE)} {before}{marked}{after}".rstrip(),
        f"{gutter} {paint('|', BLUE)} {below}",
    ]


def printable(text: str, keep: str = "") -> str:
    """`text` without characters that move a terminal's cursor or reorder the line, and without commands to a host."""
    shown = "".join(c if c in keep or (c.isprintable() and c != "\x7f") else " " if c == "\t" else "�" for c in text)
    return _COMMAND.sub(r"\1\2 ", shown)


def _width(text: str) -> int:
    """Columns that a terminal uses for `text`."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
