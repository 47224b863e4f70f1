"""What notebooks ask of a pattern."""

from __future__ import annotations

from xml.etree import ElementTree

import sparsec
from sparsec.show.figure import SIDE


def test_operator_and_pattern_show_themselves() -> None:
    attend = sparsec.compile("pattern p(w = 16) = past(w) & k != 3  # <script>&\n")
    for shown in (attend, attend.pattern):
        page = ElementTree.fromstring(shown._repr_html_())
        assert page.find("pre").text == attend.pattern.text
        drawn = ElementTree.fromstring(shown._repr_svg_())
        assert len([each for each in drawn.iter() if each.get("fill-opacity")]) > 64
        assert [each for each in drawn.iter() if each.get("width") == str(SIDE)]


def test_few_of_many_masks_are_drawn() -> None:
    attend = sparsec.compile("pattern p = past(2 ** h)", heads=7)
    assert "and 3 more masks" in attend._repr_html_()
    assert attend._repr_svg_().count("crispEdges") == 4
