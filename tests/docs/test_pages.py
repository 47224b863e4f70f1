"""Every code block of every page does what the page says, from top to bottom."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from support import pages

ROOT = pages.ROOT
GENERATED = ROOT / "docs/errors.md"  # tests/test_diagnostics.py makes it anew and compiles its examples
PAGES = sorted({*ROOT.glob("docs/**/*.md")} - {GENERATED} - {*ROOT.glob("docs/_build/**/*")})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a page: the examples, and the two files that the page of the language speaks of."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "other.spat").write_text("set from_other(w) = past(w)\n")
    (tmp_path / "table.json").write_text("[[0], [1]]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARSEC_TUNED", str(tmp_path / "tuned.json"))  # not the user's own, but a file
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks(folder: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("page")  # a real one: torch looks up the module of a function that it traces
    monkeypatch.setitem(sys.modules, "page", module)
    for block in pages.blocks(page):
        pages.run(block, folder, module.__dict__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in pages.links(page):
        assert pages.leads_somewhere(page, *link), link


RIGHT = [
    ("spat", "pattern p = causal"),
    ("spat SP0904", "pattern a = sinks(4) | past(8) \\ past(2)"),
    ("spat mine.spat SP0105", "pattern p = causal and full"),
    ("console", "$ echo a; echo b; echo c\na\n...\nc"),
    ("console 3", "$ echo a >&2; exit 3\na"),
    ("python", "given = 3"),
    ("python", ">>> given\n3"),
    ("python gpu", "torch.cuda.nothing()"),
    ("python needs torch", "given = 3"),
    ("python needs nothing_of_that_name", "import nothing_of_that_name"),
    ("json", "[1]"),
]
WRONG = [
    ("spat", "pattern p = causall"),
    ("spat", "pattern p = causal and full"),
    ("spat SP0904", "pattern p = causal"),
    ("console", "$ echo a\nb"),
    ("console", "$ exit 1\n"),
    ("console 1", "$ echo a\na"),
    ("python", "missing"),
    ("python", ">>> 1 + 1\n3"),
    ("python gpu", "def"),
    ("python needs torch", "missing"),
    ("python needs nothing_of_that_name", "def"),
    ("json", "{"),
    ("sh", "make install"),
    ("", "anything"),
]


def block(info: str, text: str) -> pages.Block:
    return pages.Block(ROOT / "page.md", 1, info, f"{text}\n")


@pytest.mark.parametrize(("info", "text"), RIGHT)
def test_what_is_right_passes(folder: Path, info: str, text: str) -> None:
    pages.run(block(info, text), folder, {"given": 3})


@pytest.mark.parametrize(("info", "text"), WRONG)
def test_what_is_wrong_fails(folder: Path, info: str, text: str) -> None:
    with pytest.raises((AssertionError, NameError, SyntaxError, ValueError)):
        pages.run(block(info, text), folder, {})
