"""Files that travel with the package: the grammar, the prelude, the templates, the examples."""

from __future__ import annotations

from functools import cache
from pathlib import Path  # importlib.resources takes twice as long to load, and a package is a folder

_PACKAGE = Path(__file__).parent


@cache
def root() -> Path:
    """The folder that holds `grammar/`, `templates/` and `examples/`: package data when installed, else the checkout.

    A build that is not editable copies them into `sparsec/_data`; an editable one must read the checkout, or it
    would go on using stale copies.
    """
    packaged = _PACKAGE / "_data"
    return packaged if (packaged / "grammar").is_dir() else _PACKAGE.parent


def names(folder: str, suffix: str) -> list[str]:
    """The files of a folder that end so, without their suffix, in order."""
    found = (each.name for each in root().joinpath(folder).iterdir())
    return sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix))


@cache
def text(name: str) -> str:
    """The text of a resource, for example `text("grammar/prelude.spat")`.  FileNotFoundError when there is none."""
    return root().joinpath(*name.split("/")).read_text(encoding="utf-8")
