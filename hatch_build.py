"""Build hook: a wheel carries grammar/, templates/ and the patterns of examples/ as package data.

They stand at the top of the repository because people read them there.  An editable install finds them in the
checkout; a copy inside the package would go stale, so none is made for it.
"""

from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DataFolders(BuildHookInterface):
    def initialize(self, version: str, build_data: dict) -> None:
        """Add the folders to a wheel; `version` is "standard" or "editable"."""
        if self.target_name != "wheel" or version == "editable":
            return
        for folder in ("grammar", "templates"):
            build_data["force_include"][str(Path(self.root, folder))] = f"sparsec/_data/{folder}"
        for path in Path(self.root, "examples").glob("*.spat"):
            build_data["force_include"][str(path)] = f"sparsec/_data/examples/{path.name}"
