"""Nodes as keys: equal trees have one hash, which is worked out once."""

from __future__ import annotations

import pickle
from dataclasses import replace

from hypothesis import given

from sparsec.ir import nodes as ir
from sparsec.testing.programs import conditions


def again(node: object) -> object:
    """The same tree from new nodes."""
    if isinstance(node, tuple):
        return tuple(map(again, node))
    fields = getattr(node, "__match_args__", None)
    return type(node)(*(again(getattr(node, name)) for name in fields)) if fields else node


@given(conditions())
def test_equal_trees_have_one_hash(condition: ir.Set) -> None:
    before = hash(condition)
    other = again(condition)
    assert other == condition
    assert hash(other) == before
    assert hash(pickle.loads(pickle.dumps(condition))) == before


def test_a_hash_is_worked_out_once() -> None:
    asked = []

    class Counted(int):
        def __hash__(self) -> int:
            asked.append(self)
            return super().__hash__()

    node = ir.Compare(ir.Add(ir.Var("q"), ir.Const(Counted(3))), "<", ir.Var("k"))
    for _ in range(3):
        hash(ir.Or((node, ir.Not(node))))
    assert asked == [3]


def test_a_hash_is_of_the_kind_and_of_the_fields_that_are_there() -> None:
    node = ir.Add(ir.Var("q"), ir.Const(3))
    assert hash(node) != hash(ir.Sub(ir.Var("q"), ir.Const(3)))
    assert node != ir.Sub(ir.Var("q"), ir.Const(3))
    changed = replace(node, right=ir.Const(4))
    assert hash(changed) == hash(ir.Add(ir.Var("q"), ir.Const(4))) != hash(node)
