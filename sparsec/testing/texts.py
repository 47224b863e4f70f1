"""Hypothesis strategies for texts: declarations as AST, for reading and printing, and programs with damaged bytes."""

from __future__ import annotations

from hypothesis import strategies as st

from sparsec.source import Source, Span
from sparsec.syntax import ast

_PIECES = (
    *(bytes([symbol]) for symbol in b"(){}[]~|&\\=-0h"),
    *(
        b"..",
        b'"',
        b'"""',
        b"match ",
        b"//",
        b"% 0",
        b"** 99",
        b" in ",
        b"not ",
        b"\x00",
        b"\xff",
        b"\xe2\x80\xae",
        b"\n",
    ),
)
_NOWHERE = Span(Source("nowhere", ""), 0, 0)

names = st.sampled_from(
    (*"qknhHL", "layer", "causal", "past", "abs", "min", "blocks", "random_keys", "a", "_c2", "lambda", "and")
)
_numbers = st.builds(lambda value: ast.Number(value, span=_NOWHERE), st.integers(0, 9) | st.integers(0, 2**31))
_reals = st.builds(lambda value: ast.Real(value, span=_NOWHERE), st.floats(0, 1e6).map(lambda x: round(x, 4)))
_named = st.builds(lambda name: ast.Name(name, span=_NOWHERE), names)
_quotable = st.text(alphabet='ab"\\\n #é', max_size=8)


def _make(kind: type[ast.Syntax], *parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(lambda *values: kind(*values, span=_NOWHERE), *parts)


def _some(part: st.SearchStrategy, least: int = 1) -> st.SearchStrategy[tuple]:
    return st.lists(part, min_size=least, max_size=3).map(tuple)


def _bounds() -> st.SearchStrategy:
    """What an arm's head is made of: numbers, names and arithmetic without brackets."""
    leaf = _numbers | _named
    factor = leaf | _make(ast.Binary, st.sampled_from(("*", "//", "%")), leaf, leaf)
    return factor | _make(ast.Binary, st.sampled_from(("+", "-")), factor, factor)


_heads = _bounds() | _make(ast.Range, _bounds(), _bounds())


@st.composite
def _chains(draw: st.DrawFn, part: st.SearchStrategy) -> ast.Chain:
    operands = draw(_some(part, 2))
    ops = st.sampled_from(("<", "<=", "==", "!=", ">=", ">"))
    return ast.Chain(operands, tuple(draw(ops) for _ in operands[1:]), span=_NOWHERE)


def _containers(part: st.SearchStrategy[ast.Expr]) -> st.SearchStrategy[ast.Expr]:
    """What may stand behind `in`: a range, numbers in braces, an input or its list for a head."""
    given = _named | _make(ast.Index, names, _some(part))
    return _make(ast.Range, part, part) | _make(ast.Members, _some(part)) | given


def expressions(depth: int = 3) -> st.SearchStrategy[ast.Expr]:
    """Any expression that the grammar has, of right sorts or not."""
    leaf = _numbers | _named | _reals
    if depth == 0:
        return leaf
    part = expressions(depth - 1)
    applied = _some(_named | _make(ast.Call, names, _some(_make(ast.Argument, st.none() | names, part), 0)))
    rows = _make(ast.Table, _some(_make(ast.Table, _some(part, 0)), 0))
    argument = part | rows | _make(ast.Text, _quotable)
    return st.one_of(
        leaf,
        _make(ast.Unary, st.sampled_from("-~"), part),
        _make(ast.Binary, st.sampled_from(("+", "-", "*", "/", "//", "%", "**", "&", "\\")), part, part),
        _make(ast.Union, _some(part, 2)),
        _chains(part),
        _make(ast.Membership, part, st.booleans(), _containers(part)),
        _make(ast.Call, names, _some(_make(ast.Argument, st.none() | names, argument), 0)),
        _make(ast.Index, names, _some(part)),
        _make(ast.Choice, part, part, part),
        _make(ast.Scored, part, applied),
        _make(ast.Match, part, _some(_make(ast.Arm, _some(_heads, 0), part))),
    )


def files() -> st.SearchStrategy[ast.File]:
    """Files of a few declarations of every kind."""
    doc = st.none() | _quotable
    parameter = _make(ast.Parameter, names, st.none() | expressions(1))
    definition = st.builds(
        lambda *values: ast.Definition(*values, span=_NOWHERE, name_span=_NOWHERE),
        st.sampled_from(("pattern", "set", "score")),
        names,
        _some(parameter, 0),
        expressions(),
        doc,
    )
    used = _make(ast.Use, _quotable, doc)
    given = st.builds(
        lambda *values: ast.Input(*values, span=_NOWHERE, name_span=_NOWHERE, kind_span=_NOWHERE),
        names,
        names,
        _some(expressions(1), 0),
        doc,
    )
    return _some(definition | definition | used | given, 0).map(lambda items: ast.File(items, source=_NOWHERE.source))


@st.composite
def damaged(draw: st.DrawFn, texts: tuple[str, ...]) -> bytes:
    """One of the texts with a few bytes changed, left out, repeated or put in; or arbitrary bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    data = bytearray(draw(st.sampled_from(texts)).encode())
    pieces = st.sampled_from(_PIECES)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 12)))
        change = draw(st.integers(0, 3))
        if change == 0:
            del data[start:stop]
        elif change == 1:
            data[start:start] = draw(pieces)
        elif change == 2:
            data[start:start] = data[start:stop]
        else:
            data[start:stop] = draw(st.binary(max_size=4))
    return bytes(data)
