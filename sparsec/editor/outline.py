"""The declarations of a text and the names in it, told from its tokens alone, so also where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from inspect import cleandoc
from itertools import pairwise

from sparsec.editor.kinds import DECLARING, IGNORED
from sparsec.source import Source
from sparsec.syntax.scan import Lexeme, scan

_OPENING, _CLOSING = ("LPAR", "LSQB", "LBRACE"), ("RPAR", "RSQB", "RBRACE")


@dataclass(frozen=True)
class Declaration:
    """From its keyword to its last token; `name` is the name, or the path's string of a `use`."""

    kind: str
    name: Lexeme | None
    parameters: tuple[Lexeme, ...]
    head: str
    doc: str
    start: int
    end: int

    @property
    def named(self) -> Lexeme:
        """The name of a declaration that has one, as definitions have."""
        assert self.name is not None
        return self.name


@dataclass(frozen=True)
class Occurrence:
    """A name where it stands: definition, parameter, argument (of `callee`, by name), call or bare."""

    lexeme: Lexeme
    role: str
    inside: Declaration
    callee: str = ""


@dataclass(frozen=True)
class Outline:
    declarations: tuple[Declaration, ...]
    occurrences: tuple[Occurrence, ...]

    def at(self, offset: int) -> Occurrence | None:
        """The name that an offset lies in or behind."""
        return next((each for each in self.occurrences if each.lexeme.start <= offset <= each.lexeme.end), None)

    def inside(self, offset: int) -> Declaration | None:
        """The last declaration that begins before an offset."""
        return next((each for each in reversed(self.declarations) if each.start < offset), None)

    def find(self, name: str) -> Declaration | None:
        return next((each for each in self.definitions() if each.named.text == name), None)

    def definitions(self) -> Iterator[Declaration]:
        """Declarations that have a name, inputs among them."""
        return (each for each in self.declarations if each.kind != "use" and each.name)

    def uses(self) -> Iterator[Lexeme]:
        return (each.name for each in self.declarations if each.kind == "use" and each.name)


def quoted(lexeme: Lexeme) -> str:
    """What a string says."""
    marks = 3 if lexeme.text.startswith('"""') else 1
    return lexeme.text[marks:-marks].replace('\\"', '"').replace("\\\\", "\\")


@lru_cache(maxsize=16)
def outline(source: Source) -> Outline:
    """The outline of any text."""
    words = [lexeme for lexeme in scan(source.text) if lexeme.terminal not in IGNORED]
    starts = [i for i, word in enumerate(words) if word.terminal in DECLARING]
    declarations: list[Declaration] = []
    occurrences: list[Occurrence] = []
    for first, last in pairwise([*starts, len(words)]):
        doc = words[first - 1] if first and words[first - 1].terminal == "STRING" else None
        if last < len(words) and words[last - 1].terminal == "STRING" and last - first > 2:
            last -= 1  # the next one's documentation
        declaration, body = _declaration(source, words[first:last], doc if not _path(words, first - 1) else None)
        declarations.append(declaration)
        occurrences += _occurrences(declaration, words[first:last], body)
    return Outline(tuple(declarations), tuple(occurrences))


def _path(words: list[Lexeme], index: int) -> bool:
    return index > 0 and words[index - 1].terminal == "USE"


def _declaration(source: Source, words: list[Lexeme], doc: Lexeme | None) -> tuple[Declaration, int]:
    """The declaration, and the number of the word that its body begins with."""
    kind = words[0].text
    named = len(words) > 1 and words[1].terminal == ("STRING" if kind == "use" else "NAME")
    parameters, body = [], min(len(words), 2 if named else 1)
    if kind in ("pattern", "set", "score") and named and words[2:3] and words[2].terminal == "LPAR":
        depth = 0
        for body, word in enumerate(words[2:], 2):
            depth += (word.terminal in _OPENING) - (word.terminal in _CLOSING)
            if word.terminal == "NAME" and depth == 1 and words[body - 1].terminal in ("LPAR", "COMMA"):
                parameters.append(word)
            if depth == 0:
                break
        body += 1
    if kind == "input":
        body = len(words)
    head = " ".join(source.text[words[0].start : words[min(body, len(words)) - 1].end].split())
    said = cleandoc(quoted(doc)) if doc else ""
    start, end = words[0].start, words[-1].end
    return Declaration(kind, words[1] if named else None, tuple(parameters), head, said, start, end), body


def _occurrences(declaration: Declaration, words: list[Lexeme], body: int) -> Iterator[Occurrence]:
    calls: list[str] = []  # of each open bracket the name that it calls, or nothing
    for index, word in enumerate(words):
        before, after = words[index - 1] if index else None, words[index + 1] if index + 1 < len(words) else None
        if word.terminal in _OPENING:
            called = before and before.terminal == "NAME" and word.terminal == "LPAR" and index >= body
            calls.append(before.text if before and called else "")
        elif word.terminal in _CLOSING and calls:
            calls.pop()
        if word.terminal != "NAME" or (declaration.kind in ("use", "input") and word is not declaration.name):
            continue
        previous, next_is = before.terminal if before else "", after.terminal if after else ""
        if word is declaration.name:
            yield Occurrence(word, "definition", declaration)
        elif word in declaration.parameters:
            yield Occurrence(word, "parameter", declaration)
        elif index >= body and next_is == "EQUAL" and calls and calls[-1] and previous in ("LPAR", "COMMA"):
            yield Occurrence(word, "argument", declaration, calls[-1])
        else:
            yield Occurrence(word, "call" if next_is == "LPAR" else "bare", declaration)
