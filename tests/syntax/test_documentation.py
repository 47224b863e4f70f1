"""Every .spat block of the documentation is what it says: right, or wrong with the code that stands beside it."""

import re
from pathlib import Path

import pytest

from sparsec.diagnostics import SparsecError
from sparsec.ir.lower import lower_fully
from sparsec.source import Source
from sparsec.syntax import parse

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```spat ?(\w*)\n(.*?)^```$", (ROOT / "docs/language.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "other.spat").write_text("set from_other(w) = past(w)\n")
    (tmp_path / "table.json").write_text("[[0], [1]]")
    return tmp_path


@pytest.mark.parametrize(("code", "text"), BLOCKS)
def test_block(folder, code, text):
    file = parse(Source(str(folder / "block.spat"), text))
    reported = []
    for definition in file.definitions:
        if definition.kind == "pattern":
            try:
                reported += lower_fully(file, pattern=definition.name, heads=16, layer=7, layers=32).warnings
            except SparsecError as error:
                reported += error.diagnostics
    assert [item.code for item in reported] == ([code] if code else [])


def test_prelude_table():
    """The page lists the prelude's sets with their bodies."""
    page = (ROOT / "docs/language.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+(?:\(.*?\))?)` \| `(.*?)` \|", page, re.MULTILINE))
    for name, body in re.findall(r"^set (.*?) = (.*)$", (ROOT / "grammar/prelude.spat").read_text(), re.MULTILINE):
        if not name.startswith(("full", "segments")):
            assert listed[name].replace("\\|", "|") == body
