"""Random affine conditions, and the prelude's sets, for the tests of this folder."""

from hypothesis import strategies as st

from sparsec.ir import nodes as ir

Q, K, N = ir.Var("q"), ir.Var("k"), ir.Var("n")
CAUSAL = ir.Compare(K, "<=", Q)
DISTANCE = ir.Sub(Q, K)


def past(w: int) -> ir.Set:
    return ir.And((ir.Compare(ir.Const(0), "<=", DISTANCE), ir.Compare(DISTANCE, "<", ir.Const(w))))


def window(w: int) -> ir.Set:
    return ir.Compare(ir.Abs(DISTANCE), "<=", ir.Const(w // 2))


def stride(s: int) -> ir.Set:
    return ir.Compare(ir.Mod(DISTANCE, s), "==", ir.Const(0))


def first(g: int) -> ir.Set:
    return ir.Or((ir.Compare(Q, "<", ir.Const(g)), ir.Compare(K, "<", ir.Const(g))))


def same_block(b: int) -> ir.Set:
    return ir.Compare(ir.FloorDiv(Q, b), "==", ir.FloorDiv(K, b))


def columns(length: int, c: int) -> ir.Set:
    return ir.Compare(ir.Mod(K, length), ">=", ir.Const(length - c))


_small = st.integers(-6, 6).map(ir.Const)
_sizes = st.integers(1, 7)
_positions = st.sampled_from([Q, K, DISTANCE, ir.Sub(K, Q), ir.Add(Q, K), N, ir.Sub(N, K)])
_integers = st.one_of(
    _positions,
    st.builds(ir.FloorDiv, _positions, _sizes),
    st.builds(ir.Mod, _positions, _sizes),
    st.builds(ir.Abs, _positions),
    st.builds(ir.Add, _positions, _small),
    st.builds(lambda factor, value: ir.Mul(ir.Const(factor), value), st.integers(-3, 3), _positions),
    st.builds(ir.Min, _positions, _small),
    st.builds(ir.Max, _positions, _positions),
)
_comparators = st.sampled_from(["<", "<=", "==", "!=", ">=", ">"])
_atoms = st.one_of(
    st.builds(ir.Compare, _integers, _comparators, st.one_of(_small, _integers)),
    st.builds(ir.Member, _integers, st.sets(st.integers(-4, 9), min_size=1, max_size=4).map(lambda s: (*sorted(s),))),
)


def _joined(parts: st.SearchStrategy) -> st.SearchStrategy:
    several = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.one_of(st.builds(ir.And, several), st.builds(ir.Or, several), st.builds(ir.Not, parts))


conditions = st.recursive(_atoms, _joined, max_leaves=4)
tables = st.one_of(
    st.builds(
        ir.Blocks,
        st.integers(1, 5),
        st.lists(st.sets(st.integers(0, 6), max_size=3).map(sorted).map(tuple), max_size=5).map(tuple),
    ),
    st.builds(ir.RandomBlocks, st.integers(1, 5), st.integers(0, 3), st.integers(0, 9), st.booleans()),
    st.builds(ir.RandomKeys, st.integers(0, 3), st.integers(0, 9)),
)
with_tables = st.recursive(st.one_of(_atoms, tables), _joined, max_leaves=4).filter(ir.leaves)
