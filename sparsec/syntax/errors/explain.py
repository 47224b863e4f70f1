"""Why a text is not in the language, in words: what was expected, and what may have been meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from sparsec.diagnostics import (
    Diagnostic,
    Fix,
    NotYet,
    OpenString,
    ReservedName,
    UnexpectedText,
    UnknownCharacter,
    WrongSymbol,
)
from sparsec.source import Source, Span
from sparsec.syntax.errors import borrowed, brackets, repair, slips
from sparsec.syntax.errors.borrowed import ARROW, DECLARATIONS
from sparsec.syntax.lalr import Token
from sparsec.syntax.later import announced, way_around
from sparsec.syntax.rewritten import rewritten

_FRACTION = re.compile(r"\b([A-Za-z_]\w*)\( *(?:\w+ *= *)?\d*$")  # as far as its point

KEYWORDS = ("pattern", "set", "score", "use", "input", "match", "with", "if", "else", "in", "not")

_EXPRESSION = {"NUMBER", "NAME", "LPAR", "MATCH"}
_NAMES = {
    "NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes", "COMPARE": "a comparison",
    "PATTERN": "`pattern`", "SET": "`set`", "SCORE": "`score`",
    "WITH": "`with`", "IF": "`if`", "REAL": "a number with a point",
    "USE": "`use`", "INPUT": "`input`", "MATCH": "`match`", "ELSE": "`else`",
    "IN": "`in`", "NOT": "`not`", "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "LBRACE": "`{`",
    "RBRACE": "`}`", "COMMA": "`,`", "EQUAL": "`=`", "COLON": "`:`", "$END": "the end",
    borrowed.RANGE_SYMBOL: "`..`", ARROW: "`->`",
}  # fmt: skip
_OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH", "PERCENT", "VBAR", "BACKSLASH", "TILDE", "COMPARE", "IN", "NOT"}


def unexpected_character(source: Source, offset: int) -> Diagnostic:
    """A character with which no token begins."""
    character, span = source.text[offset], source.span(offset, offset + 1)
    if character == '"':
        return OpenString(span=span, fixes=repair.open_string(source, offset))
    if character == "." and (fraction := _FRACTION.search(source.text[:offset])):
        name = fraction[1]
        if way := way_around(name):  # a share or a factor of what is not there yet
            rest = re.match(r"[\w. ]*\)?", source.text[offset:])
            assert rest is not None  # the empty text matches
            end = offset + rest.end()
            return NotYet(what=f"`{name}`", hint=way, span=source.span(fraction.start(1), end))
    right, hint = borrowed.character(source.text, offset)
    if right:
        return _wrong_symbol(character, right, span)
    fixes = (Fix("remove it", span, "", safe=True),) if character == ";" else ()
    return UnknownCharacter(character=character, hint=hint, span=span, fixes=fixes)


def unexpected_token(source: Source, tokens: Sequence[Token], at: int, expected: Collection[str]) -> Diagnostic:
    """The token `tokens[at]`, or the end of the text, where only the terminals `expected` could have stood."""
    if unfinished := _not_yet(source, tokens, at, expected) or rewritten(source, tokens, at):
        return unfinished
    if at >= len(tokens):
        end = tokens[-1].end_pos if tokens else len(source.text)
        found, span = "the end of the text", source.span(end, end)
    else:
        token = tokens[at]
        found, span = _quoted(token), source.span(token.start_pos, token.end_pos)
        if token in KEYWORDS and "NAME" in expected and "NUMBER" not in expected:
            return ReservedName(name=str(token), why="a set, a pattern or a parameter", span=span)
        if symbol := borrowed.symbol(tokens, at, expected):
            first, last, right = symbol
            span = source.span(tokens[first].start_pos, tokens[last].end_pos)
            return _wrong_symbol(span.text, right, span)
    if foreign := borrowed.structure(tokens, at, expected):
        word, hint = foreign
        wanted = _list(expected) if word == at else "an arm's head" if ARROW in expected else "an expression"
        span = source.span(tokens[word].start_pos, tokens[word].end_pos)
        return UnexpectedText(found=_quoted(tokens[word]), expected=wanted, hint=hint, span=span)
    hint, fixes = slips.hint(tokens, at, expected), repair.unexpected(source, tokens, at, expected)
    if not hint and not fixes and _declares_input(tokens, at):
        hint = "an input is declared `input doc: int[n]`"
    if not hint and not fixes:
        hint, fixes = brackets.hint(source, tokens, at, expected)
    return UnexpectedText(found=found, expected=_list(expected), hint=hint, span=span, fixes=fixes)


def _not_yet(source: Source, tokens: Sequence[Token], at: int, expected: Collection[str]) -> Diagnostic | None:
    """A word with which dropout would begin."""
    if at < len(tokens) and set(expected) >= DECLARATIONS:
        word = tokens[at]
        if way := announced(str(word), str(tokens[at + 1]) if at + 1 < len(tokens) else ""):
            return NotYet(what=f"`{word}`", hint=way, span=source.span(word.start_pos, word.end_pos))
    return None


def _declares_input(tokens: Sequence[Token], at: int) -> bool:
    """Whether what is wrong stands in the declaration of an input."""
    begun = next((token for token in reversed(tokens[:at]) if token.type in DECLARATIONS), None)
    return begun is not None and begun.type == "INPUT"


def _quoted(token: Token) -> str:
    return f"`{token if len(token) < 30 else token[:30] + '...'}`"


def _wrong_symbol(found: str, right: str, span: Span) -> Diagnostic:
    return WrongSymbol(found=found, right=right, span=span, fixes=(repair.written(span, right),))


def _list(expected: Collection[str]) -> str:
    """The terminals as words, the commonest kinds taken together."""
    rest = set(expected)
    words = []
    if rest >= _EXPRESSION:
        words.append("an expression")
        rest -= _EXPRESSION | {"MINUS", "TILDE", "REAL"}
    if len(rest & _OPERATORS) > 2:
        words.append("an operator")
        rest -= _OPERATORS | {name for name in rest if name.startswith("__ANON") and name not in _NAMES}
    if rest >= DECLARATIONS:
        words.append("a declaration")
        rest -= DECLARATIONS | {"STRING"}
    words += sorted(_NAMES.get(name, "") for name in rest)
    words = [word for word in words if word]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) or "an operator"
