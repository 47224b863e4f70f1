"""Why a text is not in the language, in words: the symbols that people bring from elsewhere, and what was expected."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lark import Token

from sparsec.diagnostics import (
    Diagnostic,
    Fix,
    OpenString,
    ReservedName,
    UnexpectedText,
    UnknownCharacter,
    WrongSymbol,
)
from sparsec.source import Source, Span
from sparsec.syntax import repair

KEYWORDS = ("pattern", "set", "use", "input", "match", "else", "in", "not")

# Words and symbols of other languages -> ours.
_WORDS = {"and": "&", "or": "|", "AND": "&", "OR": "|", "NOT": "~", "mod": "%", "div": "//"}
_PAIRS = {("&", "&"): "&", ("|", "|"): "|", ("=", ">"): "->", ("%", "%"): "%", ("\\", "\\"): "\\"}
_CHARACTERS = {
    "!": "~", "¬": "~", "∧": "&", "∩": "&", "∨": "|", "∪": "|", "∖": "\\", "≤": "<=", "≥": ">=", "≠": "!=", "≡": "==",
    "×": "*", "·": "*", "÷": "//", "/": "//", "−": "-", "–": "-", "→": "->", "∈": "in", "∉": "not in", "…": "..",
    "“": '"', "”": '"', "'": '"', "‘": '"', "’": '"',
}  # fmt: skip
_HINTS = {
    "^": "for pairs in exactly one of two sets write `(a \\ b) | (b \\ a)`; a power is `**`",
    ".": "numbers are integers; a range is `first..last`",
    ";": "declarations need nothing between them",
    "@": "names are made of letters, digits and `_`",
    "$": "names are made of letters, digits and `_`",
}

_EXPRESSION = {"NUMBER", "NAME", "LPAR", "MATCH"}
_NAMES = {
    "NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes", "COMPARE": "a comparison",
    "PATTERN": "`pattern`", "SET": "`set`", "USE": "`use`", "INPUT": "`input`", "MATCH": "`match`", "ELSE": "`else`",
    "IN": "`in`", "NOT": "`not`", "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "LBRACE": "`{`",
    "RBRACE": "`}`", "COMMA": "`,`", "EQUAL": "`=`", "COLON": "`:`", "$END": "the end",
}  # fmt: skip
_DECLARATIONS = {"PATTERN", "SET", "USE", "INPUT"}
_OPERATORS = {"PLUS", "MINUS", "STAR", "PERCENT", "VBAR", "BACKSLASH", "TILDE", "COMPARE", "IN", "NOT"}


def unexpected_character(source: Source, offset: int) -> Diagnostic:
    """A character with which no token begins."""
    character, span = source.text[offset], source.span(offset, offset + 1)
    if character == '"':
        return OpenString(span=span, fixes=repair.open_string(source, offset))
    if right := _CHARACTERS.get(character):
        return _wrong_symbol(character, right, span)
    fixes = (Fix("remove it", span, ""),) if character == ";" else ()
    return UnknownCharacter(character=character, hint=_HINTS.get(character, ""), span=span, fixes=fixes)


def unexpected_token(source: Source, tokens: Sequence[Token], at: int, expected: Collection[str]) -> Diagnostic:
    """The token `tokens[at]`, or the end of the text, where only the terminals `expected` could have stood."""
    before, token, after = (tokens[i] if 0 <= i < len(tokens) else None for i in (at - 1, at, at + 1))
    if token is not None:
        span = source.span(token.start_pos, token.end_pos)
        if token in KEYWORDS and "NAME" in expected and "NUMBER" not in expected:
            return ReservedName(name=str(token), why="a set, a pattern or a parameter", span=span)
        if borrowed := _borrowed(source, before, token, after, "COMPARE" in expected):
            return borrowed
    else:
        end = tokens[-1].end_pos if tokens else len(source.text)
        span = source.span(end, end)
    found = f"`{token if len(token) < 30 else token[:30] + '...'}`" if token is not None else "the end of the text"
    hint = _hint(token, before, expected) or _open_bracket(source, tokens[:at])
    fixes = repair.unexpected(source, tokens, at, expected)
    return UnexpectedText(found=found, expected=_list(expected), hint=hint, span=span, fixes=fixes)


def _wrong_symbol(found: str, right: str, span: Span) -> Diagnostic:
    return WrongSymbol(found=found, right=right, span=span, fixes=(repair.written(span, right),))


def _hint(token: Token | None, before: Token | None, expected: Collection[str]) -> str:
    """A cure for the commonest slips."""
    match before and before.type, token and token.type:
        case "IN", _:
            return "`in` takes a range `first..last` or numbers in braces, `{0, 4}`"
        case _, "LBRACE":
            return "braces stand after `in` and around the arms of a `match`; group with `(` and `)`"
        case _, "LSQB":
            return "a table `[[...]]` stands as an argument of `blocks`"
        case "STRING", _:
            return "a text documents the declaration that follows it"
        case _, "NAME" if token in ("xor", "XOR"):
            return _HINTS["^"]
        case _, "NAME" if set(expected) >= _DECLARATIONS and "VBAR" not in expected:
            return "a declaration is written `pattern name = ...` or `set name = ...`"
        case _, "COLON" if "EQUAL" in expected:
            return "a declaration is written `pattern name(w = 64) = ...`"
        case "NAME", "MINUS" if set(expected) == {"LPAR", "EQUAL"}:
            return "names are made of letters, digits and `_`"
        case _, "COLON":
            return "a range is written `first..last`"
    return ""


def _borrowed(
    source: Source, before: Token | None, token: Token, after: Token | None, comparable: bool
) -> Diagnostic | None:
    """The error for a word or symbol of another language, at the token or beside it."""
    for left, right in ((before, token), (token, after)):
        if left is None or right is None or left.end_pos != right.start_pos:
            continue
        if ours := _PAIRS.get((left[-1:], right[:1])):
            span = source.span(left.start_pos, right.end_pos)
            return _wrong_symbol(f"{left}{right}", ours, span)
    span = source.span(token.start_pos, token.end_pos)
    if token.type == "NOT":
        return _wrong_symbol("not", "~", span)
    if token.type == "EQUAL" and comparable:
        return _wrong_symbol("=", "==", span)
    for word in (token, before):
        if word is not None and word.type == "NAME" and word in _WORDS:
            return _wrong_symbol(str(word), _WORDS[word], source.span(word.start_pos, word.end_pos))
    return None


def _list(expected: Collection[str]) -> str:
    """The terminals as words, the commonest kinds taken together."""
    rest = set(expected)
    words = []
    if rest >= _EXPRESSION:
        words.append("an expression")
        rest -= _EXPRESSION | {"MINUS", "TILDE"}
    if len(rest & _OPERATORS) > 2:
        words.append("an operator")
        rest -= _OPERATORS | {name for name in rest if name.startswith("__ANON")}
    if rest >= _DECLARATIONS:
        words.append("a declaration")
        rest -= _DECLARATIONS | {"STRING"}
    words += sorted(_NAMES.get(name, "") for name in rest)
    words = [word for word in words if word]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) or "an operator"


def _open_bracket(source: Source, tokens: Sequence[Token]) -> str:
    """A hint about the innermost bracket that is still open."""
    closes = {")": "(", "]": "[", "}": "{"}
    stack: list[Token] = []
    for token in tokens:
        if token in ("(", "[", "{"):
            stack.append(token)
        elif token in closes and stack and stack[-1] == closes[token]:
            stack.pop()
        elif token.type in _DECLARATIONS:
            stack.clear()
    if not stack:
        return ""
    line, column = source.position(stack[-1].start_pos)
    return f"`{stack[-1]}` of line {line}, column {column} is still open"
