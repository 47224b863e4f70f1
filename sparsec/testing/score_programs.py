"""Hypothesis strategies for scores: texts of real expressions, which are Python's too but for their conditions."""

from __future__ import annotations

from hypothesis import strategies as st

_LEAVES = ("s", "s", "s", "0.5", "2", "1.25", "q", "(q - k)", "k", "h", "n / 100", "H")
_TESTS = ("q - k < 5", "k < 7", "h == 0", "(q - k) % 3 == 0", "q // 4 == k // 4 & h < 2", "~(k == q) | n < 40")


def expressions(depth: int = 3) -> st.SearchStrategy[str]:
    """Texts of real expressions in brackets, defined everywhere; they may grow large."""
    leaf = st.sampled_from(_LEAVES)
    if depth == 0:
        return leaf
    part = expressions(depth - 1)
    one = st.sampled_from((
        "tanh({0})", "exp(-abs({0}))", "log(abs({0}) + 1.0)", "sqrt(abs({0}) + 0.1)", "abs({0})", "(-{0})",
        "2 ** min({0}, 3)",
    ))  # fmt: skip
    two = st.sampled_from((
        "({0} + {1})", "({0} - {1})", "({0} * {1})", "({0} / (abs({1}) + 1.0))", "min({0}, {1})", "max({0}, {1}, 0.25)",
    ))  # fmt: skip
    return st.one_of(
        leaf,
        st.builds(lambda form, x: form.format(x), one, part),
        st.builds(lambda form, x, y: form.format(x, y), two, part, part),
        st.builds(lambda x, test, y: f"({x} if {test} else {y})", part, st.sampled_from(_TESTS), part),
    )


def score_programs(depth: int = 3) -> st.SearchStrategy[str]:
    """Declarations of one score `x`, mostly between -4 and 4 above s, so that a softmax of them tells keys apart."""
    bounded = expressions(depth).map(lambda text: f"s + 4 * tanh({text} / 4)")
    return (bounded | bounded | expressions(1)).map(lambda text: f"score x = {text}\n")
