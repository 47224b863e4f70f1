"""Slips of somebody's first minutes, and the cure that is offered."""

import pytest

import sparsec
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


@pytest.mark.parametrize(
    ("condition", "cure"),
    [
        ("q_idx >= k", "the query's position is `q`"),
        ("q >= kv_idx", "the key's position is `k`"),
        ("k < seq_len", "the number of keys is `n`"),
        ("heads < 3 & causal", "the number of heads is `H`"),
        ("layer_idx < 3 & causal", "the layer is `layer`"),
        ("where(q > k, causal, full)", "a choice by position is `(a & b) | (c \\ a)`"),
    ],
)
def test_names_of_pytorch(condition, cure):
    with pytest.raises(SparsecError) as raised:
        sparsec.compile(f"pattern p = {condition}")
    assert cure in str(raised.value)
