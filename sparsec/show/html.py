"""One page that needs nothing else: pan, zoom, hover, and sliders that evaluate the pattern anew in the browser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np

from sparsec.ir.algebra import disjunction
from sparsec.ir.nodes import Pattern, Set
from sparsec.lower.symbolic import Open
from sparsec.show.colour import PALETTE
from sparsec.show.ranks import OverRanks, divided
from sparsec.show.raster import View, densities
from sparsec.show.svg import svg

LONGEST = 1 << 20  # keys that the slider reaches
_TILE = 64
_NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'  # within a page it is known

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
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
<div id="picture">
<div id="keys" class="axis"></div>
<div id="queries" class="axis"></div>
<canvas id="mask"></canvas>
</div>
<p id="view"></p>
<div id="buttons">
<button id="in">zoom in</button><button id="out">zoom out</button><button id="whole">whole mask</button>
</div>
</div>
<div>
<div id="controls"></div>
<p id="error" role="alert"></p>
<div id="legend"></div>
<p id="total"></p>
<p id="hover">Point at the mask; drag to pan, turn the wheel to zoom.</p>
</div>
</main>
{ranks}<pre>{text}</pre>
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
    """An operand of the union as written, its node with the parameters left open, and its set with them bound."""

    label: str
    node: Open
    set: Set


@dataclass(frozen=True)
class Subject:
    """A pattern as a page needs it; `names` binds the parameters and, where they occur, h, H, layer and L."""

    name: str
    doc: str
    text: str
    names: Mapping[str, int]
    operands: tuple[Operand, ...]


def html(
    subject: Subject, n: int, queries: range, view: View, tile: int | None = None, ranks: OverRanks | None = None
) -> str:
    """The page; it shows the view at first.  Counts of it that take long in a browser are written into the page.

    `ranks`: the mask with their bands, and what each gets from each, at this n alone.
    """
    names = {"n": n, **subject.names}
    call = {} if queries == range(n) else {"n_q": len(queries), "q_offset": queries.start}
    shown = {"q": view.queries[0], "k": view.keys[0], "high": view.shape[0], "wide": view.shape[1]}
    shares, sure = densities([operand.set for operand in subject.operands], n, view)
    counts = np.rint(shares * (view.shape[0] * view.shape[1])).astype(np.int64).tolist()
    data = {
        "names": names,
        "call": call,
        "parts": [{"label": operand.label, "node": operand.node} for operand in subject.operands],
        "controls": [_control(name, value, names) for name, value in (names | call).items() if name not in ("H", "L")],
        "colours": ["#{:02x}{:02x}{:02x}".format(*colour) for colour in PALETTE],
        "tile": tile or _TILE,
        "view": shown,
        "known": {"names": names, "view": shown, "counts": counts} if sure else None,
    }
    return _PAGE.format(
        name=escape(subject.name),
        doc=escape(subject.doc),
        text=escape(subject.text),
        ranks=_over_ranks(subject, n, view, ranks) if ranks else "",
        data=json.dumps(data).replace("<", "\\u003c"),  # so that no text of the user ends the element
        style=_file("page.css"),
        evaluator=_file("mask.js"),
        script=_file("page.js"),
    )


def _over_ranks(subject: Subject, n: int, view: View, ranks: OverRanks) -> str:
    """A picture that does not change with the controls."""
    whole = disjunction(*(operand.set for operand in subject.operands))
    pattern = Pattern(subject.name, "", "", (), (whole,))
    picture = svg(pattern, n, view, operands=[divided(whole, ranks)], ranks=ranks)
    return f'<div class="ranks">\n{picture.replace(_NAMESPACE, "")}</div>\n'


def _control(name: str, value: int, names: Mapping[str, int]) -> dict[str, str | int]:
    match name:
        case "n":
            return {"name": name, "least": 1, "most": max(value, min(LONGEST, max(4096, 4 * value)))}
        case "n_q":
            return {"name": name, "least": 1, "most": max(1024, 4 * value)}
        case "q_offset":
            most = max(names["n"], 2 * abs(value))
            return {"name": name, "least": -most, "most": most}
        case "h":
            return {"name": name, "least": 0, "most": names["H"] - 1}
        case "layer":
            return {"name": name, "least": 0, "most": names["L"] - 1 if "L" in names else max(64, 2 * value)}
    return {"name": name, "least": min(0, 2 * value), "most": max(16, 4 * value)}


def _file(name: str) -> str:
    return files("sparsec.show").joinpath(name).read_text(encoding="utf-8")
