"""Links to Markdown files outside of the site become downloads, as MyST makes them of every other file."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _mark)
    return {"parallel_read_safe": True}


def _mark(app: Sphinx, page: str, source: list[str]) -> None:
    folder = Path(app.env.doc2path(page)).parent

    def marked(link: re.Match) -> str:
        inside = (folder / link[1]).resolve().is_relative_to(Path(app.srcdir).resolve())
        return link[0] if inside else f"](path:{link[1]})"

    source[0] = re.sub(r"\]\(((?:\.\./)+[\w./-]+\.md)\)", marked, source[0])
