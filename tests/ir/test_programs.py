"""Random programs: their text means what they were made from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparsec.diagnostics import EmptyPattern, SparsecError
from sparsec.ir.reference import mask
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.programs import Program, conditions, match_programs, programs, tables, terms

lengths = st.tuples(st.integers(0, 12), st.integers(0, 20))


def check(program: Program, lengths: tuple[int, int]) -> None:
    """Each head's condition after parsing, lowering and folding holds the same pairs as the one it was written from."""
    n_q, n_k = lengths
    try:
        pattern = lower(parse(Source("random", program.text)), heads=program.heads)
    except SparsecError as error:
        assert [type(item) for item in error.diagnostics] == [EmptyPattern]
        assert not any(mask(condition, n_q, n_k).any() for condition in program.conditions)
        return
    which = pattern.head_conditions or (0,) * len(program.conditions)
    for index, condition in zip(which, program.conditions, strict=True):
        np.testing.assert_array_equal(mask(pattern.conditions[index], n_q, n_k), mask(condition, n_q, n_k))


@given(programs(), lengths)
def test_affine(program, lengths):
    check(program, lengths)


@given(programs(term=terms() | tables()), lengths)
def test_tables(program, lengths):
    check(program, lengths)


@given(match_programs(), lengths)
def test_match(program, lengths):
    check(program, lengths)


@given(conditions(), st.integers(0, 10), st.integers(0, 16), st.integers(0, 20))
def test_reference_against_python(condition, n_q, n_k, offset):
    """The reference, with its arrays, and Python, pair by pair."""
    from sparsec.testing.programs import to_text

    text = to_text(condition).replace("~", " not ").replace("&", " and ").replace("|", " or ")
    code = compile(text.strip(), "condition", "eval")
    expected = [[bool(eval(code, {"q": q + offset, "k": k, "n": n_k})) for k in range(n_k)] for q in range(n_q)]
    np.testing.assert_array_equal(mask(condition, n_q, n_k, offset), np.array(expected, bool).reshape(n_q, n_k))
