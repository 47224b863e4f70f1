"""What is refused before and after parsing, so that no text exhausts memory, time or the stack."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from sparsec.diagnostics import Diagnostic, Fix, OddCharacter, SparsecError, TextTooLong, TooDeep
from sparsec.source import Source, Span
from sparsec.syntax import ast

MAX_TEXT = 1_000_000  # characters
MAX_TOKENS = 200_000
MAX_DEPTH = 100  # levels of an expression
MAX_ERRORS = 20  # that one text reports

# Controls other than tab and `\n`; marks of direction (UAX #9); line and paragraph separators; lone surrogates; what is
# invisible (soft hyphens, tags).  A carriage return that is left ends a line for some readers and not for others.
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def check_text(source: Source) -> None:
    """Raise SparsecError when the text is too long or holds characters that hide what it says."""
    if len(source.text) > MAX_TEXT:
        raise SparsecError(TextTooLong(name=source.name, limit=MAX_TEXT))
    found: list[Diagnostic] = []
    for match in _ODD.finditer(source.text):
        span = source.span(*match.span())
        found.append(_odd(match[0], span))
        if len(found) == MAX_ERRORS:
            break
    if found:
        raise SparsecError(*found)


def _odd(character: str, span: Span) -> Diagnostic:
    code = f"U+{ord(character):04X}"
    if character == "\r":
        fixes = Fix("end the line here", span, "\n"), Fix("remove the character", span, "")  # two texts that it may be
        name, hint = "a lone carriage return", "end the line with a line feed, or remove the character"
        return OddCharacter(character=code, name=name, hint=hint, span=span, fixes=fixes)
    name = unicodedata.name(character, "a control character").lower()
    fix = Fix("remove the character", span, "", safe=True)
    return OddCharacter(character=code, name=name, span=span, fixes=(fix,))


def too_deep(file: ast.File) -> Iterator[Diagnostic]:
    """One error for each declaration whose expression nests deeper than MAX_DEPTH."""
    for declaration in file.declarations:
        stack: list[tuple[ast.Syntax, int]] = [(declaration, -1)]
        while stack:
            node, depth = stack.pop()
            if depth > MAX_DEPTH:
                yield TooDeep(limit=MAX_DEPTH, span=node.span)
                break
            stack.extend((child, depth + 1) for child in ast.children(node))
