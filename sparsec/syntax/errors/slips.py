"""The commonest slips, and their cures in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sparsec.syntax.errors.borrowed import (
    ARROW,
    COMMENT,
    DECLARATIONS,
    DIVIDE,
    NAMED,
    PYTHON,
    RANGE,
    RANGE_SYMBOL,
    USES,
    around,
)
from sparsec.syntax.errors.brackets import JOINED, innermost
from sparsec.syntax.lalr import Token

_IN = "`in` takes a range `first..end`, without `end` itself, or numbers in braces, `{0, 4}`"
_WHOLE = "numbers are whole and decimal: write `10 ** 4` or `10_000`"
_DECLARED = "a declaration is written `pattern name = ...` or `set name = ...`"
_ARM = "`->` stands before what an arm chooses: `0 -> causal`"


def hint(tokens: Sequence[Token], at: int, expected: Collection[str]) -> str:
    """A cure for the commonest slips."""
    before, token, after = around(tokens, at)
    declares = set(expected) >= DECLARATIONS
    if _exponent(tokens, at):
        return _WHOLE
    if _comments(tokens, at, declares):
        return COMMENT
    if token == "->" and "VBAR" in expected and innermost(tokens[:at]) is None:
        return "`a -> b` of two sets is `~a | b`"
    match before and before.type, token and token.type:
        case "PATTERN" | "SET" | "SCORE" as kind, "EQUAL":
            return f"a name is missing: `{kind.lower()} p = ...`"
        case "NAME", "NUMBER" if "LBRACE" not in expected and ARROW not in expected:
            return f"arguments stand in brackets: `{before}({token})`"
        case "IN", _:
            return _IN
        case _, "COMMA" if _innermost_after_in(tokens, at):
            return _IN
        case _, "LBRACE" if before is None or before.type != "NAME":
            return "braces stand after `in` and around the arms of a `match`; group with `(` and `)`"
        case _, "LSQB" if before is None or before.type != "NAME":
            return "a table `[[...]]` stands as an argument of `blocks`"
        case _, "NAME" if declares and token in USES and after is not None and after.type == "NAME":
            return 'another file is made known by `use "other.spat"`'
        case _, "NAME" if declares and token == "def":
            return PYTHON
        case "STRING", _:
            return "a text documents the declaration that follows it"
        case _, "NAME" if declares and "VBAR" in expected and not _defines(tokens, at):
            return f"{JOINED}; {_DECLARED}"
        case _, "COMMA" if declares and "VBAR" in expected:
            return JOINED
        case _, "NAME" if declares:
            return _DECLARED
        case "NAME", "MINUS" if set(expected) == {"LPAR", "EQUAL"}:
            return NAMED
        case _, "COLON":
            return _colon(tokens, at, expected)
    return ""


def _colon(tokens: Sequence[Token], at: int, expected: Collection[str]) -> str:
    if ARROW in expected:
        return RANGE if range_in_head(tokens, at, expected) else _ARM
    if "EQUAL" in expected and "PLUS" in expected:
        return "an argument is given a name by `=`: `past(w = 4)`"
    if "EQUAL" in expected:
        return "a declaration is written `pattern name(w = 64) = ...`"
    if "LBRACE" in expected:
        return "the arms of a `match` stand in braces: `match h { 0 -> causal, else -> full }`"
    return RANGE if RANGE_SYMBOL in expected else ""


def range_in_head(tokens: Sequence[Token], at: int, expected: Collection[str]) -> bool:
    """Is the colon `tokens[at]` that of a range before an arm's `->`, as in `0:4 -> causal`?"""
    return RANGE_SYMBOL in expected and [each.type for each in tokens[at + 2 : at + 3]] == [ARROW]


def _defines(tokens: Sequence[Token], at: int) -> bool:
    """Does a declaration begin at the name `tokens[at]`, perhaps behind a word of another language?"""
    following = [token.type for token in tokens[at + 1 : at + 3]]
    return "EQUAL" in following or following[:1] in (["NAME"], ["COLON"])


def _exponent(tokens: Sequence[Token], at: int) -> bool:
    """`1e4`, `4k`, `0x10`: a name right behind a number, here or one token before."""
    return any(
        tokens[i - 1].type == "NUMBER" and tokens[i].type == "NAME" and tokens[i - 1].end_pos == tokens[i].start_pos
        for i in (at, at - 1)
        if 0 < i < len(tokens)
    )


def _comments(tokens: Sequence[Token], at: int, declares: bool) -> bool:
    """Does a comment of another language begin here, `//` with nothing to divide, or one word before, `// the last`?"""
    if at >= len(tokens):
        return False
    if tokens[at].type == DIVIDE or (declares and _dashes(tokens, at)):
        return True
    if [each.type for each in tokens[at + 1 : at + 2]] == ["EQUAL"]:  # a declaration without its first word
        return False
    behind = (at >= 2 and tokens[at - 2].type == DIVIDE) or (at >= 3 and _dashes(tokens, at - 3))
    return declares and behind and tokens[at - 1].type in ("NAME", "NUMBER") and tokens[at - 2].line == tokens[at].line


def _dashes(tokens: Sequence[Token], at: int) -> bool:
    two = tokens[at : at + 2]
    return [token.type for token in two] == ["MINUS", "MINUS"] and two[0].end_pos == two[1].start_pos


def _innermost_after_in(tokens: Sequence[Token], at: int) -> bool:
    """Does the bracket that is open here stand behind `in`?"""
    depth = 0
    for i in range(at - 1, 0, -1):
        depth += {"RPAR": 1, "LPAR": -1}.get(tokens[i].type, 0)
        if depth < 0:
            return tokens[i - 1].type == "IN"
    return False
