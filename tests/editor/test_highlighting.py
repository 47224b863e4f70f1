"""Pygments and TextMate colour each token as the one grammar reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from support.textmate import scopes

from sparsec import resources
from sparsec.editor.kinds import kinds
from sparsec.editor.lexer import _COLOURS, SpatLexer
from sparsec.lower.scope import INTEGERS
from sparsec.source import Source
from sparsec.syntax.errors.explain import KEYWORDS
from sparsec.syntax.format.printer import print_file
from sparsec.syntax.grammar import grammar
from sparsec.syntax.parse import parse
from sparsec.syntax.scan import ERROR, scan
from sparsec.testing.texts import damaged, files

ROOT = Path(__file__).parents[2]
TEXTMATE = json.loads((ROOT / "grammar/vscode/syntaxes/spat.tmLanguage.json").read_text())
SCOPES = {
    "keyword": "keyword.control",
    "word operator": "keyword.operator.word",
    "declared": "entity.name.function",
    "called": "entity.name.function.call",
    "position": "variable.language.position",
    "name": "variable.other",
    "number": "constant.numeric",
    "documentation": "string.quoted.docstring",
    "text": "string.quoted.double",
    "comment": "comment.line.number-sign",
    "operator": "keyword.operator",
    "punctuation": "punctuation.separator",
}
SAMPLES = {
    **{path.stem: path.read_text() for path in sorted((ROOT / "examples").glob("*.spat"))},
    "prelude": resources.text("grammar/prelude.spat"),
    "every token": '# a # b\n"""d \\" "\n # e"""\npattern patterns(not_in = 1_000) = ~a \\ b & (k not in {0, -1} | q //'
    " 2 ** 3 % 4 != n)\n"
    'set setter = match h + 1 { 0..2 -> f("x\\"#.json", [[0]]) else -> doc[q] >= 4 - L * H }\n'
    "score far(c) = s if k < 4 else 0.5 * s / c pattern scored = full with far(1)\n"
    'use "a.spat" input doc: int[layer, n] # end',
}


def tokens(text: str) -> list[tuple[str, str, int]]:
    return [(token.type, str(token), token.start_pos) for token in grammar().lex(text)]


def coloured(text: str) -> list[str | None]:
    """The TextMate scope of every character."""
    found: list[str | None] = [None] * len(text)
    for start, end, scope in scopes(TEXTMATE, text):
        found[start:end] = [scope.removesuffix(".spat")] * (end - start)
    return found


def agrees(text: str) -> None:
    """All three read the text alike; names are told apart only where a line is enough to do so."""
    lexemes = list(scan(text))
    words = [each for each in lexemes if each.terminal not in ("SPACE", "COMMENT")]
    assert [(each.terminal, each.text, each.start) for each in words] == tokens(text)
    painted = coloured(text)
    for lexeme, kind in kinds(lexemes):
        if kind == "blank":
            continue
        there = set(painted[lexeme.start : lexeme.end])
        assert there == {SCOPES[kind]}, (lexeme, kind, there)
    pygments = list(SpatLexer().get_tokens_unprocessed(text))
    assert pygments == [(lexeme.start, _COLOURS[kind], lexeme.text) for lexeme, kind in kinds(lexemes)]


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name: str) -> None:
    agrees(SAMPLES[name])


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_any_file(file) -> None:
    agrees(print_file(file))


@given(damaged(tuple(SAMPLES.values())))
def test_any_bytes_are_cut_without_gaps(data: bytes) -> None:
    text = data.decode(errors="replace")
    assert "".join(each.text for each in scan(text)) == text
    assert "".join(part for _, _, part in SpatLexer().get_tokens_unprocessed(text)) == text


def test_every_terminal_has_a_sample_and_a_colour() -> None:
    seen = {each.terminal for text in SAMPLES.values() for each in scan(text)}
    assert seen == set(grammar().terminals)
    assert {kind for text in SAMPLES.values() for _, kind in kinds(scan(text))} == set(SCOPES) | {"blank"}
    assert set(_COLOURS) == set(SCOPES) | {"blank", "error"}


def test_words_are_those_of_the_grammar() -> None:
    words = {text: kind for text in KEYWORDS for _, kind in kinds(scan(text))}
    assert set(words.values()) == {"keyword", "word operator"}
    for rule in TEXTMATE["patterns"]:
        if found := re.fullmatch(r"\\b\(\?:([\w|]+)\)\\b", rule.get("match", "")):
            expected = {
                "keyword.control.spat": {text for text, kind in words.items() if kind == "keyword"},
                "keyword.operator.word.spat": {text for text, kind in words.items() if kind == "word operator"},
                "variable.language.position.spat": set(INTEGERS),
            }
            assert set(found[1].split("|")) == expected[rule["name"]]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("pattern p = causal ? full", ["?"]),
        ('set a = "open\nset b = full', ['"open']),
        ('"""open\nset b', ['"""open\nset b']),
        ("π ≤ 𝟛", list("π≤𝟛")),
    ],
)
def test_what_is_no_token_is_an_error(text: str, errors: list[str]) -> None:
    assert [each.text for each in scan(text) if each.terminal == ERROR] == errors


def test_pygments_finds_the_lexer() -> None:
    from importlib.metadata import entry_points

    declared = (ROOT / "pyproject.toml").read_text()
    assert 'spat = "sparsec.editor.lexer:SpatLexer"' in declared
    found = [each for each in entry_points(group="pygments.lexers") if each.name == "spat"]
    if not found:
        pytest.skip("installed before the entry point was declared")
    from pygments.lexers import get_lexer_by_name, get_lexer_for_filename

    assert isinstance(get_lexer_by_name("spat"), SpatLexer)
    assert isinstance(get_lexer_for_filename("a/b.spat"), SpatLexer)


def test_the_extension_is_whole() -> None:
    folder = ROOT / "grammar/vscode"
    package = json.loads((folder / "package.json").read_text())
    [language] = package["contributes"]["languages"]
    [colours] = package["contributes"]["grammars"]
    named = (language["configuration"], colours["path"])
    assert all((folder / name).is_file() for name in named)
    assert colours["scopeName"] == TEXTMATE["scopeName"]
    json.loads((folder / language["configuration"]).read_text())


def test_samples_are_in_the_language() -> None:
    for text in SAMPLES.values():
        parse(Source("sample.spat", text))
