"""Random conditions whose windows, strides and blocks are as long as tiles, so that covers have gaps and full tiles."""

from hypothesis import strategies as st

from sparsec.ir import nodes as ir

Q, K, N = ir.Var("q"), ir.Var("k"), ir.Var("n")
DISTANCE = ir.Sub(Q, K)

_sizes = st.sampled_from((2, 3, 7, 16, 17, 24, 32, 40, 64, 70))
_shifts = st.integers(-40, 40)


def _compare(left, op, right) -> ir.Set:
    return ir.Compare(left, op, ir.Const(right) if isinstance(right, int) else right)


def _between(value: ir.Int, low: int, width: int) -> ir.Set:
    return ir.And((_compare(ir.Const(low), "<=", value), _compare(value, "<", low + width)))


def _square(width: int, reach: int) -> ir.Set:
    apart = (ir.Sub(kind(Q, width), kind(K, width)) for kind in (ir.FloorDiv, ir.Mod))
    return ir.And(tuple(_compare(ir.Abs(value), "<=", reach) for value in apart))


_terms = st.one_of(
    st.just(_compare(K, "<=", Q)),
    st.builds(_between, st.sampled_from((DISTANCE, ir.Sub(K, Q), ir.Add(Q, K), Q, K, ir.Sub(N, K))), _shifts, _sizes),
    st.builds(lambda s, r: _compare(ir.Mod(DISTANCE, s), "==", r % s), _sizes, _shifts),
    st.builds(lambda b, w: _compare(ir.Abs(ir.Sub(ir.FloorDiv(Q, b), ir.FloorDiv(K, b))), "<=", w % 3), _sizes, _sizes),
    st.builds(lambda g: ir.Or((_compare(Q, "<", g), _compare(K, "<", g))), _sizes),
    st.builds(lambda x, b, c: _compare(ir.Mod(x, b), ">=", c % b), st.sampled_from((Q, K)), _sizes, _sizes),
    st.builds(
        lambda a, b, c: _compare(ir.Mod(ir.Add(ir.Mul(ir.Const(a), Q), K), b), "==", c % b), _shifts, _sizes, _sizes
    ),
    st.builds(_square, _sizes, st.integers(0, 3)),
    st.builds(
        lambda x, items: ir.Member(x, tuple(sorted(items))),
        st.sampled_from((Q, K, DISTANCE, ir.Mod(K, 40))),
        st.sets(st.integers(0, 90), min_size=1, max_size=9),
    ),
    st.builds(lambda f: _compare(ir.Mul(ir.Const(f), K), "<=", Q), st.integers(2, 4)),
    st.builds(lambda w: _compare(ir.Min(Q, ir.Sub(ir.Add(K, ir.Const(w)), ir.FloorDiv(Q, 3))), "<=", K), _sizes),
)


def _joined(parts: st.SearchStrategy) -> st.SearchStrategy:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.one_of(st.builds(ir.And, several), st.builds(ir.Or, several), st.builds(ir.Not, parts))


terms = _terms
conditions = st.one_of(_terms, _joined(_terms), _joined(_joined(_terms)))

_strided = st.builds(
    lambda s, rest: ir.And((ir.Compare(ir.Mod(DISTANCE, s), "==", ir.Const(0)), rest)),
    st.integers(2, 20),
    terms,
)
_combed = st.builds(
    lambda p, first, width, rest: ir.And(
        (ir.Compare(ir.Mod(ir.Add(K, ir.Const(first)), p), "<", ir.Const(width)), rest)
    ),
    st.sampled_from((4, 9, 16, 24, 40)), st.integers(0, 30), st.integers(1, 4), terms,
)  # fmt: skip
_layered = st.lists(_strided | _combed | terms, min_size=1, max_size=4).map(tuple).map(ir.Or)
layered = _layered | st.builds(lambda a, b: ir.And((a, b)), terms, _layered)  # most of them come apart into layouts
