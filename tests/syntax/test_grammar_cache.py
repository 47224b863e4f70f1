"""The parser's tables: read or built, it is the same parser, and nothing that was kept can break it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lark import Lark

from sparsec import resources
from sparsec.cache import prune
from sparsec.cache.files import PARSER, Cache
from sparsec.syntax import grammar as made
from sparsec.syntax.grammar import grammar

TEXTS = [resources.text("grammar/prelude.spat")]
TEXTS += [path.read_text() for path in sorted((Path(__file__).parents[2] / "examples").glob("*.spat"))]


class Reader(Lark):
    """Lark, but it builds nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pytest.fail("built again")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of tables in an empty cache."""
    monkeypatch.setenv("SPARSEC_CACHE", str(tmp_path / "cache"))
    grammar.cache_clear()
    yield tmp_path / "cache" / PARSER
    grammar.cache_clear()


def again(monkeypatch: pytest.MonkeyPatch, build: bool):
    """The parser as another process would make it; `build`: whether it may be built."""
    grammar.cache_clear()
    with monkeypatch.context() as patch:
        if not build:
            patch.setattr(made, "Lark", Reader)
        return grammar()


def test_kept_tables_are_the_built_ones(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built, read = grammar(), again(monkeypatch, build=False)
    assert built is not read
    assert [each.name for each in built.terminals] == [each.name for each in read.terminals]
    for text in TEXTS:
        assert read.parse(text) == built.parse(text)
        assert [*map(repr, read.lex(text))] == [*map(repr, built.lex(text))]
    for begun in ("", "pattern", "pattern p(w = 1) =", "pattern p = past(3) |", "set a(x) = match h { 0 ->"):
        expected = []
        for parser in (built, read):
            at = parser.parse_interactive()
            for token in parser.lex(begun):
                at.feed_token(token)
            expected.append(at.accepts())
        assert expected[0] == expected[1] != set()


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-9], lambda b: b + b"x", lambda b: bytes(len(b))])
def test_damaged_tables_are_built_again(kept: Path, monkeypatch: pytest.MonkeyPatch, damage) -> None:
    grammar()
    [path] = kept.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert again(monkeypatch, build=True).parse("pattern p = causal\n")
    again(monkeypatch, build=False)


def test_a_folder_in_its_place(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grammar()
    [path] = kept.iterdir()
    path.unlink()
    path.mkdir()
    assert again(monkeypatch, build=True).parse("pattern p = causal\n")


@pytest.mark.parametrize("name", ["_load_from_dict", "memo_serialize"])
def test_another_lark_may_keep_no_tables(kept: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for _ in range(2):  # without tables, and with some
        with monkeypatch.context() as patch:
            patch.setattr(Lark, name, lambda *_: 1 / 0)
            assert again(patch, build=True).parse("pattern p = causal\n")
        again(monkeypatch, build=True)


def test_tables_of_others_are_not_read(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grammar()
    [path] = kept.iterdir()
    path.chmod(0o666)
    assert again(monkeypatch, build=True).parse("pattern p = causal\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_cache_is_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for folder in (str(tmp_path / "file"), "relative"):
        monkeypatch.setenv("SPARSEC_CACHE", folder)
        assert again(monkeypatch, build=True).parse("pattern p = causal\n")
    grammar.cache_clear()


def test_they_are_tidied_with_the_rest(kept: Path) -> None:
    grammar()
    [path] = kept.iterdir()
    store, size = Cache(kept.parent), path.stat().st_size
    assert prune.info(store).bytes == size
    assert prune.prune(store) == (0, 0)
    then = time.time() - 31 * 86400
    os.utime(path, (then, then))
    grammar.cache_clear()
    grammar()
    assert prune.prune(store) == (0, 0), "they are used"
    os.utime(path, (then, then))
    (kept / ".left.tmp").write_bytes(b"12")
    os.utime(kept / ".left.tmp", (time.time() - 7200,) * 2)
    assert prune.prune(store) == (2, size + 2)
    grammar.cache_clear()
    grammar()
    assert prune.clear(store) == (1, size)
