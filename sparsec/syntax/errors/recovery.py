"""Reading on in a declaration behind an error: with the correction that the error names, or without the broken part.

Either only where that is safe, so that no second message is an echo of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from sparsec.diagnostics import Diagnostic
from sparsec.syntax.errors.borrowed import DECLARATIONS
from sparsec.syntax.grammar import grammar
from sparsec.syntax.lalr import Token, UnexpectedCharacter

_MOST_TOKENS = 2_000  # of a declaration, which is read again for each error
_PAIRS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
_PART, _ARM = "full", "0 -> full"  # in the place of what is broken


def mended(tokens: Sequence[Token], begin: int, at: int, error: Diagnostic) -> list[Token] | None:
    """All tokens, without the error at `tokens[at]` in the declaration from `tokens[begin]` on; None where unsafe."""
    if at - begin > _MOST_TOKENS:
        return None
    if len(error.fixes) == 1:
        fix = error.fixes[0]
        return _put(tokens, fix.span.start, fix.span.end, fix.replacement)
    if error.fixes:
        return None
    return _without_part(tokens, begin, at)


def _without_part(tokens: Sequence[Token], begin: int, at: int) -> list[Token] | None:
    """With something valid for the arm of a `match`, or else the part of a union, in which the error is."""
    opened = _opened(tokens, begin, at)
    if opened is None:
        return None
    arms = [i for i in opened if tokens[i].type == "LBRACE" and _of_match(tokens, begin, i)]
    start = arms[-1] + 1 if arms else _body(tokens, begin, at)
    if start is None:
        return None
    separator, depth = ("COMMA" if arms else "VBAR"), 0
    for i in range(start, at):
        depth += (tokens[i].type in _PAIRS) - (tokens[i].type in _PAIRS.values())
        if tokens[i].type == separator and depth == 0:
            start = i + 1
    end = _end(tokens, start, at, separator)
    if end is None or start == end:
        return None
    return _put(tokens, tokens[start].start_pos, tokens[end - 1].end_pos, _ARM if arms else _PART)


def _opened(tokens: Sequence[Token], begin: int, at: int) -> list[int] | None:
    """Where the brackets stand that are open at `at`; None where they do not match."""
    opened: list[int] = []
    for i in range(begin, at):
        if tokens[i].type in _PAIRS:
            opened.append(i)
        elif tokens[i].type in _PAIRS.values() and (not opened or _PAIRS[tokens[opened.pop()].type] != tokens[i].type):
            return None
    return opened


def _of_match(tokens: Sequence[Token], begin: int, brace: int) -> bool:
    """Does the brace open the arms of a `match`, and not a list of numbers?"""
    before = takewhile(lambda i: tokens[i].type not in ("IN", "EQUAL", "LBRACE"), range(brace - 1, begin, -1))
    return any(tokens[i].type == "MATCH" for i in before)


def _body(tokens: Sequence[Token], begin: int, at: int) -> int | None:
    """Where the declaration's condition begins; None where the error stands before it."""
    depth = 0
    for i in range(begin, at):
        depth += (tokens[i].type in _PAIRS) - (tokens[i].type in _PAIRS.values())
        if tokens[i].type == "EQUAL" and depth == 0:
            return i + 1
    return None


def _end(tokens: Sequence[Token], start: int, at: int, separator: str) -> int | None:
    """Where the part from `start` on ends, behind `at`; None where its brackets do not match."""
    opened: list[Token] = []
    for i in range(start, len(tokens)):
        token = tokens[i]
        if not opened and i >= at and token.type == separator:
            return i
        if token.type in DECLARATIONS or token.type == "STRING":
            return i if separator == "VBAR" and not opened and i >= at else None
        if token.type in _PAIRS:
            opened.append(token)
        elif token.type in _PAIRS.values():
            if not opened:
                return i if separator == "COMMA" and token.type == "RBRACE" and i >= at else None
            if _PAIRS[opened.pop().type] != token.type:
                return None
    return len(tokens) if separator == "VBAR" and not opened else None


def _put(tokens: Sequence[Token], start: int, end: int, text: str) -> list[Token] | None:
    """The tokens with those of `text` in the place of what stands from `start` to `end`."""
    before = [token for token in tokens if token.end_pos <= start]
    after = [token for token in tokens if token.start_pos >= end]
    inside = [token for token in tokens if token.start_pos < end and token.end_pos > start]
    if any(token.start_pos < start or token.end_pos > end for token in inside):
        return None
    try:
        made = list(grammar().lex(text))
    except UnexpectedCharacter:
        return None
    for token in made:
        token.start_pos, token.end_pos = start, end
    return [*before, *made, *after]
