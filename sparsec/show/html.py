"""One page that needs nothing else: pan, zoom, hover, and sliders that evaluate the pattern anew in the browser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from sparsec.ir.lower_open import Open
from sparsec.show.colour import PALETTE
from sparsec.show.raster import View

LONGEST = 1 << 20  # keys that the slider reaches
_TILE = 64

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{name}</title>
<style>
{style}</style>
</head>
<body>
<h1>{name}</h1>
<p>{doc}</p>
<main>
<div>
<canvas id="mask" width="512" height="512"></canvas>
<p id="view"></p>
<button id="in">zoom in</button> <button id="out">zoom out</button> <button id="whole">whole mask</button>
</div>
<div>
<div id="controls"></div>
<p id="error" role="alert"></p>
<div id="legend"></div>
<p id="total"></p>
<p id="hover">Point at the mask; drag to pan, turn the wheel to zoom.</p>
</div>
</main>
<pre>{text}</pre>
<script type="application/json" id="data">{data}</script>
<script>
{evaluator}</script>
<script>
{script}</script>
</body>
</html>
"""


@dataclass(frozen=True)
class Operand:
    """An operand of the union as written, and its node with the parameters left open."""

    label: str
    node: Open


@dataclass(frozen=True)
class Subject:
    """A pattern as a page needs it; `names` binds n, the parameters and, where they occur, h, H, layer and L."""

    name: str
    doc: str
    text: str
    names: Mapping[str, int]
    operands: tuple[Operand, ...]


def html(subject: Subject, view: View, tile: int | None = None) -> str:
    """The page; it shows the view at first, made square and at least as large."""
    length = max(view.shape)
    first = [min(span[0], subject.names["n"] - length) for span in (view.queries, view.keys)]
    data = {
        "names": dict(subject.names),
        "parts": [vars(operand) for operand in subject.operands],
        "controls": [
            _control(name, value, subject.names) for name, value in subject.names.items() if name not in ("H", "L")
        ],
        "colours": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in PALETTE],
        "tile": tile or _TILE,
        "view": {"q": first[0], "k": first[1], "length": length},
    }
    return _PAGE.format(
        name=escape(subject.name),
        doc=escape(subject.doc),
        text=escape(subject.text),
        data=json.dumps(data).replace("<", "\\u003c"),  # so that no text of the user ends the element
        style=_file("page.css"),
        evaluator=_file("mask.js"),
        script=_file("page.js"),
    )


def _control(name: str, value: int, names: Mapping[str, int]) -> dict[str, str | int]:
    match name:
        case "n":
            return {"name": name, "least": 1, "most": max(value, min(LONGEST, max(4096, 4 * value)))}
        case "h":
            return {"name": name, "least": 0, "most": names["H"] - 1}
        case "layer":
            return {"name": name, "least": 0, "most": names["L"] - 1 if "L" in names else max(64, 2 * value)}
    return {"name": name, "least": min(0, 2 * value), "most": max(16, 4 * value)}


def _file(name: str) -> str:
    return files("sparsec.show").joinpath(name).read_text(encoding="utf-8")
