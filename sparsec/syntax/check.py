"""What is refused before and after parsing, so that no text exhausts memory, time or the stack."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from sparsec.diagnostics import Diagnostic, Fix, OddCharacter, SparsecError, TextTooLong, TooDeep
from sparsec.source import Source
from sparsec.syntax import ast

MAX_TEXT = 1_000_000  # characters
MAX_TOKENS = 200_000
MAX_DEPTH = 100  # levels of an expression
MAX_ERRORS = 20  # that one text reports

# Controls other than tab and line ends; marks of direction (UAX #9); line and paragraph separators; lone surrogates.
_ODD = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def check_text(source: Source) -> None:
    """Raise SparsecError when the text is too long or holds characters that hide what it says."""
    if len(source.text) > MAX_TEXT:
        raise SparsecError(TextTooLong(name=source.name, limit=MAX_TEXT))
    found: list[Diagnostic] = []
    for match in _ODD.finditer(source.text):
        code = ord(match[0])
        name = unicodedata.name(match[0], "a control character").lower()
        span = source.span(*match.span())
        fix = Fix("remove the character", span, "", safe=True)
        found.append(OddCharacter(character=f"U+{code:04X}", name=name, span=span, fixes=(fix,)))
        if len(found) == MAX_ERRORS:
            break
    if found:
        raise SparsecError(*found)


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
