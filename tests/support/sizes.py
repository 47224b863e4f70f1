"""Lines of code: `python tests/support/sizes.py` prints them by folder, and the files that are too long."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 300  # lines of a file of the package


def sizes(folder: str) -> dict[Path, int]:
    """Lines of each Python file and template below `folder`, expected output of tests left out."""
    found = sorted(path for end in ("*.py", "*.jinja", "*.js") for path in (ROOT / folder).rglob(end))
    written = (path for path in found if not {"expected", "_data", "__pycache__"} & set(path.parts))
    return {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in written}


def main() -> None:
    for folder in ("sparsec", "templates", "tests"):
        lines = sizes(folder)
        print(f"{sum(lines.values()):7,} {folder}, {len(lines)} files")
        parts: Counter[str] = Counter()
        for path, count in lines.items():
            parts[path.parts[1] if len(path.parts) > 2 else "(files)"] += count
        for name, count in sorted(parts.items()):
            print(f"{count:11,} {name}")
    print(f"\nfiles of more than {LONGEST} lines")
    for path, count in sorted(
        (sizes("sparsec") | sizes("templates") | sizes("tests")).items(), key=lambda each: -each[1]
    ):
        if count > LONGEST:
            print(f"{count:7,} {path}")


if __name__ == "__main__":
    main()
