"""The site: `sphinx-build -W -b html docs docs/_build/html`, with the extra `docs` of pyproject.toml installed."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

from sparsec.editor.lexer import SpatLexer

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "sparsec"
html_title = "sparsec"
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "commands", "docstrings", "gallery", "outside"]
exclude_patterns = ["_build", "extensions"]

myst_heading_anchors = 3
default_role = "code"  # docstrings are plain text with `names` in single backquotes
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

# Pages and errors.md show texts that are wrong on purpose, which no lexer can read to the end.
suppress_warnings = ["misc.highlighting_failure"]


def setup(app: Sphinx) -> None:
    app.add_lexer("spat", SpatLexer)  # also where the package was installed before it had the entry point
