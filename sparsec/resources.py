"""Files that travel with the package: the grammar, the prelude, the templates, the examples."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

_CHECKOUT = Path(__file__).parent.parent


@cache
def root() -> Traversable:
    """The folder that holds `grammar/`, `templates/` and `examples/`: package data when installed, else the checkout.

    A build that is not editable copies them into `sparsec/_data`; an editable one must read the checkout, or it
    would go on using stale copies.
    """
    packaged = files("sparsec") / "_data"
    return packaged if (packaged / "grammar").is_dir() else _CHECKOUT


def names(folder: str, suffix: str) -> list[str]:
    """The files of a folder that end so, without their suffix, in order."""
    found = (each.name for each in root().joinpath(folder).iterdir())
    return sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix))


@cache
def text(name: str) -> str:
    """The text of a resource, for example `text("grammar/prelude.spat")`.  FileNotFoundError when there is none."""
    return root().joinpath(*name.split("/")).read_text(encoding="utf-8")
