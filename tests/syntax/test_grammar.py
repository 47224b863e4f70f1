"""The grammar file itself."""

import lark
import pytest

from sparsec import resources


def test_lalr_strict():
    """No conflict between rules and none between terminals."""
    pytest.importorskip("interegular", reason="Lark's strict mode compares terminals with it")
    lark.Lark(resources.text("grammar/spat.lark"), start="file", parser="lalr", lexer="basic", strict=True)


def test_fits_on_one_screen():
    lines = resources.text("grammar/spat.lark").splitlines()
    assert len(lines) <= 66
    assert max(map(len, lines)) <= 120
