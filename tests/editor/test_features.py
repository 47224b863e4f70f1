"""The features of the language server as functions of a text and a place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsec.editor.completion import complete
from sparsec.editor.hover import hover
from sparsec.editor.outline import outline
from sparsec.editor.positions import Lines
from sparsec.editor.rename import Refused, references, rename, renamed
from sparsec.editor.scope import is_prelude, path_of, target
from sparsec.ir import reference
from sparsec.lower.file import check_names, lower
from sparsec.lower.scope import references as named_definitions
from sparsec.show import telling_length
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.syntax.read import with_line_ends

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.spat"))
TEXT = '''"""Near."""
set near(w, s = 2) = past(w) & (q - k) % s == 0
pattern p(w = 8, near = 3) = near(w, s = near) | near(w = 4)
pattern other = p(w = 2) \\ causal'''
SOURCE = Source("mine.spat", TEXT)


def spots(*words: str) -> int:
    """Where the last of some words begins, each looked for behind the one before."""
    at = 0
    for word in words:
        at = TEXT.index(word, at + 1)
    return at


def test_parameters_shadow_only_where_nothing_is_called() -> None:
    assert [TEXT[a:b] for a, b in references(SOURCE, spots("near"))] == ["near"] * 3
    assert len(references(SOURCE, spots("near = 3"))) == 2
    assert len(references(SOURCE, spots("pattern p", "w = 8"))) == 3  # with the argument of `other`


def test_definitions_lie_in_the_prelude_too() -> None:
    found = target(SOURCE, outline(SOURCE).at(spots("past")))
    assert is_prelude(found.source)
    start, end = found.place
    assert path_of(found.source).read_text()[start:end] == "past"


def test_use_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.spat").write_text("set far(w) = past(w)")
    source = Source(str(tmp_path / "b.spat"), 'use "a.spat"\npattern p = far(w = 3) &')
    found = target(source, outline(source).at(source.text.index("far")))
    assert found.source.name == str(tmp_path / "a.spat")
    assert "far" in [each.label for each in complete(source, len(source.text))]
    with pytest.raises(Refused, match="declared in"):
        rename(source, source.text.index("far"), "wide")


@pytest.mark.parametrize(
    ("place", "name", "why"),
    [
        ("past", "last", "declared in"),
        ("near", "q", "can't be a name"),
        ("near", "set", "can't be a name"),
        ("near", "a b", "can't be a name"),
        ("near", "p", "already"),
        ("near", "past", "already"),
        ("w, s", "s", "already"),
        ("q - k", "x", "nothing"),
    ],
)
def test_refused(place: str, name: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        rename(SOURCE, spots(place), name)


def test_a_parameter_captures_nothing() -> None:
    source = Source("c.spat", "set a = causal\npattern p(w = 2) = past(w) & a")
    with pytest.raises(Refused, match="something else"):
        rename(source, 4, "w")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_rename_keeps_the_meaning(path: Path) -> None:
    source = Source(str(path), path.read_text())
    before = lower(parse(source), heads=8, layer=1, layers=4)
    for each in outline(source).occurrences:
        meant = target(source, each)
        if meant and meant.source == source:
            new = renamed(source, rename(source, each.lexeme.start, "fresh"), "fresh")
            after = lower(parse(new), heads=8, layer=1, layers=4)
            assert after.conditions == before.conditions
            assert new.text != source.text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_names_mean_what_the_compiler_takes_them_for(path: Path) -> None:
    source = Source(str(path), path.read_text())
    for entry in check_names(parse(source)).own.values():
        for found, span in named_definitions(entry):
            meant = target(source, outline(source).at(span.start))
            assert meant.place == (found.definition.name_span.start, found.definition.name_span.end)


@given(st.sampled_from([*(path.read_text() for path in EXAMPLES), TEXT]), st.data())
def test_no_prefix_is_too_broken(text: str, data: st.DataObject) -> None:
    source = Source("prefix.spat", text[: data.draw(st.integers(0, len(text)))])
    offset = data.draw(st.integers(0, len(source.text)))
    complete(source, offset)
    references(source, offset)
    hover(source, offset)


def test_hover_says_what_it_keeps() -> None:
    text, start, end = hover(SOURCE, spots("pattern p"[-1:] + "("))
    assert TEXT[start:end] == "p"
    pattern = lower(parse(SOURCE), pattern="p")
    n = telling_length(pattern)
    kept = reference.mask(pattern.conditions[0], n, n).sum()
    assert f"At n = {n:,} {kept:,} of {n**2:,} pairs" in text
    assert ".+++" in text
    assert "The last w keys" in hover(SOURCE, spots("past"))[0]
    assert "position of the query" in hover(SOURCE, spots("q - k"))[0]


def test_completion_knows_the_scope() -> None:
    found = {each.label: each.kind for each in complete(Source("x", TEXT + " & "), len(TEXT) + 3)}
    assert {"near", "past", "match", "q", "random_keys"} <= set(found)
    assert "w" not in found
    assert complete(Source("x", "pattern p"), 9) == []
    assert complete(Source("x", "# caus"), 6) == []


@given(st.text(alphabet="a\né😀\r", max_size=20), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_positions_there_and_back(text: str, encoding: str) -> None:
    lines = Lines(with_line_ends("x", text).text, encoding)
    for offset in range(len(lines.text) + 1):
        assert lines.offset(*lines.position(offset)) == offset


def test_astral_characters_are_two_units_of_utf_16() -> None:
    assert Lines("😀a").position(1) == (0, 2)
