"""Files that travel with the package: the grammar, the prelude, the templates."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

_CHECKOUT = Path(__file__).parent.parent


@cache
def root() -> Traversable:
    """The folder that holds `grammar/` and `templates/`: package data when installed, else the checkout.

    A build that is not editable copies both into `sparsec/_data`; an editable one must read the checkout, or it
    would go on using stale copies.
    """
    packaged = files("sparsec") / "_data"
    return packaged if (packaged / "grammar").is_dir() else _CHECKOUT


@cache
def text(name: str) -> str:
    """The text of a resource, for example `text("grammar/prelude.spat")`.  FileNotFoundError when there is none."""
    return root().joinpath(*name.split("/")).read_text(encoding="utf-8")
