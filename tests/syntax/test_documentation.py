"""The table of the prelude in the documentation is the prelude.  (tests/docs runs the .spat blocks.)"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_prelude_table():
    """The page lists the prelude's sets with their bodies."""
    page = (ROOT / "docs/language.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+(?:\(.*?\))?)` \| `(.*?)` \|", page, re.MULTILINE))
    for name, body in re.findall(r"^set (.*?) = (.*)$", (ROOT / "grammar/prelude.spat").read_text(), re.MULTILINE):
        if not name.startswith(("full", "segments")):
            assert listed[name].replace("\\|", "|") == body
