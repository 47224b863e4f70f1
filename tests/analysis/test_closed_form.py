import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.affine_conditions import CAUSAL, K, Q, columns, conditions, first, past, same_block, stride, window

from sparsec.analysis.closed_form import closed_form
from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask

TEXTS = {
    "full": (ir.TRUE, "n**2"),
    "causal": (CAUSAL, "n*(n + 1)/2"),
    "past": (past(512), "512*n - 130816 for n >= 511; n*(n + 1)/2 for n <= 510"),
    "window": (window(512), "513*n - 65792 for n >= 256; n**2 for n <= 255"),
    "stride": (stride(64), "(n**2 - (n % 64)**2 + 64*(n % 64))/64"),
    "causal stride": (ir.And((CAUSAL, stride(128))), "((n//128) + 1)*(n - 64*(n//128))"),
    "blocks": (same_block(64), "(n % 64)**2 + 4096*(n//64)"),
    "longformer": (ir.Or((window(512), first(64))), "641*n - 102720 for n >= 320; n**2 for n <= 319"),
    "columns": (
        columns(128, 8),
        "8*n*(n//128) + (n % 128 >= 120)*(n*(n - 128*(n//128) - 120)) for n >= 120; 0 for n <= 119",
    ),
    "a part of n": (ir.Compare(ir.Mul(ir.Const(2), K), "<=", ir.Var("n")), "n*(n//2) + n"),
    "empty": (ir.And((CAUSAL, ir.Compare(K, ">", Q))), "0"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(name):
    condition, text = TEXTS[name]
    assert closed_form(condition).text == text


@given(conditions, st.lists(st.integers(1, 60), min_size=3, max_size=6, unique=True))
def test_equals_the_dense_count(condition, lengths):
    form = closed_form(condition)
    if form is not None:
        assert [form(n) for n in lengths] == [mask(condition, n, n).sum() for n in lengths]


@pytest.mark.parametrize("name", TEXTS)
def test_holds_for_long_sequences_and_in_sympy(name):
    form = closed_form(TEXTS[name][0])
    expression = form.expression()
    (symbol,) = expression.free_symbols or {None}
    for n in (1, 63, 130, 511, 513):
        value = expression if symbol is None else expression.subs(symbol, n)
        assert form(n) == value == mask(TEXTS[name][0], n, n).sum()


def test_what_is_too_intricate_has_none():
    apart = ir.And(tuple(ir.Not(stride(s)) for s in (3, 5, 7)))
    assert closed_form(apart) is None
    assert closed_form(ir.Blocks(4, ((0,),))) is None
