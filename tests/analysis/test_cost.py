import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.affine_conditions import CAUSAL, conditions, past, window, with_tables

from sparsec.analysis import cost as of_cost
from sparsec.analysis.closed_form import closed_form
from sparsec.analysis.cost import cost
from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.lower.file import lower
from sparsec.sets.context import allowance
from sparsec.source import Source
from sparsec.syntax.parse import parse


def test_numbers_of_one_condition():
    found = cost(ir.Pattern("p", "", "", (("w", 512),), (past(512),)), 4096, head_size=64, heads=4)
    pairs = 512 * 4096 - 130816
    assert found.pairs == 4 * pairs
    assert found.forward_flops == 4 * 64 * 4 * pairs
    assert found.backward_flops == 10 * 64 * 4 * pairs
    assert found.density == pairs / 4096**2
    assert found.causal_density == pytest.approx(pairs / (4096 * 4097 / 2))
    assert found.bytes == 4 * 4096 * (4 * 64 * 2 + 4)
    assert found.conditions[0].closed_form.startswith("512*n - 130816")
    assert found.tiles.total == 4 * 64 * 64
    assert found.wasted == pytest.approx(1 - 4 * pairs / (found.tiles.visited * 64 * 64))


def test_heads_of_several_conditions():
    pattern = ir.Pattern("p", "", "", (), (past(64), CAUSAL, window(8)), (0, 0, 1, 2))
    found = cost(pattern, 100)
    assert found.heads == 4
    assert [part.heads for part in found.conditions] == [2, 1, 1]
    assert found.pairs == sum(part.heads * part.pairs for part in found.conditions)


def test_heads_without_a_formula_leave_steps_for_the_others(monkeypatch):
    text = (Path(__file__).parents[2] / "examples/longnet_heads.spat").read_text()
    pattern = lower(parse(Source("longnet_heads.spat", text)), heads=8)
    tried = []
    monkeypatch.setattr(of_cost, "closed_form", lambda condition: tried.append(condition) or closed_form(condition))
    found = cost(pattern, 4096)
    assert found.pairs == sum(int(mask(pattern.conditions[head], 4096, 4096).sum()) for head in pattern.head_conditions)
    assert 1 <= len(tried) < len(pattern.conditions)


def test_plain_data():
    found = cost(ir.Pattern("p", "", "", (), (ir.And((CAUSAL, ir.RandomBlocks(16, 2, 0))),)), 300).to_json()
    assert json.loads(json.dumps(found))["pairs"] == found["pairs"] > 0
    assert found["conditions"][0]["closed_form"] is None


def test_nothing_visited_wastes_nothing():
    assert cost(ir.Pattern("p", "", "", (), (ir.FALSE,)), 100).wasted == 0


@pytest.mark.parametrize("queries", [range(-3, 9), range(5, 6), range(40), range(30, 60)])
def test_other_calls_than_self_attention(queries):
    """More queries than keys, fewer, and some that stand before or beyond all keys."""
    n, kept = 40, mask(past(7), len(queries), 40, queries.start).sum()
    causal = mask(CAUSAL, len(queries), n, queries.start).sum()
    found = cost(ir.Pattern("p", "", "", (), (past(7),)), n, head_size=64, heads=2, queries=queries)
    assert found.pairs == 2 * kept
    assert found.density == kept / (len(queries) * n)
    assert found.causal_density == kept / causal
    assert found.bytes == 2 * (2 * 64 * 2 * (len(queries) + n) + 4 * len(queries))
    assert (found.conditions[0].closed_form is None) == (queries != range(n))
    plain = found.to_json()
    assert (plain["n_q"], plain["q_offset"]) == (len(queries), queries.start)
    assert json.loads(json.dumps(plain))["pairs"] == found.pairs


@settings(max_examples=40)
@given(st.one_of(conditions, with_tables), st.integers(1, 150), st.integers(0, 30_000))
def test_with_any_number_of_steps_nothing_wrong_is_said(condition, n, steps):
    """Wherever the steps run out, numbers are right or not there, and they are there for the next who asks."""
    pattern = ir.Pattern("p", "", "", (), (condition,))
    with allowance(steps):
        found = cost(pattern, n)
    whole = cost(pattern, n)
    assert whole.pairs == mask(condition, n, n).sum()
    assert whole.tiles is not None
    assert found.pairs in (None, whole.pairs)
    assert found.tiles in (None, whole.tiles)
