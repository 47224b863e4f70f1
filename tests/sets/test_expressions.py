"""What is printed has the value that it had as a set."""

from __future__ import annotations

import islpy as isl
from hypothesis import given
from hypothesis import strategies as st

from sparsec.ir import nodes as ir
from sparsec.sets import from_isl
from sparsec.sets.context import context
from sparsec.sets.to_isl import function, points

EDGES = ("n", "q_lo", "q_hi")
SPACE = isl.Space.create_from_names(context(), set=["k"], params=list(EDGES))
DOMAIN = isl.Set.read_from_str(context(), "[n, q_lo, q_hi] -> { : n >= 1 and 0 <= q_lo and q_lo + 15 <= q_hi }")

_names = st.sampled_from([ir.Var(name) for name in EDGES])
_small, _sizes = st.integers(-20, 20).map(ir.Const), st.integers(1, 20)


def _deeper(part: st.SearchStrategy[ir.Int]) -> st.SearchStrategy[ir.Int]:
    return st.one_of(
        *(st.builds(kind, part, part) for kind in (ir.Add, ir.Sub, ir.Min, ir.Max)),
        *(st.builds(kind, part, _sizes) for kind in (ir.FloorDiv, ir.Mod)),
        st.builds(ir.Mul, st.integers(-5, 5).map(ir.Const), part),
        st.builds(ir.Abs, part),
        st.builds(lambda a, op, b, c, d: ir.Select(ir.Compare(a, op, b), c, d), part, _operators, part, part, part),
    )


_operators = st.sampled_from(("<", "<=", "==", "!=", ">=", ">"))
integers = st.recursive(_names | _small, _deeper, max_leaves=6)
_comparisons = st.builds(ir.Compare, integers, _operators, integers)
conditions = st.recursive(
    _comparisons,
    lambda part: st.builds(ir.And, st.tuples(part, part)) | st.builds(ir.Or, st.tuples(part, part)),
    max_leaves=3,
)
places = st.tuples(st.integers(1, 99), st.integers(0, 200), st.integers(15, 60)).map(
    lambda drawn: {"n": drawn[0], "q_lo": drawn[1], "q_hi": drawn[1] + drawn[2]}
)


def value(node: ir.Int, at: dict[str, int]) -> int:
    """Python's own value of an integer."""
    match node:
        case ir.Const(number):
            return number
        case ir.Var(name):
            return at[name]
        case ir.FloorDiv(left, divisor):
            return value(left, at) // divisor
        case ir.Mod(left, divisor):
            return value(left, at) % divisor
        case ir.Abs(inner):
            return abs(value(inner, at))
        case ir.Select(test, then, other):
            return value(then if holds(test, at) else other, at)
    pair = value(node.left, at), value(node.right, at)
    operations = {ir.Add: sum, ir.Sub: lambda p: p[0] - p[1], ir.Mul: lambda p: p[0] * p[1], ir.Min: min, ir.Max: max}
    return operations[type(node)](pair)


def holds(node: ir.Set, at: dict[str, int]) -> bool:
    match node:
        case ir.Bool(truth):
            return truth
        case ir.And(parts):
            return all(holds(part, at) for part in parts)
        case ir.Or(parts):
            return any(holds(part, at) for part in parts)
        case ir.Compare(left, op, right):
            a, b = value(left, at), value(right, at)
            return {"<": a < b, "<=": a <= b, "==": a == b, "!=": a != b, ">=": a >= b, ">": a > b}[op]
    raise TypeError(node)


@given(integers, st.lists(places, min_size=8, max_size=8))
def test_integers(node, some):
    read = function(node, SPACE.params())
    printed = from_isl.integer(read, DOMAIN)
    for at in some:
        assert value(printed, at) == value(node, at)
    assert DOMAIN.is_subset(function(printed, SPACE.params()).eq_set(read))


@given(conditions, st.lists(places, min_size=8, max_size=8))
def test_conditions(node, some):
    read = points(node, SPACE.params())
    printed = from_isl.condition(read, DOMAIN)
    for at in some:
        assert holds(printed, at) == holds(node, at)
