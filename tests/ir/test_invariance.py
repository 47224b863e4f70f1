"""Periods along the diagonal, against masks that are moved by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from support.affine_conditions import CAUSAL
from support.generated import pattern_of

from sparsec.ir import nodes as ir
from sparsec.ir.invariance import diagonal_period
from sparsec.ir.reference import mask
from sparsec.testing.programs import conditions


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("past(100)", 1),
        ("causal & same_block(16) & k % 12 == 0", 48),
        ("abs(q // 8 - k // 8) <= 1 & abs(q % 8 - k % 8) <= 1", 8),
        ("q // 8 * 2 - k // 4 <= 3", 8),
        ("q // 8 * 3 - k // 4 <= 3", None),  # one side grows faster than the other
        ("past(100) | global(4)", None),
        ("n - k < 9", None),
        ("past(9) & ~random_keys(2, 1)", None),
        ("max(q, k) - min(q, k) < 5", 1),
        ("k // 1031 == q // 1021", None),  # further than it is looked for
    ],
)
def test_periods(text: str, period: int | None) -> None:
    assert diagonal_period(pattern_of(f"pattern p = {text}").conditions[0]) == period


@given(conditions())
def test_what_moves_by_a_period_stays(condition: ir.Set) -> None:
    period = diagonal_period(condition)
    if period is None or period > 300:
        return
    assert (mask(condition, 60, 60, 0) == mask(condition, 60, 60 + period, period)[:, period:]).all()


def test_causal() -> None:
    assert diagonal_period(CAUSAL) == 1
