"""SVG and views: exact against the reference, and wrong spans are usage errors."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sparsec.cli import app
from sparsec.ir import reference
from sparsec.ir.nodes import Compare, Pattern, Var
from sparsec.show import View, svg
from sparsec.show.raster import densities, raster
from sparsec.show.shapes import INK

CAUSAL = Compare(Var("k"), "<=", Var("q"))
SPANS = st.tuples(st.integers(0, 59), st.integers(1, 60)).map(lambda s: (min(s[0], s[1] - 1), s[1]))
FILE = "pattern p(w = 16) = past(w) | sinks(4)\n"


@given(SPANS, SPANS)
def test_a_view_is_a_slice_of_the_mask(queries: tuple[int, int], keys: tuple[int, int]) -> None:
    view = View(queries, keys)
    mask = reference.mask(CAUSAL, 60, 60)[slice(*queries), slice(*keys)]
    assert (raster((CAUSAL,), 60, 60, 60, view).kept[0] == mask).all()
    assert np.isclose(densities((CAUSAL,), 60, view)[0].sum(), mask.mean())


@pytest.mark.parametrize("view", [View((0, 10**6), (0, 5000)), View((500_000, 500_100), (0, 10**6))])
def test_every_cell_of_an_oblong_view_is_looked_at(view: View) -> None:
    assert raster((CAUSAL,), 10**6, 96, 96, view).seen.all()


def test_tiles_are_solid_dashed_or_left_out() -> None:
    tree = ElementTree.fromstring(svg(Pattern("<p>", "", "", (), (CAUSAL,), ()), 64, View((0, 64), (0, 64)), tile=16))
    outlines = [each for each in tree.iter() if each.get("stroke") == INK]
    dashed = [each for each in outlines if each.get("stroke-dasharray")]
    assert (len(outlines), len(dashed)) == (10, 4)


def test_command_writes_a_whole_file(tmp_path: Path) -> None:
    source, target = tmp_path / "p.spat", tmp_path / "p.svg"
    source.write_text(FILE)
    result = CliRunner().invoke(
        app, ["show", str(source), "--n", "1024", "--q", "0:512", "--k", ":512", "-o", str(target)]
    )
    assert result.exit_code == 0, result.output
    assert ElementTree.parse(target).getroot().tag.endswith("svg")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["p.spat", "p.svg"]


@pytest.mark.parametrize(
    "options", [["--q", "5:5"], ["--k", "0:9999"], ["--q", "x"], ["--tile", "64"], ["-o", "a.gif"]]
)
def test_usage_errors(tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "p.spat"
    source.write_text(FILE)
    assert CliRunner().invoke(app, ["show", str(source), *options]).exit_code == 2
