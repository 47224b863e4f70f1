"""The gallery: for each file of examples/ its text, its picture by `sparsec show` and its class by `sparsec cost`.

A page asks for it with a line `<!-- gallery -->`, or with `<!-- picture: NAME -->` for one picture alone; both show
nothing where the page is read as it stands.
"""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from itertools import takewhile
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.display import status_iterator

from sparsec.cli import app as sparsec
from sparsec.lower.file import lower
from sparsec.show.scale import telling_length
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read

MARK = "<!-- gallery -->"
PICTURE = re.compile(r"<!-- picture: (\w+) -->")
EXAMPLES = Path(__file__).parents[2] / "examples"
BOUND = ("--heads", "8", "--layer", "0", "--layers", "8")  # for the patterns that depend on them


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    folder = Path(app.outdir) / "_images"
    folder.mkdir(parents=True, exist_ok=True)
    source[0] = PICTURE.sub(lambda mark: picture(EXAMPLES / f"{mark[1]}.spat", folder), source[0])
    if MARK not in source[0]:
        return
    files = sorted(EXAMPLES.glob("*.spat"))
    for path in files:
        app.env.note_dependency(str(path))
    drawn = status_iterator(files, "drawing examples... ", length=len(files), stringify_func=lambda path: path.stem)
    source[0] = source[0].replace(MARK, "\n".join(section(path, folder) for path in drawn))


def section(path: Path, folder: Path) -> str:
    """One pattern as Markdown; its picture is written to `folder`, which the page knows as `_images`."""
    pattern = next(each for each in parse(read(str(path))).definitions if each.kind == "pattern")
    n = _length(path)
    cost = json.loads(_run("cost", str(path), "--n", str(n), *BOUND, "--json"))
    return "\n\n".join(
        [
            f"## {path.stem}",
            _linked(pattern.doc or ""),
            *(f"- {each}" for each in _facts(cost)),
            f"```spat\n{pattern.span.text}\n```",
            picture(path, folder),
            _linked(_remarks(path.read_text(encoding="utf-8"))),
            f"[examples/{path.name}](../examples/{path.name})\n",
        ]
    )


def picture(path: Path, folder: Path) -> str:
    """The mask of one pattern, written to `folder`, as HTML."""
    _run("show", str(path), *BOUND, "-o", str(folder / f"{path.stem}.svg"))
    alt = f"The mask of {path.stem} at n = {_length(path)}"
    return f'<img src="_images/{path.stem}.svg" alt="{alt}" style="max-width: 100%">'


def _length(path: Path) -> int:
    """The number of keys that `sparsec show` chooses."""
    return telling_length(lower(parse(read(str(path))), heads=8, layer=0, layers=8))


def _facts(cost: dict) -> list[str]:
    """The class, the density, and the number of pairs as a formula where one was found."""
    formulas = [part["closed_form"] for part in cost["conditions"] if part["closed_form"]]
    kept = [f"pairs: `{formulas[0]}`"] if len(cost["conditions"]) == len(formulas) == 1 else []
    return [f"class: `{cost['complexity']}`", *kept, f"density at n = {cost['n']:,}: {100 * cost['density']:.3g} %"]


def _remarks(text: str) -> str:
    """The comment that a file begins with: where it differs from its paper."""
    return " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), text.splitlines()))


def _linked(text: str) -> str:
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def _run(*arguments: str) -> str:
    """What a command prints."""
    with redirect_stdout(io.StringIO()) as printed:
        sparsec(arguments, standalone_mode=False)
    return printed.getvalue()
