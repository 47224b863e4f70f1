"""Build hooks: what a wheel carries beside the package, and the README without links that lead nowhere.

A wheel carries grammar/, templates/ and the patterns of examples/ as package data.

They stand at the top of the repository because people read them there.  An editable install finds them in the
checkout; a copy inside the package would go stale, so none is made for it.
"""

import re
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

_IMAGE = re.compile(r"!\[[^\]]*\]\((?!https?://)[^)]*\)\n*")
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://)([^)#]*)[^)]*\)")


class DataFolders(BuildHookInterface):
    def initialize(self, version: str, build_data: dict) -> None:
        """Add the folders to a wheel; `version` is "standard" or "editable"."""
        if self.target_name != "wheel" or version == "editable":
            return
        for folder in ("grammar", "templates"):
            build_data["force_include"][str(Path(self.root, folder))] = f"sparsec/_data/{folder}"
        for path in Path(self.root, "examples").glob("*.spat"):
            build_data["force_include"][str(path)] = f"sparsec/_data/examples/{path.name}"


class Readme(MetadataHookInterface):
    def update(self, metadata: dict) -> None:
        """Set the long description: paths of the repository as text, since a package index has no such files."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": outside_the_repository(text)}


def outside_the_repository(text: str) -> str:
    """A page of the repository for readers elsewhere: pictures go, links become their text and the path."""
    return _LINK.sub(lambda link: _with_path(*link.groups()), _IMAGE.sub("", text))


def _with_path(text: str, path: str) -> str:
    return f"`{path}`" if text.strip("`") in (path, path.rstrip("/")) else f"{text} (`{path}`)"
