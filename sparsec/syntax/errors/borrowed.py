"""Words and symbols of other languages, and what is written here in their place."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from sparsec.syntax.lalr import Token

RANGE_SYMBOL, ARROW, DIVIDE = "__ANON_0", "__ANON_3", "__ANON_1"  # how Lark names `..`, `->` and `//`
DECLARATIONS = {"PATTERN", "SET", "SCORE", "USE", "INPUT"}

RANGE = "a range is written `first..end`, without `end` itself"
CHOICE = "a choice by head or layer is `match h { ... }`, by position `(a & b) | (c \\ a)`"
NAMED = "names are made of letters, digits and `_`"
_XOR = "for pairs in exactly one of two sets write `(a \\ b) | (b \\ a)`; a power is `**`"
COMMENT = "a comment begins with `#`"
PYTHON = "a pattern is its condition alone, `pattern p = k <= q`; a Python function is read by `sparsec.from_mask_mod`"
_NO_PARTS = "there are no modules or methods"
_FUNCTIONS = "the functions are `abs`, `min` and `max`"

# Words and symbols of other languages -> ours.
_WORDS = {"and": "&", "or": "|", "AND": "&", "OR": "|", "NOT": "~", "mod": "%", "div": "//"}
_PAIRS = {("&", "&"): "&", ("|", "|"): "|", ("%", "%"): "%", ("\\", "\\"): "\\"}
_CHOOSE = ("case", "switch", "when", "select", "if")  # before `h {`
_TURNED = {("=", ">"): ">=", ("=", "<"): "<="}  # in a condition
_DEFINES = {("==", ">"), ("<=", "="), (":", "="), ("-", "="), ("<", "-")}  # between a name and what it means
_COMPARES = {("==", "="): "==", ("<", ">"): "!=", ("!=", "="): "!="}
USES = ("import", "include", "from", "require")
CHARACTERS = {
    "!": "~", "¬": "~", "∧": "&", "∩": "&", "∨": "|", "∪": "|", "∖": "\\", "≤": "<=", "≥": ">=", "≠": "!=", "≡": "==",
    "×": "*", "·": "*", "÷": "//", "/": "//", "−": "-", "–": "-", "→": "->", "∈": "in", "∉": "not in", "…": "..",
    "“": '"', "”": '"', "'": '"', "‘": '"', "’": '"',
}  # fmt: skip
_HINTS = {
    "^": _XOR,
    ".": f"numbers are whole; {RANGE}",
    ";": "declarations need nothing between them",
    "@": NAMED,
    "$": NAMED,
    "?": CHOICE,
}
# Words after which no text of ours goes on; they have no symbol of ours in their place.
_STRUCTURE = {
    "lambda": PYTHON, "return": PYTHON, "if": CHOICE, "elif": CHOICE, "then": CHOICE,
    "for": "a condition holds for every `q` and `k`; there are no loops", "xor": _XOR, "XOR": _XOR,
    "case": "`case` is left out: an arm is written `0 -> causal`",
}  # fmt: skip
_METHODS = {"abs": "abs(q - k)", "min": "min(q, k)", "minimum": "min(q, k)", "max": "max(q, k)", "maximum": "max(q, k)"}


def character(text: str, offset: int) -> tuple[str, str]:
    """Our symbol in the place of the character, or else a hint; either may be empty."""
    here = text[offset]
    if "/*" in text[offset : offset + 2] or "*/" in text[max(offset - 1, 0) : offset + 1]:
        return "", f"{COMMENT} and ends with its line"
    part = re.compile(r"\.([A-Za-z_]\w*)( *\()?").match(text, offset)
    if part and re.search(r"[\w)\]]$", text[max(offset - 1, 0) : offset]):
        if part[1] in _METHODS and part[2]:
            return "", f"{_NO_PARTS}: write `{_METHODS[part[1]]}`"
        return "", f"{_NO_PARTS}; {_FUNCTIONS}"
    line = text[text.rfind("\n", 0, offset) + 1 : offset].partition("#")[0]
    if here == ";" and line.count("(") > line.count(")"):
        return ",", ""
    return CHARACTERS.get(here, ""), _HINTS.get(here, "")


def symbol(tokens: Sequence[Token], at: int, expected: Collection[str]) -> tuple[int, int, str] | None:
    """The first and last token, and what is written here, where a word or symbol is another language's."""
    before, token, after = around(tokens, at)
    for first, left, right in ((at - 1, before, token), (at, token, after)):
        if left is None or right is None or left.end_pos != right.start_pos:
            continue
        pair = (str(left), str(right))
        ours = _PAIRS.get((left[-1:], right[:1]))
        if pair == ("=", ">") and ARROW in expected:
            ours = "->"
        elif pair in _TURNED and "COMPARE" in expected:
            ours = _TURNED[pair]
        elif pair in _DEFINES and "EQUAL" in expected:
            ours = "="
        elif pair in _COMPARES and right is token:
            ours = _COMPARES[pair]
        elif pair == ("=", ">") and right is token:  # its `=` was right
            ours = "="
        if ours:
            return first, first + 1, ours
    if token is None:
        return None
    if token.type == "NOT":
        return at, at, "~"
    if token.type == "EQUAL" and (ARROW in expected or "COMPARE" in expected):
        return at, at, "->" if ARROW in expected else "in" if _to_range(tokens[at + 1 :]) else "=="
    if (token.type == ARROW or token == "==") and "EQUAL" in expected and "COMPARE" not in expected:
        return at, at, "="
    if token in USES and set(expected) >= DECLARATIONS and after is not None and after.type == "STRING":
        return at, at, "use"
    if before in _CHOOSE and after == "{":
        return at - 1, at - 1, "match"
    for i, word in ((at, token), (at - 1, before)):
        if word is not None and word in _WORDS and not _is_name(tokens, i):
            return i, i, _WORDS[word]
    return None


def _to_range(tokens: Sequence[Token]) -> bool:
    """Do the tokens begin with numbers in braces, or with the first end of a range?"""
    summands = ("NAME", "NUMBER", "PLUS", "MINUS", "STAR", "PERCENT", DIVIDE)
    first = next((token for token in tokens if token.type not in summands), None)
    return bool(tokens) and (tokens[0].type == "LBRACE" or (first is not None and first.type == RANGE_SYMBOL))


def structure(tokens: Sequence[Token], at: int, expected: Collection[str]) -> tuple[int, str] | None:
    """A word of another language that has no counterpart: where, and what is written here."""
    for i in (at, at - 1):
        word = tokens[i] if 0 <= i < len(tokens) else ""
        if word in _STRUCTURE and (word != "case" or ARROW in expected) and not _is_name(tokens, i):
            return i, _STRUCTURE[word]
    return None


def around(tokens: Sequence[Token], at: int) -> tuple[Token | None, Token | None, Token | None]:
    before, token, after = (tokens[i] if 0 <= i < len(tokens) else None for i in (at - 1, at, at + 1))
    return before, token, after


def _is_name(tokens: Sequence[Token], at: int) -> bool:
    """Is this word the name of a parameter, a set or a pattern?  All but our own words can be."""
    return any(
        tokens[i] == tokens[at] and tokens[i - 1].type in ("PATTERN", "SET", "SCORE", "LPAR", "COMMA")
        for i in range(1, at)
    )
