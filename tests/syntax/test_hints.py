"""Slips of somebody's first minutes, and the cure that is offered."""

import pytest

from sparsec.diagnostics import SparsecError
from sparsec.source import Source
from sparsec.syntax.parse import parse

DECLARED = "a declaration is written `pattern name = ...` or `set name = ...`"


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("pattern mine(w = 64): past(w)", "a declaration is written `pattern name(w = 64) = ...`"),
        ("pattern my-pattern = causal", "names are made of letters, digits and `_`"),
        ("mine = causal", DECLARED),
        ("mine.spat", DECLARED),
        ("pattern p = causal q = causal", DECLARED),
        ("pattern p = k in 0:4", "a range is written `first..last`"),
    ],
)
def test_cure(text, cure):
    with pytest.raises(SparsecError) as raised:
        parse(Source("mine.spat", text))
    assert cure in str(raised.value)
