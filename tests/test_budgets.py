"""Steps that questions get: from one table, shared under an allowance, and never a reason for a wrong answer later."""

import re
from pathlib import Path

import islpy as isl
import pytest

from sparsec.ir import nodes as ir
from sparsec.sets import budgets
from sparsec.sets.context import OutOfBudget, afford, allowance, budget, context, once, set_space, spend, within

PACKAGE = Path(__file__).parent.parent / "sparsec"


def test_all_budgets_stand_in_the_table():
    """Whoever gives steps names an entry, and every entry is somebody's."""
    texts = [path.read_text() for path in PACKAGE.rglob("*.py") if "_data" not in path.parts]
    used = {name for text in texts for name in re.findall(r"\bbudgets\.([A-Z_]+)", text)}
    assert used == {name for name in vars(budgets) if name.isupper() and not name.startswith("_")}
    assert not [text for text in texts if re.search(r"\b(budget|allowance|within)\((\d|_[A-Z])", text)]


def test_budgets_share_an_allowance():
    with allowance(1000) as allowed:
        with budget(10_000):
            spend(600)
        assert not allowed.cut
        with pytest.raises(OutOfBudget), budget(10_000):
            spend(600)
        assert allowed.cut
        with pytest.raises(OutOfBudget), budget(10):
            set_space("q")
    with budget(10_000):
        spend(600)


def test_an_inner_allowance_has_no_more_than_the_outer():
    with allowance(100) as outer:
        with allowance(1000) as inner:
            assert not afford(500)
            assert afford(60)
        assert inner.cut
        assert outer.cut
        assert not afford(60)
        assert afford(40)


def test_what_a_small_allowance_cut_short_is_not_remembered():
    asked = []

    @within(1000)
    def answer(wanted: int) -> bool:
        asked.append(wanted)
        return afford(wanted)

    with allowance(100):
        assert not answer(500)
    assert answer(500)
    assert answer(500)
    assert not answer(2000)
    assert not answer(2000)
    assert asked == [500, 500, 2000]


def test_many_divisions_get_fewer_steps():
    few, many = (
        ir.And(tuple(ir.Compare(ir.Mod(ir.Var("q"), m), "!=", ir.Const(0)) for m in range(2, 2 + n))) for n in (7, 32)
    )
    assert budgets.scaled(1600, few) == 1600
    assert budgets.scaled(1600, many) == 100
    assert budgets.scaled(1600, *many.parts) == 100
    assert budgets.scaled(1, many) == 1


def test_divisions_of_different_terms_do_not_meet():
    divided = tuple(ir.Compare(ir.Mod(ir.Var("q"), m), "==", ir.Const(0)) for m in range(2, 11))
    assert budgets.many_divisions(ir.And(divided))
    assert budgets.many_divisions(ir.Or((ir.Bool(True), ir.Not(ir.And(divided)))))
    assert not budgets.many_divisions(ir.Or(divided))
    assert not budgets.many_divisions(ir.And((divided[0], ir.Or(divided))))


def test_a_question_that_failed_is_asked_again_with_more_steps_only():
    asked = []

    def answer() -> isl.Set:
        def make() -> isl.Set:
            asked.append(1)
            spend(1000)
            return isl.Set.universe(set_space("q"))

        return once("a question", make)

    answer()  # without a budget nothing fails
    for steps, times in ((500, 2), (500, 2), (400, 2), (900, 3)):
        with pytest.raises(OutOfBudget), budget(steps):
            answer()
        assert len(asked) == times
    with allowance(100) as allowed, pytest.raises(OutOfBudget), budget(5000):
        answer()
    assert allowed.cut  # who remembers answers is told that there were fewer steps than given


def test_a_set_is_made_once_and_charged_each_time():
    """So what is found within a budget does not depend on what was asked before."""
    made, left = [], []

    def make() -> isl.Set:
        made.append(1)
        spend(1000)
        return isl.Set.universe(set_space("q"))

    for _ in range(3):
        with allowance(100_000) as allowed, budget(50_000):
            assert once("another question", make).is_equal(isl.Set.universe(set_space("q")))
        left.append(allowed.left)
    assert made == [1]
    assert max(left) - min(left) < 200  # beside the thousand: what looking takes
    assert max(left) <= 99_000
    for _ in range(2):
        with pytest.raises(OutOfBudget), budget(900):
            once("another question", make)


def test_a_set_that_was_made_before_is_not_changed_by_questions():
    """lexmin takes constraints off the very object that it is asked about."""
    text = "[n] -> { [q] : 2 * (q // 2) = q and 0 <= q < n }"
    expected = isl.Set(text, context())
    with budget(100_000):
        for _ in range(3):
            found = once("a third question", lambda: isl.Set(text, context()))
            assert found.is_equal(expected)
            found.lexmin_pw_multi_aff()
            found.lexmax_pw_multi_aff()


def test_what_cost_may_take_is_under_two_seconds():
    parts = budgets.COMPLEXITY, budgets.COST, budgets.BESIDE, budgets.LAYOUT
    assert sum(parts) < 2_000_000
