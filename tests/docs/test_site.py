"""The site builds without a warning, and what it generates is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import pages

ROOT = pages.ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages."""
    for needed in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("site")
    places = ["-d", folder / "trees", ROOT / "docs", folder / "html"]
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", *map(str, places)]
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.mark.full
def test_every_page_is_built(site: Path) -> None:
    sources = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert sources <= {path.relative_to(site) for path in site.rglob("*.html")}


@pytest.mark.full
def test_every_command_is_described(site: Path) -> None:
    page = (site / "reference/commands.html").read_text()
    listed = subprocess.run([sys.executable, "-m", "sparsec", "--help"], capture_output=True, text=True, check=True)
    commands = re.findall(r"^  (\w+)  ", listed.stdout, re.MULTILINE)
    assert commands
    assert all(f'<section id="sparsec-{name}">' in page for name in commands)
    assert "--head-size" in page


@pytest.mark.full
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.spat")), ids=lambda path: path.stem)
def test_every_example_hangs_in_the_gallery(site: Path, path: Path) -> None:
    page = (site / "gallery.html").read_text()
    assert f'src="_images/{path.stem}.svg"' in page
    assert (site / f"_images/{path.stem}.svg").read_text().startswith("<svg")
