"""Reading what was printed gives what was printed."""

from pathlib import Path

import pytest
from hypothesis import given

from sparsec import resources
from sparsec.source import Source
from sparsec.syntax.format.printer import print_file
from sparsec.syntax.parse import parse
from sparsec.testing.texts import files

TEXTS = {path.name: path.read_text() for path in (Path(__file__).parents[2] / "examples").glob("*.spat")}
TEXTS["prelude.spat"] = resources.text("grammar/prelude.spat")


@given(files())
def test_round_trip(file):
    text = print_file(file)
    assert parse(Source("printed", text)) == file


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_examples(name):
    file = parse(Source(name, TEXTS[name]))
    text = print_file(file)
    assert parse(Source(name, text)) == file
    assert print_file(parse(Source(name, text))) == text


def test_layout():
    text = '''\
use "other.spat"

"""Every eighth layer is dense."""
pattern hybrid(w = 4096) =
    match layer % 8 {
        7    -> causal
        else -> past(w) | (sinks(2 ** -(1 + 2)) \\ (stride(2) | ~full) & k not in {0, -1})
    }

set near(w, s = w // 2) = 0 <= q - k < w & (q - (k - 1)) % s == 0
'''
    assert print_file(parse(Source("t", text))) == text


def test_the_text_of_a_declaration_is_whole() -> None:
    for body in ("causal & (past(3) | stride(2))", "((k <= q))", "past(3)  # a comment"):
        (definition,) = parse(Source("p", f"pattern p = {body}\n")).definitions
        assert definition.span.text == f"pattern p = {body}".removesuffix("  # a comment")


def test_places_hold_the_brackets_of_what_stands_inside() -> None:
    text = "pattern p = (past(4)) \\ ((k < 3)) | (q - 1) // 2 < (4)"
    union = parse(Source("p.spat", text)).definitions[0].body
    assert union.span.text == text.removeprefix("pattern p = ")
    assert [part.span.text for part in union.parts] == ["(past(4)) \\ ((k < 3))", "(q - 1) // 2 < (4)"]
    assert union.parts[0].right.span.text == "k < 3"
