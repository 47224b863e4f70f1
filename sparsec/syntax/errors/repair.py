"""Edits that cure: of the commonest slips of syntax, and of operands that are to go."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sparsec.diagnostics import Fix
from sparsec.source import Source, Span
from sparsec.syntax.errors.borrowed import ARROW, DECLARATIONS, RANGE_SYMBOL
from sparsec.syntax.errors.near import near
from sparsec.syntax.errors.slips import range_in_head
from sparsec.syntax.lalr import Token

_FOREIGN = ("def", "let", "fn", "func", "function", "mask")  # words that declare elsewhere
_BEGIN = {"NAME", "NUMBER", "LPAR", "TILDE", "MINUS", "MATCH"}  # what an expression can begin with
_SUM = {"NAME", "NUMBER", "PLUS", "MINUS", "STAR", "PERCENT"}


def unexpected(source: Source, tokens: Sequence[Token], at: int, expected: Collection[str]) -> tuple[Fix, ...]:
    """Edits for the token `tokens[at]`, where only the terminals `expected` could have stood; mostly none."""
    if at >= len(tokens):
        return ()
    token = tokens[at]
    span = source.span(token.start_pos, token.end_pos)
    if token.type == "NAME" and set(expected) >= DECLARATIONS:
        return _declared(span, tokens[at:])
    if token.type == "EQUAL" and at and tokens[at - 1].type in ("PATTERN", "SET"):
        return (Fix("insert a name", source.span(span.start, span.start), "p "),)
    if token.type == "COLON":
        return _colon(source, tokens, at, expected)
    if set(expected) <= {"EQUAL", "LPAR"} and token.type in _BEGIN - {"MINUS", "LPAR"}:
        return (Fix("insert `=`", source.span(span.start, span.start), "= "),)
    return ()


def _declared(span: Span, tokens: Sequence[Token]) -> tuple[Fix, ...]:
    """A name where a declaration should begin: its first word is missing, misspelt, or another language's."""
    word = str(tokens[0])
    if word == "def" and not _defines(tokens[1:]):
        return ()  # a Python function
    if len(tokens) > 1 and tokens[1].type == "NAME":
        names = near(word, ("pattern", "set")) or (["pattern"] if word in _FOREIGN else [])
        return tuple(Fix(f"change to `{keyword}`", span, keyword) for keyword in names)
    if _defines(tokens):
        return (Fix("insert `pattern`", span.source.span(span.start, span.start), "pattern "),)
    return ()


def _defines(tokens: Sequence[Token]) -> bool:
    """Are they `name =` or `name(...) =`?"""
    depth = 0
    for token in tokens[1:]:
        depth += {"LPAR": 1, "RPAR": -1}.get(token.type, 0)
        if depth == 0 and token.type != "RPAR":
            return token.type == "EQUAL"
        if depth < 0 or token.type in DECLARATIONS:
            return False
    return False


def _colon(source: Source, tokens: Sequence[Token], at: int, expected: Collection[str]) -> tuple[Fix, ...]:
    """`p: a`, `p(w: int = 4)`, `p(w: 4)`, an arm `0: a`, a range `0:4`."""
    token = tokens[at]
    span = source.span(token.start_pos, token.end_pos)
    blank = " " if source.text[span.end : span.end + 1].strip() else ""
    following = [each.type for each in tokens[at + 1 : at + 3]]
    if "EQUAL" in expected:
        if following[:1] == ["NAME"] and following[1:] in (["EQUAL"], ["COMMA"], ["RPAR"]) and "RPAR" in expected:
            return (Fix("remove the type", source.span(span.start, tokens[at + 1].end_pos), ""),)
        return (Fix("write `=`", span, f" ={blank}"),)
    if range_in_head(tokens, at, expected):
        return (Fix("write `..`", span, ".."),)
    if ARROW in expected:
        return (Fix("write `->`", span, f" ->{blank}"),)
    if RANGE_SYMBOL in expected and _behind_in(tokens[:at]) and following[:1] and following[0] in _BEGIN:
        return (Fix("write `..`", span, ".."),)
    return ()


def _behind_in(tokens: Sequence[Token]) -> bool:
    """Do the tokens end with `in` and a sum?"""
    for token in reversed(tokens):
        if token.type not in _SUM:
            return token.type == "IN"
    return False


def written(span: Span, right: str) -> Fix:
    """Our symbol in the place of another's, with blanks where words would run together."""
    text = span.source.text
    before = " " if right[0].isalpha() and _in_word(text[span.start - 1 : span.start]) else ""
    after = " " if right[-1].isalpha() and _in_word(text[span.end : span.end + 1]) else ""
    return Fix(f"write `{right}`", span, f"{before}{right}{after}", safe=True)


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def open_string(source: Source, offset: int) -> tuple[Fix, ...]:
    """A `"` at the end of the line; where there are more quotes nobody knows which is wrong."""
    line = source.text[offset:].partition("\n")[0].rstrip()
    if '"' in line[1:]:
        return ()
    end = offset + len(line)
    return (Fix('close it with `"`', source.span(end, end), '"'),)


def removal(operand: Span, definition: Span) -> Span:
    """What goes with an operand of `|`, or with the right side of `\\`: its brackets, its symbol and blanks."""
    from sparsec.syntax.grammar import grammar

    source = operand.source
    tokens = [
        (str(token), definition.start + token.start_pos, definition.start + token.end_pos)
        for token in grammar().lex(definition.text)
    ]
    first = next(i for i, (_, start, _) in enumerate(tokens) if start == operand.start)
    last = next(i for i, (_, _, end) in enumerate(tokens) if end == operand.end)
    while tokens[first - 1][0] == "(" and last + 1 < len(tokens) and tokens[last + 1][0] == ")":
        first, last = first - 1, last + 1
    start, end = tokens[first][1], tokens[last][2]
    if tokens[first - 1][0] in ("|", "\\"):
        start = tokens[first - 1][1]
        before = len(source.text[:start].rstrip())
        behind = source.text[end:].partition("\n")[0]
        if behind.strip() and "\n" in source.text[before:start]:
            # What follows may not fall into a comment of the line before.
            return source.span(start, end + len(behind) - len(behind.lstrip()))
        return source.span(before, end)
    end = tokens[last + 1][2]
    return source.span(start, end + len(source.text[end:]) - len(source.text[end:].lstrip()))
