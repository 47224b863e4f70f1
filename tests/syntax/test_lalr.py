"""What reads texts, driven by tables, reads them as Lark does, from which the tables are."""

from __future__ import annotations

from pathlib import Path

import lark
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsec import resources
from sparsec.syntax.format.printer import print_file
from sparsec.syntax.grammar import grammar
from sparsec.syntax.lalr import Token, Tree, UnexpectedCharacter, UnexpectedToken
from sparsec.testing.texts import damaged, files

LARK = lark.Lark(
    resources.text("grammar/spat.lark"),
    start="file",
    parser="lalr",
    lexer="basic",
    keep_all_tokens=True,
    maybe_placeholders=True,
)
TEXTS = (
    resources.text("grammar/prelude.spat"),
    'input doc: int[q,]\nuse "other.spat"\n"""d"""\n'
    'set s(a, b = 2,) = match h { 0..2 -> f(x = [[0]], "t",) else -> doc[q,] }',
    *(path.read_text() for path in sorted((Path(__file__).parents[2] / "examples").glob("*.spat"))),
)
TOKENS = st.lists(st.sampled_from([*grammar().terminals]), max_size=12)


def said(tree: object) -> object:
    """A tree of either parser as tuples, tokens with their places."""
    if isinstance(tree, Tree | lark.Tree):
        return (str(tree.data), *map(said, tree.children))
    return tree and (tree.type, str(tree), tree.start_pos, tree.end_pos, tree.line)


def ours(text: str) -> object:
    try:
        return said(grammar().parse(text))
    except UnexpectedCharacter as error:
        return error.offset
    except UnexpectedToken as error:
        return error.expected


def theirs(text: str) -> object:
    try:
        return said(LARK.parse(text))
    except lark.UnexpectedCharacters as error:
        return error.pos_in_stream
    except lark.UnexpectedToken as error:
        return error.expected


@pytest.mark.parametrize("text", [*TEXTS, "", "pattern p = a ? b", "pattern p = (", "set"])
def test_a_text(text: str) -> None:
    assert ours(text) == theirs(text)


@given(files())
def test_any_file(file) -> None:
    text = print_file(file)
    assert ours(text) == theirs(text)


@given(damaged(TEXTS))
def test_any_damaged_file(data: bytes) -> None:
    text = data.decode(errors="replace")
    assert ours(text) == theirs(text)


@given(TOKENS)
def test_what_can_follow(kinds: list[str]) -> None:
    """After any tokens, of which those are left out that Lark refuses."""
    our, their = grammar().parser(), LARK.parse_interactive()
    for kind in kinds:
        if kind in their.accepts():
            our.feed(Token(kind, ""))
            their.feed_token(lark.Token(kind, ""))
        assert our.accepts() == their.accepts()
        assert len(our.states) == len(their.parser_state.state_stack)
