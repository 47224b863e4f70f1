"""The keys that a decoder holds, against steps of the dense reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from support.affine_conditions import CAUSAL, columns, first, past, same_block, stride, window

from sparsec.analysis.decoder_cache import decoder_cache
from sparsec.ir import nodes as ir
from sparsec.ir.reference import evaluate
from sparsec.sets import kv_cache
from sparsec.testing.programs import conditions, tables, terms

N = 20  # lengths that are looked at
FAR = 700  # the last step; whatever small numbers let a step see is seen by an earlier one


def held_keys(condition: ir.Set, last: int = FAR) -> list[set[int]]:
    """For each n up to N, the keys below n that a step with n, ..., `last` keys sees."""
    if "n" in ir.names(condition) or ir.leaves(condition):
        rows = [evaluate(condition, np.array([q]), np.arange(N), q + 1)[0] for q in range(last)]
    else:
        rows = evaluate(condition, np.arange(last), np.arange(N), last)
    seen = np.array(rows) & (np.arange(N) <= np.arange(last)[:, None])
    later = np.logical_or.accumulate(seen[::-1])[::-1]  # row q: by q or a later step
    return [{k for k in range(n) if later[n - 1, k]} for n in range(1, N + 1)]


@given(conditions(1))
def test_formulas_count_what_steps_see(condition):
    cache = decoder_cache(condition)
    real = held_keys(condition)
    if cache.form is not None:
        assert [cache.form(n) for n in range(1, N + 1)] == [len(keys) for keys in real]
        assert cache.tight
    if cache.most is not None:
        assert cache.most >= max(map(len, real))
    if cache.bounded is False:
        soon, late = (max(map(cache.form, range(n, n + 2520))) for n in (1000, 50_000))
        assert late > soon


@given(conditions(1, terms() | tables()))
def test_tables_are_bounded_from_above(condition):
    cache = decoder_cache(condition)
    real = held_keys(condition, last=60)
    if cache.form is not None:
        assert all(cache.form(n) >= len(keys) for n, keys in enumerate(real, 1))
    if cache.most is not None:
        assert cache.most >= max(map(len, real))


SINKS = ir.And((CAUSAL, ir.Compare(ir.Var("k"), "<", ir.Const(4))))


@pytest.mark.parametrize(
    ("condition", "most", "formula"),
    [
        (past(512), 512, "512 for n >= 513; n for n <= 512"),
        (window(512), 257, "257 for n >= 258; n for n <= 257"),
        (ir.Or((past(512), SINKS)), 516, "516 for n >= 517; n for n <= 516"),
        (ir.Or((window(512), first(64))), 321, "321 for n >= 322; n for n <= 321"),
        (CAUSAL, None, "n"),
        (ir.And((CAUSAL, stride(8))), None, "n"),
        (ir.And((past(64), stride(8))), 57, "57 for n >= 58; n for n <= 57"),
        (ir.And((CAUSAL, columns(16, 1))), None, "(n//16)"),
        (ir.And((CAUSAL, same_block(3000))), 3000, None),
        (ir.Or((past(64), ir.And((CAUSAL, columns(64, 64))))), None, "n"),
        (ir.Blocks(16, ((0,), (0, 1))), 32, None),
        (ir.And((past(40), ir.RandomKeys(4, 0))), 40, None),
    ],
)
def test_of_published_patterns(condition, most, formula):
    cache = decoder_cache(condition)
    assert cache.most == most
    assert cache.bounded is (most is not None)
    if formula is not None:
        assert cache.form.text == formula


def test_what_tables_may_draw_is_not_called_unbounded():
    cache = decoder_cache(ir.And((CAUSAL, ir.RandomBlocks(16, 1, 0, past=True))))
    assert (cache.bounded, cache.most, cache.tight, cache.form.text) == (None, None, False, "n")


@pytest.mark.parametrize(
    ("condition", "length"), [(past(512), 513), (window(8), 6), (CAUSAL, None), (ir.Or((past(9), SINKS)), None)]
)
def test_when_the_first_key_is_dropped(condition, length):
    assert kv_cache.dropped(condition) == length
