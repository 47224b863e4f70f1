"""What would grow without end, in size or in its numbers, is refused; below that everything is exact."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.diagnostics import EmptyPattern, SparsecError, TooWide
from sparsec.ir.nodes import Compare, walk
from sparsec.ir.ranges import needs_more
from sparsec.ir.reference import mask
from sparsec.lower.file import check_names, lower
from sparsec.lower.symbolic import open_operands
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.programs import conditions, integers, to_text

# ---------------------------------------------------------------- sizes


def doubling(first: str, grown: str, sets: int) -> str:
    """Sets that pass on what they were given, used twice."""
    lines = [f"set a{i}(x) = a{i - 1}({grown})" for i in range(1, sets)]
    return "\n".join([f"set a0(x) = {first}", *lines, f"pattern p = a{sets - 1}(q)"])


@pytest.mark.parametrize("first", ["k < x", "k in 0..x", "x in {k, q, n}", "0 < x < k"])
@pytest.mark.parametrize("grown", ["x + x", "max(x + k, x * 2 - q)", "min(x, x + 1)", "abs(x - k) + x // 2"])
def test_arguments_used_twice(first, grown):
    text = doubling(first, grown, 31)
    start = time.process_time()
    with pytest.raises(SparsecError, match="SP0803"):
        lower(parse(Source("p.spat", text)))
    with pytest.raises(SparsecError, match="SP0803"):
        open_operands(check_names(parse(Source("p.spat", text))).own["p"])
    assert time.process_time() - start < 2


def test_long_memberships():
    members = " + ".join(["q"] * 99)
    text = f"set a(x) = x in {{{', '.join(['k'] * 900)}}}\npattern p = a({members})"
    with pytest.raises(SparsecError, match="SP0803"):
        lower(parse(Source("p.spat", text)))


@settings(max_examples=30)
@given(st.integers(1, 40), st.sampled_from(["x + x", "max(x + k, x * 2 - q)", "x + 1", "x"]))
def test_accepted_conditions_are_small_when_written_out(sets, grown):
    try:
        pattern = lower(parse(Source("p.spat", doubling("k < x % 7", grown, sets))))
    except SparsecError as error:
        assert [each.code for each in error.diagnostics] in (["SP0803"], ["SP0307"])  # 40 times 2 is 2**40
    else:
        assert sum(1 for _ in walk(pattern.conditions[0])) <= 40_000


# ---------------------------------------------------------------- numbers

large = st.integers(-(2**31) + 1, 2**31 - 1) | st.sampled_from((2**31 - 1, 2**30, 65_536, 3, -5))
wide_terms = st.builds(Compare, integers(3, large), st.sampled_from(("<", "<=", "==", "!=")), integers(2, large))


def in_python(text: str, n_q: int, n_k: int, offset: int) -> np.ndarray:
    """The condition by Python's own integers, pair by pair."""
    code = compile(text.replace("~", " not ").replace("&", " and ").replace("|", " or ").strip(), "condition", "eval")
    kept = [[bool(eval(code, {"q": q + offset, "k": k, "n": n_k})) for k in range(n_k)] for q in range(n_q)]
    return np.array(kept, bool).reshape(n_q, n_k)


@given(conditions(1, wide_terms), st.integers(0, 6), st.integers(0, 9), st.integers(-(2**31), 2**31))
def test_reference_with_large_numbers(condition, n_q, n_k, offset):
    np.testing.assert_array_equal(mask(condition, n_q, n_k, offset), in_python(to_text(condition), n_q, n_k, offset))


@given(conditions(1, wide_terms), st.integers(0, 6), st.integers(0, 9), st.integers(0, 2**30 - 9))
def test_texts_are_refused_or_fit_64_bits(condition, n_q, n_k, offset):
    text = to_text(condition)
    try:
        pattern = lower(parse(Source("p.spat", f"pattern p = {text}")))
    except SparsecError as error:
        kinds = {type(each) for each in error.diagnostics}
        assert TooWide not in kinds or needs_more(condition, 64)
        if kinds == {EmptyPattern}:
            assert not in_python(text, n_q, n_k, offset).any()
    else:
        assert not needs_more(pattern.conditions[0], 64)
        np.testing.assert_array_equal(mask(pattern.conditions[0], n_q, n_k, offset), in_python(text, n_q, n_k, offset))


def test_refused_by_every_road():
    import sparsec

    text = "pattern p = causal & (k * 1103515245 + 12345) * 1103515245 % 1000003 % 4 == 0"
    for road in (sparsec.compile, lambda text: sparsec.compile(sparsec.from_mask_mod(hashed, name="p"))):
        with pytest.raises(SparsecError, match="SP0307"):
            road(text)


def hashed(b, h, q, k):
    return (q >= k) & ((k * 1103515245 + 12345) * 1103515245 % 1000003 % 4 == 0)
