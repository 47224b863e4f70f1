"""Docstrings are plain text: what stands indented after a blank line is code."""

from __future__ import annotations

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _mark_code)
    return {"parallel_read_safe": True}


def _mark_code(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    marked, before = [], ""
    for line in lines:
        if line.startswith("    ") and not before.strip() and not _inside(marked):
            marked += [".. code-block:: python", ""]
        marked.append(line)
        before = line
    lines[:] = marked


def _inside(lines: list[str]) -> bool:
    """Whether the last line with text is already code."""
    return next((line.startswith("    ") for line in reversed(lines) if line.strip()), False)
