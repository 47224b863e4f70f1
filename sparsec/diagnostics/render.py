"""A diagnostic as text: a headline, the place, the line with a caret under it, a label and a cure."""

from __future__ import annotations

import unicodedata

from sparsec.diagnostics.core import Diagnostic
from sparsec.source import Span

_WIDTH = 110  # columns of the source line that are shown
_RED, _YELLOW, _BLUE, _BOLD, _RESET = "\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"


def render(diagnostic: Diagnostic, colour: bool = False) -> str:
    """The message as lines of plain text, or with terminal colours.  Odd characters of the source are never printed."""
    paint = (lambda text, style: f"{style}{text}{_RESET}") if colour else (lambda text, style: text)
    style = _RED if diagnostic.severity == "error" else _YELLOW
    message = _printable(diagnostic.fill(diagnostic.message), keep="\n")
    lines = [paint(f"{diagnostic.severity}[{diagnostic.code}]", style) + paint(f": {message}", _BOLD)]
    if diagnostic.span is not None:
        lines += _place(diagnostic.span, diagnostic.fill(diagnostic.label), paint, style)
    if text := diagnostic.fill(diagnostic.help):
        indent = "   " if diagnostic.span is None else " " * (len(str(diagnostic.span.line)) + 1)
        lines.append(f"{indent}{paint('=', _BLUE)} help: " + _printable(text, keep="\n"))
    return "\n".join(lines)


def _place(span: Span, label: str, paint, style: str) -> list[str]:
    text = span.source.text
    line, column = span.source.position(span.start)
    first = span.start - column + 1
    last = text.find("\n", span.start)
    end = len(text) if last < 0 else last
    shown = max(first, span.start - _WIDTH // 2)  # long lines are cut to a window around the caret
    stop = min(end, shown + _WIDTH)
    before = _printable(text[shown : span.start])
    marked = _printable(text[span.start : max(span.start, min(span.end, stop))])
    after = _printable(text[max(span.start, min(span.end, stop)) : stop])
    gutter = " " * len(str(line))
    carets = "^" * max(1, _width(marked))
    below = " " * _width(before) + paint(f"{carets} {_printable(label)}".rstrip(), style)
    return [
        f"{gutter}{paint('-->', _BLUE)} {_printable(span.source.name)}:{line}:{column}",
        f"{gutter} {paint('|', _BLUE)}",
        f"{paint(f'{line} |', _BLUE)} {before}{marked}{after}".rstrip(),
        f"{gutter} {paint('|', _BLUE)} {below}",
    ]


def _printable(text: str, keep: str = "") -> str:
    """`text` without characters that move a terminal's cursor or reorder the line."""
    return "".join(c if c in keep or (c.isprintable() and c != "\x7f") else " " if c == "\t" else "�" for c in text)


def _width(text: str) -> int:
    """Columns that a terminal uses for `text`."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
