"""Every token of a text, comments and blanks included, also of a text that is wrong: for editors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sparsec.syntax.grammar import grammar

ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Lexeme:
    """Characters [start, end) and the name of the grammar's terminal that they are, or ERROR."""

    terminal: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def scan(text: str) -> Iterator[Lexeme]:
    """The text cut into lexemes without gaps; those of a right text are its tokens and what lies between them."""
    read = grammar()
    start = 0
    while start < len(text):
        found = read.pattern.match(text, start)
        part = found[0] if found else _unknown(text, start)
        yield Lexeme(read.terminal(found) if found else ERROR, part, start)
        start += len(part)


def _unknown(text: str, start: int) -> str:
    """What no token begins with: one character, or all that a string without an end swallows."""
    if text.startswith('"""', start):
        return text[start:]
    end = text.find("\n", start) if text[start] == '"' else start + 1
    return text[start : end if end >= 0 else len(text)]
