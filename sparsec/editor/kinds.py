"""What a reader takes each token for: the classes that every highlighter shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sparsec.lower.scope import INTEGERS
from sparsec.syntax.scan import ERROR, Lexeme

DECLARING = ("PATTERN", "SET", "SCORE", "USE", "INPUT")
IGNORED = ("SPACE", "COMMENT")
_KINDS = {
    **dict.fromkeys((*DECLARING, "MATCH", "WITH", "IF", "ELSE"), "keyword"),
    **dict.fromkeys(("IN", "NOT"), "word operator"),
    **dict.fromkeys(("LPAR", "RPAR", "LSQB", "RSQB", "LBRACE", "RBRACE", "COMMA", "COLON"), "punctuation"),
    "NUMBER": "number",
    "REAL": "number",
    "COMMENT": "comment",
    "SPACE": "blank",
    ERROR: "error",
}  # fmt: skip


def kinds(lexemes: Iterable[Lexeme]) -> Iterator[tuple[Lexeme, str]]:
    """Each lexeme with its kind.

    keyword, word operator, number, documentation (in three quotes), text, comment, operator, punctuation, blank,
    error; of names: declared (behind `pattern`, `set` or `score`), called (before a bracket), position (q, k, n, ...),
    name.
    """
    lexemes = list(lexemes)
    words = [lexeme for lexeme in lexemes if lexeme.terminal not in IGNORED]
    ends = [Lexeme("", "", 0)]
    names = {
        lexeme.start: _of_name(lexeme.text, before.terminal, after.terminal)
        for before, lexeme, after in zip(ends + words, words, words[1:] + ends, strict=False)
        if lexeme.terminal == "NAME"
    }
    return ((lexeme, names.get(lexeme.start) or _kind(lexeme)) for lexeme in lexemes)


def _of_name(text: str, before: str, after: str) -> str:
    if before in ("PATTERN", "SET", "SCORE"):
        return "declared"
    if after == "LPAR":
        return "called"
    return "position" if text in INTEGERS else "name"


def _kind(lexeme: Lexeme) -> str:
    if lexeme.terminal == "STRING":
        return "documentation" if lexeme.text.startswith('"""') else "text"
    return _KINDS.get(lexeme.terminal, "operator")
