"""Text -> AST.  All errors of a text are reported at once: after one, reading goes on at the next declaration."""

from __future__ import annotations

from sparsec.diagnostics import Diagnostic, NotQuoted, SparsecError, TextTooLong, TooManyErrors, UnexpectedText
from sparsec.source import Source
from sparsec.syntax import ast
from sparsec.syntax.build import build
from sparsec.syntax.check import MAX_ERRORS, MAX_TOKENS, check_text, too_deep
from sparsec.syntax.errors.borrowed import DECLARATIONS
from sparsec.syntax.errors.explain import unexpected_character, unexpected_token
from sparsec.syntax.errors.recovery import mended
from sparsec.syntax.grammar import grammar
from sparsec.syntax.lalr import Token, Tree, UnexpectedCharacter, UnexpectedToken

_DEEP = 1_000  # states on the stack; ordinary texts need some tens


def parse(source: Source) -> ast.File:
    """The declarations of a text.  SparsecError, with all errors that were found, when it is not in the language."""
    try:
        return _parse(source)
    except SparsecError as error:
        if source.quotable:
            raise
        codes = ", ".join(dict.fromkeys(each.code for each in error.diagnostics))
        raise SparsecError(NotQuoted(name=source.name, codes=codes)) from None  # its words stand in those messages


def _parse(source: Source) -> ast.File:
    check_text(source)
    characters: list[Diagnostic] = []
    tokens = _tokens(source, characters)
    errors = characters.copy()
    tree = _tree(source, tokens, errors)
    errors = _without_echoes(errors, characters)
    if errors:
        cut = [TooManyErrors(count=MAX_ERRORS)] if len(errors) > MAX_ERRORS else []
        raise SparsecError(*sorted(errors[:MAX_ERRORS], key=lambda error: error.place.start), *cut)
    assert tree is not None  # or there were errors
    file = build(source, tree)
    if deep := list(too_deep(file)):
        raise SparsecError(*deep)
    return file


def _tokens(source: Source, errors: list[Diagnostic]) -> list[Token]:
    """The tokens of a text; what can't begin a token is reported and skipped."""
    tokens: list[Token] = []
    text, start = source.text, 0
    while len(errors) <= MAX_ERRORS:
        try:
            for token in grammar().lex(text):
                tokens.append(token)
                if len(tokens) > MAX_TOKENS:
                    raise SparsecError(TextTooLong(name=source.name, limit=MAX_TOKENS, unit="words and symbols"))
            return tokens
        except UnexpectedCharacter as error:
            errors.append(unexpected_character(source, error.offset))
            start = _skip(text, error.offset)
            text = " " * start + text[start:]  # blanks keep the places of what follows
    return tokens


def _without_echoes(errors: list[Diagnostic], characters: list[Diagnostic]) -> list[Diagnostic]:
    """The errors less those that a character skipped earlier on the same line has probably caused."""
    skipped: dict[int, int] = {}  # line -> where its first such character is
    for error in characters:
        skipped[error.place.line] = min(error.place.start, skipped.get(error.place.line, error.place.start))
    return [
        error
        for error in errors
        if error.code != UnexpectedText.code or error.place.start < skipped.get(error.place.line, error.place.end + 1)
    ]


def _skip(text: str, at: int) -> int:
    """Where to read on: after the character, or after the line or text that an open string swallows."""
    if text.startswith('"""', at):
        return len(text)
    end = text.find("\n", at) if text[at] == '"' else at + 1
    return len(text) if end < 0 else end


def _tree(source: Source, tokens: list[Token], errors: list[Diagnostic]) -> Tree | None:
    """The whole text's tree, or None after an error from which no reading on was possible."""
    start, reached = 0, -1  # the declaration to begin with; where the last error was in the text
    while True:
        parser = grammar().parser()
        at = start
        try:
            for at in range(start, len(tokens)):
                parser.feed(tokens[at])
            at = len(tokens)
            return parser.end()
        except UnexpectedToken as error:
            begin = next((i for i in range(at - 1, start, -1) if tokens[i].type in DECLARATIONS), start)
            expected = _accepted(tokens[begin:at]) or error.expected
        place = tokens[at].start_pos if at < len(tokens) else len(source.text)
        whole = None
        if place > reached:  # else an echo of the last error
            errors.append(unexpected_token(source, tokens, at, expected))
            whole = mended(tokens, begin, at, errors[-1])
        reached = place
        following: int | None = begin
        if whole:
            tokens = whole
        else:
            following = next((i for i in range(max(at, start + 1), len(tokens)) if _declares(tokens[i : i + 3])), None)
        if following is None or len(errors) > MAX_ERRORS:
            return None
        start = following


def _accepted(tokens: list[Token]) -> set[str]:
    """Which terminals can follow these of one declaration; none where that takes too long to find out.

    An LALR parser that meets an error knows more terminals than can stand there, or has already reduced to fewer.
    """
    parser = grammar().parser()
    for token in tokens:
        parser.feed(token)
    # Each terminal may ask for as many reductions as the stack is deep.
    return parser.accepts() if len(parser.states) <= _DEEP else set()


def _declares(tokens: list[Token]) -> bool:
    """Do these three tokens begin a declaration?"""
    match [token.type for token in tokens]:
        case (
            ["PATTERN" | "SET" | "SCORE", "NAME", "EQUAL" | "LPAR"] | ["USE", "STRING", *_] | ["INPUT", "NAME", "COLON"]
        ):
            return True
    return False
