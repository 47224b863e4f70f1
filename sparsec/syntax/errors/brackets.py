"""Brackets of the wrong kind, too many or too few, and what stands between the parts that they hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sparsec.diagnostics import Fix
from sparsec.source import Source
from sparsec.syntax.errors.borrowed import ARROW, DECLARATIONS
from sparsec.syntax.lalr import Token

JOINED = "between two sets stands `|` (in either) or `&` (in both)"
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_CLOSING = {")": "RPAR", "]": "RSQB", "}": "RBRACE"}
_BEGIN = {"NAME", "NUMBER", "LPAR", "TILDE", "MATCH"}


def innermost(tokens: Sequence[Token]) -> int | None:
    """Which of the tokens is the innermost bracket that they leave open."""
    stack: list[int] = []
    for i, token in enumerate(tokens):
        if token in _CLOSES:
            stack.append(i)
        elif stack and token == _CLOSES[tokens[stack[-1]]]:
            stack.pop()
        elif token.type in DECLARATIONS:
            stack.clear()
    return stack[-1] if stack else None


def hint(source: Source, tokens: Sequence[Token], at: int, expected: Collection[str]) -> tuple[str, tuple[Fix, ...]]:
    """A cure in words, empty where none is known, and edits for it."""
    opening = innermost(tokens[:at])
    token = tokens[at] if at < len(tokens) else None
    if token is None or token.type in ("EQUAL", *DECLARATIONS):
        return (_still_open(source, tokens[opening]) if opening is not None else ""), ()
    span = source.span(token.start_pos, token.end_pos)
    before = source.span(span.start, span.start)
    if token in _CLOSES.values():
        if opening is None:
            return f"nothing is open that `{token}` could close: it is one too many, or its partner is missing", ()
        return _closing(source, tokens, at, opening, expected)
    if token in ("[", "{") and at and tokens[at - 1].type == "NAME":
        what = "parameters" if "EQUAL" in expected else "arguments"
        return f"{what} stand in `(` and `)`", ()
    if ARROW in expected:
        if token == ",":
            return "several numbers of one arm are joined by `|`: `4 | 5 -> causal`", (Fix("write `|`", span, " |"),)
        if token.type in _BEGIN:
            return "`->` stands before what an arm chooses: `0 -> causal`", (Fix("insert `->`", before, "-> "),)
    if opening is None:
        return "", ()
    if "COMMA" in expected and token.type in ("NAME", "NUMBER") and tokens[at - 1].end_pos < span.start:
        behind = source.span(tokens[at - 1].end_pos, tokens[at - 1].end_pos)
        return "a `,` stands between two of them", (Fix("insert `,`", behind, ","),)
    joins = tokens[opening] == "(" and (token == "," or token.type in _BEGIN)
    return (JOINED if joins and "COMMA" not in expected else _still_open(source, tokens[opening])), ()


def _closing(
    source: Source, tokens: Sequence[Token], at: int, opening: int, expected: Collection[str]
) -> tuple[str, tuple[Fix, ...]]:
    """A bracket that closes one of another kind."""
    token, first = tokens[at], tokens[opening]
    right = _CLOSES[first]
    if token == right:  # something is missing before it
        return "", ()
    if first == "[" and token == ")" and opening and tokens[opening - 1].type == "NAME":
        name = tokens[opening - 1]
        fix = Fix("write `(`", source.span(first.start_pos, first.end_pos), "(")
        return f"arguments stand in `(` and `)`: `{name}(...)`", (fix,)
    line, column = source.position(first.start_pos)
    fix = Fix(f"write `{right}`", source.span(token.start_pos, token.end_pos), right)
    said = f"`{first}` of line {line}, column {column} is closed by `{right}`"
    return said, (fix,) if _CLOSING[right] in expected else ()  # else something is missing before it, too


def _still_open(source: Source, token: Token) -> str:
    line, column = source.position(token.start_pos)
    return f"`{token}` of line {line}, column {column} is still open"
