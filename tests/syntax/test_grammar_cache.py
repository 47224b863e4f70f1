"""The parser's tables: read or built, it is the same parser, and nothing that was kept can break it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsec.cache import prune
from sparsec.cache.files import PARSER, Cache
from sparsec.syntax import grammar as made
from sparsec.syntax.grammar import grammar


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
            patch.setattr(made, "_made", lambda _: pytest.fail("made again"))
        return grammar()


def test_kept_tables_are_the_built_ones(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built, read = grammar(), again(monkeypatch, build=False)
    assert built is not read
    assert read.tables == built.tables


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


def test_tables_of_another_grammar_are_not_taken_for_ours(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of files are short: two grammars may have one."""
    grammar()
    monkeypatch.setattr(made, "_FORMAT", 0)
    [path] = kept.iterdir()
    monkeypatch.setattr(made.zlib, "crc32", lambda _: 7)
    again(monkeypatch, build=True)
    (kept / "00000007.tables").replace(path)
    monkeypatch.undo()
    monkeypatch.setenv("SPARSEC_CACHE", str(kept.parent))
    assert again(monkeypatch, build=True).parse("pattern p = causal\n")
    again(monkeypatch, build=False)


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
