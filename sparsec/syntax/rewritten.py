"""What other languages write in several tokens, and the same in ours: shifts, ranges with their end, mixed members."""

from __future__ import annotations

from collections.abc import Sequence

from sparsec.diagnostics import Diagnostic, Fix, UnexpectedText, WrongSymbol
from sparsec.source import Source
from sparsec.syntax.errors.borrowed import ARROW, DIVIDE, RANGE_SYMBOL, around
from sparsec.syntax.lalr import Token

_SHIFTS = {">": "//", "<": "*"}
_MOST_BITS = 30
_BINDS = {"PLUS", "MINUS", "STAR", "PERCENT", DIVIDE}  # tighter than a shift does elsewhere
_ENDS = {"VBAR", "BACKSLASH", "AMPERSAND", "TILDE", "EQUAL", "LPAR", "LBRACE", "COMMA", ARROW}
_OPEN, _CLOSED = {"LPAR", "LBRACE", "LSQB"}, {"RPAR", "RBRACE", "RSQB"}


def rewritten(source: Source, tokens: Sequence[Token], at: int) -> Diagnostic | None:
    """The error at the token `tokens[at]` where it is one of these, None where it is not."""
    before, token, after = around(tokens, at)
    if token is None or before is None:
        return None
    joined = before.end_pos == token.start_pos
    if joined and token in _SHIFTS and before == token and at > 1:
        return _shift(source, tokens, at, before, token, after)
    if joined and before.type == RANGE_SYMBOL and token == "=":
        return _with_end(source, before, token, after)
    return _mixed_members(source, tokens, at) if token.type == RANGE_SYMBOL else None


def _shift(
    source: Source, tokens: Sequence[Token], at: int, before: Token, token: Token, after: Token | None
) -> Diagnostic:
    """`q >> 3` is `q // 8`; in `q - k >> 3` all of the difference is shifted."""
    symbol = _SHIFTS[str(token)]
    bits = int(after) if after is not None and after.type == "NUMBER" and after.isdecimal() else None
    right, last = f"{symbol} 2 **", token
    if after is not None and bits is not None and bits <= _MOST_BITS:
        right, last = f"{symbol} {2**bits}", after
    span = source.span(before.start_pos, last.end_pos)
    first = _operand(tokens, at - 2)
    loose = first > 0 and tokens[first - 1].type in _BINDS
    fixes = () if loose else (Fix(f"write `{right}`", span, right),)
    return WrongSymbol(found=span.text, right=f"(...) {right}" if loose else right, span=span, fixes=fixes)


def _operand(tokens: Sequence[Token], last: int) -> int:
    """Where the operand begins that ends with the token `last`: a name, a number, a call, something in brackets."""
    depth = 0
    for i in range(last, -1, -1):
        depth += (tokens[i].type in _CLOSED) - (tokens[i].type in _OPEN)
        if depth == 0:
            return i - 1 if tokens[i].type == "LPAR" and i and tokens[i - 1].type == "NAME" else i
    return 0


def _with_end(source: Source, before: Token, token: Token, after: Token | None) -> Diagnostic:
    """`0..=3` is `0..4`."""
    if after is None or after.type != "NUMBER" or not after.isdecimal():
        span = source.span(before.start_pos, token.end_pos)
        return WrongSymbol(found=span.text, right="..last + 1", span=span)
    right, span = f"..{int(after) + 1}", source.span(before.start_pos, after.end_pos)
    fixes = (Fix(f"write `{right}`", span, right, safe=True),)
    return WrongSymbol(found=span.text, right=right, span=span, fixes=fixes)


def _mixed_members(source: Source, tokens: Sequence[Token], at: int) -> Diagnostic | None:
    """`k in {0..4, 9}` is `k in 0..4 | k == 9`."""
    opening = next((i for i in range(at, 0, -1) if tokens[i].type == "LBRACE"), 0)
    closing = next((i for i in range(at, len(tokens)) if tokens[i].type == "RBRACE"), None)
    if closing is None or opening < 2 or tokens[opening - 1].type != "IN":
        return None
    negated = tokens[opening - 2].type == "NOT"
    last = opening - 3 if negated else opening - 2
    first, depth = last, 0
    while first > 0 and (depth or tokens[first - 1].type not in _ENDS):
        depth += (tokens[first].type in _CLOSED) - (tokens[first].type in _OPEN)
        first -= 1
    value = source.text[tokens[first].start_pos : tokens[last].end_pos]
    parts, start = [], opening + 1
    for i in range(opening + 1, closing + 1):
        if tokens[i].type in ("COMMA", "RBRACE"):
            text = source.text[tokens[start].start_pos : tokens[i - 1].end_pos]
            ranged = any(token.type == RANGE_SYMBOL for token in tokens[start:i])
            parts += [f"{value} in {text}" if ranged else f"{value} == {text}"] if start < i else []
            start = i + 1
    written = " | ".join(parts)
    alone = tokens[first - 1].type in ("EQUAL", "VBAR") and not negated
    after = tokens[closing + 1].type if closing + 1 < len(tokens) else ""
    if not alone or after in ("AMPERSAND", "BACKSLASH"):
        written = f"~({written})" if negated else f"({written})"
    span = source.span(tokens[first].start_pos, tokens[closing].end_pos)
    here = source.span(tokens[at].start_pos, tokens[at].end_pos)
    fixes = () if "\n" in span.text else (Fix(f"write `{written}`", span, written, safe=True),)
    found, expected = "a range in braces, among numbers", "numbers alone, or a range without braces"
    return UnexpectedText(found=found, expected=expected, hint=f"write `{written}`", span=here, fixes=fixes)
