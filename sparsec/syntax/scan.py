"""Every token of a text, comments and blanks included, also of a text that is wrong: for editors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from lark.lexer import PatternStr

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
    """The text cut into lexemes without gaps; those of a right text are Lark's own tokens and what it ignores."""
    pattern, words = _terminals()
    start = 0
    while start < len(text):
        found = pattern.match(text, start)
        name = (found.lastgroup if found else None) or ERROR
        part = found[0] if found else _unknown(text, start)
        yield Lexeme(words.get(part, name) if name == "NAME" else name, part, start)
        start += len(part)


@cache
def _terminals() -> tuple[re.Pattern[str], dict[str, str]]:
    """One expression with a group for each terminal, tried in Lark's order, and the names that are keywords."""
    found = sorted(grammar().terminals, key=lambda each: (-each.priority, -each.pattern.max_width, each.name))
    words = {
        each.pattern.value: each.name
        for each in found
        if isinstance(each.pattern, PatternStr) and each.pattern.value.isidentifier()
    }
    tried = (each for each in found if each.name not in words.values())
    return re.compile("|".join(f"(?P<{each.name}>{each.pattern.to_regexp()})" for each in tried)), words


def _unknown(text: str, start: int) -> str:
    """What no token begins with: one character, or all that a string without an end swallows."""
    if text.startswith('"""', start):
        return text[start:]
    end = text.find("\n", start) if text[start] == '"' else start + 1
    return text[start : end if end >= 0 else len(text)]
