"""Hypothesis strategies for random patterns: as conditions, and as the .spat text that says the same.

    @given(programs())
    def test(program):
        pattern = lower(parse(Source("random", program.text)), heads=program.heads)

The text is written from the condition, so `reference.mask` of `program.conditions` is what it has to mean.  Windows,
strides, blocks and their like are drawn more often than arbitrary inequalities, and numbers stay small, so that
lengths of a few dozen show every case.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from sparsec.ir import nodes
from sparsec.ir.inputs import CHOSEN_AXES, LABEL_AXES, Input, inputs_read
from sparsec.ir.nodes import (
    Abs,
    Add,
    And,
    Blocks,
    Bool,
    Chosen,
    Compare,
    Const,
    DataTest,
    ElementOf,
    FloorDiv,
    Grouped,
    Int,
    Max,
    Member,
    Min,
    Mod,
    Mul,
    Not,
    Or,
    RandomBlocks,
    RandomKeys,
    Read,
    Set,
    Sub,
    Var,
)  # fmt: skip

Q, K, N = Var("q"), Var("k"), Var("n")


@dataclass(frozen=True)
class Program:
    """A .spat text and what it means: one condition, or one for each of `heads` heads."""

    text: str
    conditions: tuple[Set, ...]
    heads: int | None = None
    inputs: tuple[Input, ...] = ()


# ---------------------------------------------------------------- integers and conditions

sizes = st.integers(1, 9)  # divisors, windows, strides
offsets = st.integers(-6, 6)


def integers(depth: int = 2, constants: st.SearchStrategy[int] = offsets) -> st.SearchStrategy[Int]:
    """Integers over q, k, n and constants, by default small; products have a constant side, divisors are at least 1."""
    leaf = st.sampled_from((Q, K)) | st.builds(Const, constants) | st.sampled_from((Q, K, N))
    if depth == 0:
        return leaf
    part = integers(depth - 1, constants)
    return st.one_of(
        leaf,
        st.builds(Sub, part, part),
        st.builds(Add, part, part),
        st.builds(FloorDiv, part, sizes),
        st.builds(Mod, part, sizes),
        st.builds(Mul, st.builds(Const, constants), part),
        st.builds(Mul, part, st.builds(Const, constants)),
        st.builds(Abs, part),
        st.builds(Min, part, part),
        st.builds(Max, part, part),
    )


def _comparisons(left: Int, right: st.SearchStrategy[Int]) -> st.SearchStrategy[Set]:
    return st.builds(Compare, st.just(left), st.sampled_from(("<", "<=", "==", "!=", ">=", ">")), right)


def _members(value: st.SearchStrategy[Int]) -> st.SearchStrategy[Set]:
    listed = st.lists(st.integers(-4, 20), min_size=2, max_size=6, unique=True)
    return st.builds(lambda value, items: Member(value, tuple(sorted(items))), value, listed)


_DISTANCE = Sub(Q, K)
_FAMILIAR = st.one_of(
    st.just(Compare(K, "<=", Q)),
    st.builds(
        lambda a, w: And((Compare(Const(a), "<=", _DISTANCE), Compare(_DISTANCE, "<", Const(a + w)))), offsets, sizes
    ),
    st.builds(lambda w: Compare(Abs(_DISTANCE), "<=", Const(w)), sizes),
    st.builds(lambda s, r: Compare(Mod(_DISTANCE, s), "==", Const(r % s)), sizes, sizes),
    st.builds(lambda b: Compare(FloorDiv(Q, b), "==", FloorDiv(K, b)), sizes),
    st.builds(lambda b, w: Compare(Abs(Sub(FloorDiv(Q, b), FloorDiv(K, b))), "<=", Const(w % 3)), sizes, sizes),
    st.builds(lambda g: Or((Compare(Q, "<", Const(g)), Compare(K, "<", Const(g)))), sizes),
    st.builds(lambda c, b: Compare(Mod(K, b), ">=", Const(b - c)), sizes, sizes),
    st.builds(lambda a, b, c: Compare(Mod(Add(Q, Mul(Const(a), K)), b), "==", Const(c % b)), offsets, sizes, sizes),
    st.builds(lambda w: Compare(Sub(N, K), "<=", Const(w)), sizes),
)


def terms() -> st.SearchStrategy[Set]:
    """One familiar condition, or an arbitrary comparison."""
    arbitrary = st.builds(Compare, integers(), st.sampled_from(("<", "<=", "==", "!=", ">=", ">")), integers(1))
    members = _members(st.sampled_from((Q, K, _DISTANCE, Mod(K, 8), Add(Q, K))))
    return st.one_of(_FAMILIAR, _FAMILIAR, _FAMILIAR, members, arbitrary, st.builds(Bool, st.booleans()))


def tables() -> st.SearchStrategy[Set]:
    """Blocks, random blocks and random keys, with small sizes."""
    rows = st.lists(st.lists(st.integers(0, 7), max_size=3, unique=True).map(sorted).map(tuple), min_size=1, max_size=6)
    return st.one_of(
        st.builds(Blocks, sizes, rows.map(tuple)),
        st.builds(RandomBlocks, sizes, st.integers(1, 4), st.integers(0, 99), st.booleans()),
        st.builds(RandomKeys, st.integers(1, 4), st.integers(0, 99)),
    )


INPUTS = {
    each.name: each
    for each in (
        Input("doc", "int", ("n",), 1),
        Input("reach", "int", ("B", "n"), 2),
        Input("place", "int", ("B", "H", "n"), 3),
        Input("m", "int", (), 4),
        Input("length", "int", ("B",), 5),
        Input("w", "int", ("H",), 6),
        Input("each", "int", ("B", "H"), 7),
        Input("some", "int", ("t",), 8),
        Input("vertical", "int", ("H", "t"), 9),
        Input("slash", "int", ("B", "H", "t"), 10),
        Input("cls", "bool", ("B", "n"), 11),
        Input("on", "bool", ("H",), 12),
        Input("off", "bool", (), 13),
        Input("flags", "bool", ("H", "t"), 14),
        Input("by_query", "blocks", (*CHOSEN_AXES, "t"), 15, (1, 4)),
        Input("by_block", "blocks", (*CHOSEN_AXES, "t"), 16, (16, 16)),
        Input("odd", "blocks", (*CHOSEN_AXES, "5"), 17, (3, 7)),
        Input("single", "keys", (*CHOSEN_AXES, "t"), 18),
        *(Input(name, "labels", LABEL_AXES, 19) for name in ("chunks", "clusters")),
    )
}


def chosen() -> st.SearchStrategy[Set]:
    """Sets that the call chooses: blocks for each query or for blocks of them, and keys."""
    lists = [each for each in INPUTS.values() if each.is_chosen]
    return st.sampled_from(lists).map(lambda each: DataTest(Chosen(each.name, *each.sizes)))


def grouped() -> st.SearchStrategy[Set]:
    """Sets of pairs that labels put together.  No text has such inputs: operators make them."""
    return st.sampled_from((DataTest(Grouped("chunks", True)), DataTest(Grouped("clusters", False))))


def data_tests() -> st.SearchStrategy[Set]:
    """Tests of data given at the call: inputs of every kind and shape, indices inside and outside, also nested ones."""
    index = st.sampled_from((Q, K, Q, K, Sub(Q, Const(1)), Add(K, Const(2)), Sub(Q, K), FloorDiv(Q, 3), Const(0)))
    entries = st.builds(Read, st.sampled_from(("doc", "reach", "place", "some", "vertical")), index)
    numbers = st.builds(Read, st.sampled_from(("m", "length", "w", "each")), st.none())
    nested = st.builds(Read, st.just("doc"), entries)
    read = st.one_of(entries, entries, numbers, nested)
    counted = st.one_of(
        read, st.builds(Add, read, st.sampled_from((Q, K, Const(1)))), st.builds(FloorDiv, read, sizes),
        st.builds(Max, read, st.sampled_from((K, Const(2)))), st.builds(Mul, st.builds(Const, offsets), read),
    )  # fmt: skip
    compare = st.sampled_from(("<", "<=", "==", "!=", ">=", ">"))
    other = st.one_of(st.sampled_from((Q, K, _DISTANCE, N)), st.builds(Const, sizes), counted)
    same = st.sampled_from(("doc", "reach")).map(lambda name: Compare(Read(name, Q), "==", Read(name, K)))
    bools = st.builds(Read, st.sampled_from(("cls", "flags")), index) | st.builds(
        Read, st.sampled_from(("on", "off")), st.none()
    )
    listed = st.sampled_from(("some", "vertical", "slash", "doc"))
    return st.one_of(
        same,
        st.builds(Compare, counted, compare, other),
        st.builds(Compare, other, compare, counted),
        st.builds(Compare, bools, st.just("!="), st.just(Const(0))),
        _members(entries),
        st.builds(ElementOf, st.one_of(st.sampled_from((Q, K, _DISTANCE)), entries), listed),
    ).map(DataTest)


def conditions(depth: int = 2, term: st.SearchStrategy[Set] | None = None) -> st.SearchStrategy[Set]:
    """Conditions of at most 3**depth terms, by default affine ones; `conditions(term=terms() | tables())` for all."""
    term = terms() if term is None else term
    if depth == 0:
        return term
    part = conditions(depth - 1, term)
    some = st.lists(part, min_size=2, max_size=3).map(tuple)
    return st.one_of(term, st.builds(Or, some), st.builds(And, some), st.builds(Not, part))


# ---------------------------------------------------------------- programs


def programs(depth: int = 2, term: st.SearchStrategy[Set] | None = None) -> st.SearchStrategy[Program]:
    """Programs of one pattern over the affine core, or over the given terms; some of them are empty."""
    return conditions(depth, term).map(lambda condition: Program(f"pattern p = {to_text(condition)}\n", (condition,)))


def input_programs(
    depth: int = 2, term: st.SearchStrategy[Set] | None = None, test: st.SearchStrategy[Set] | None = None
) -> st.SearchStrategy[Program]:
    """Programs that read data of the call, by default in all ways; and have affine terms and tables, or others."""
    test = data_tests() | chosen() if test is None else test
    rest = conditions(depth, test | (terms() | tables() if term is None else term))
    joined = st.builds(lambda kind, *parts: kind(parts), st.sampled_from((And, Or)), rest, test | st.builds(Not, test))
    return joined.map(with_inputs)


def with_inputs(condition: Set) -> Program:
    """The program of a condition that reads some of `INPUTS`, with their declarations."""
    read = inputs_read(condition)
    inputs = tuple(each for each in INPUTS.values() if each.name in read)
    declared = "".join(f"input {each.name}: {each}\n" for each in inputs)
    inputs = tuple(replace(each, line=line) for line, each in enumerate(inputs, 1))
    return Program(f"{declared}pattern p = {to_text(condition)}\n", (condition,), inputs=inputs)


@st.composite
def match_programs(draw: st.DrawFn, term: st.SearchStrategy[Set] | None = None) -> Program:
    """Programs that choose by head; some heads share a condition, and some conditions mention `h` themselves."""
    heads = draw(st.integers(1, 8))
    cuts = sorted(draw(st.sets(st.integers(1, heads), max_size=3)) - {heads})
    arms, meant = [], []
    for first, last in zip([0, *cuts], [*cuts, heads], strict=True):
        strided = draw(st.booleans())
        condition = draw(conditions(1, term))
        head = str(first) if last - first == 1 else f"{first}..{last}"
        said = f"(q - k) % (h + 1) == 0 & ({to_text(condition)})" if strided else to_text(condition)
        arms.append(f"{'else' if last == heads and draw(st.booleans()) else head} -> {said}")
        for h in range(first, last):
            meant.append(And((Compare(Mod(_DISTANCE, h + 1), "==", Const(0)), condition)) if strided else condition)
    return Program(f"pattern p = match h {{ {', '.join(arms)} }}\n", tuple(meant), heads)


# ---------------------------------------------------------------- conditions as text


def to_text(node: nodes.Node | nodes.Test) -> str:
    """The .spat text of an integer or a condition that a user can write (`Select` and edges of tiles can't)."""
    match node:
        case Const(value):
            return str(value)
        case Var(name):
            return name
        case Add(left, right) | Sub(left, right) | Mul(left, right):
            return f"({to_text(left)} {_SYMBOLS[type(node)]} {to_text(right)})"
        case FloorDiv(left, divisor) | Mod(left, divisor):
            return f"({to_text(left)} {_SYMBOLS[type(node)]} {divisor})"
        case Abs(value):
            return f"abs({to_text(value)})"
        case Min(left, right) | Max(left, right):
            return f"{_SYMBOLS[type(node)]}({to_text(left)}, {to_text(right)})"
        case Bool(value):
            return "0 == 0" if value else "0 == 1"
        case Compare(left, op, right):
            return f"{to_text(left)} {op} {to_text(right)}"
        case Member(value, members):
            return f"{to_text(value)} in {{{', '.join(map(str, members))}}}"
        case And(parts) | Or(parts):
            return f" {_SYMBOLS[type(node)]} ".join(f"({to_text(part)})" for part in parts)
        case Not(part):
            return f"~({to_text(part)})"
        case Blocks(size, rows):
            return f"blocks({size}, [{', '.join(str(list(row)) for row in rows)}])"
        case RandomBlocks(size, count, seed, past):
            return f"random_{'past_' if past else ''}blocks({size}, {count}, {seed})"
        case RandomKeys(count, seed):
            return f"random_keys({count}, {seed})"
        case DataTest(Compare(Read(name) as read, "!=", Const(0))) if INPUTS[name].kind == "bool":
            return to_text(read)
        case DataTest(Chosen(name)):
            return f"selected({name})"
        case DataTest(Grouped(name)):
            return f"in_group({name})"
        case DataTest(test):
            return to_text(test)
        case ElementOf(value, name):
            return f"{to_text(value)} in {name}"
        case Read(name, index):
            return name if index is None else f"{name}[{to_text(index)}]"
    raise TypeError(f"no user can write {node!r}")


_SYMBOLS = {Add: "+", Sub: "-", Mul: "*", FloorDiv: "//", Mod: "%", Min: "min", Max: "max", And: "&", Or: "|"}
