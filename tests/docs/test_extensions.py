"""What docs/extensions makes out of the program, without building the site."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import pages

pytest.importorskip("sphinx")


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch):
    """Imports an extension by name, as docs/conf.py makes it known."""
    monkeypatch.syspath_prepend(str(pages.ROOT / "docs/extensions"))
    return __import__


def helped(*command: str) -> str:
    run = [sys.executable, "-m", "sparsec", *command, "--help"]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout


def test_commands_and_their_options(extension) -> None:
    page = extension("commands").filled("before\n<!-- commands -->\nafter")
    assert page.startswith("before\n") and page.endswith("\nafter")
    names = re.findall(r"^  (\w+)  ", helped(), re.MULTILINE)
    assert re.findall(r"^## sparsec (\w+)$", page, re.MULTILINE) == names
    section = page[page.index("## sparsec show") :].split("\n## ")[0]
    options = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", helped("show"), re.MULTILINE)) - {"--help"}
    assert options == set(re.findall(r"^\| `(?:-\w, )?(--[\w-]+)", section, re.MULTILINE))


def test_a_cell_of_a_table_keeps_its_columns(extension) -> None:
    row = re.compile(r"\| `(?:[^`|]|\\\|)+` \| (?:[^|]|\\\|)* \|")
    rows = re.findall(r"^\| `.*$", extension("commands").filled("<!-- commands -->"), re.MULTILINE)
    assert rows and all(row.fullmatch(each) for each in rows)


def test_a_page_without_the_mark_stays(extension) -> None:
    assert extension("commands").filled("# Commands\n") == "# Commands\n"


def test_code_of_a_docstring_is_marked(extension) -> None:
    lines = ["Words.", "", "    first = 1", "", "    second = 2", "", "More.", "", "    third = 3"]
    extension("docstrings")._mark_code(None, "", "", None, None, lines)
    assert lines == [
        "Words.", "", ".. code-block:: python", "", "    first = 1", "", "    second = 2", "",
        "More.", "", ".. code-block:: python", "", "    third = 3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("architecture", "../templates/README.md", "path:../templates/README.md"),
        ("howto/vendor", "../../templates/README.md", "path:../../templates/README.md"),
        ("howto/vendor", "../language.md", "../language.md"),
        ("howto/vendor", "fuzz.md", "fuzz.md"),
        ("howto/vendor", "../../examples/vendor.py", "../../examples/vendor.py"),  # MyST makes this a download itself
    ],
)
def test_links_out_of_the_site_become_downloads(extension, page: str, link: str, becomes: str) -> None:
    docs = pages.ROOT / "docs"
    app = SimpleNamespace(srcdir=docs, env=SimpleNamespace(doc2path=lambda page: docs / f"{page}.md"))
    source = [f"[words]({link})"]
    extension("outside")._mark(app, page, source)
    assert source == [f"[words]({becomes})"]


def test_a_section_of_the_gallery(extension, tmp_path: Path) -> None:
    text = extension("gallery").section(pages.ROOT / "examples/mistral.spat", tmp_path)
    assert "class: `O(n*w)`" in text
    assert "https://arxiv.org/abs/2310.06825" in text
    assert "pattern mistral(w = 4096) =\n    past(w)" in text
    assert "sliding_window=w" in text  # what the file remarks
    assert (tmp_path / "mistral.svg").read_text().startswith("<svg")
