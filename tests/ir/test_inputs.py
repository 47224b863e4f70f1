"""Data given at the call: what the text says of it, and the reference's reading, indices outside included."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.diagnostics import SparsecError
from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.ir.approximate import bounded, over, under, without_data
from sparsec.ir.inputs import of_row, with_data
from sparsec.ir.serialize import pack, unpack
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.data import masks, random_data
from sparsec.testing.programs import INPUTS, conditions, data_tests, input_programs, terms


def lowered(text: str, **chosen: int) -> ir.Pattern:
    return lower(parse(Source("inputs.spat", text)), **chosen)


def kept(text: str, n_q: int, n: int, offset: int | None = None, **data: object) -> list[str]:
    """A line for each query: x where a key is kept."""
    pattern = lowered(text)
    arrays = {name: np.array(some) for name, some in data.items()}
    mask = reference.mask(pattern.conditions[0], n_q, n, offset, arrays)
    return ["".join("x" if each else "." for each in line) for line in mask]


def test_documents():
    text = "input doc: int[n] pattern p = causal & doc[q] == doc[k]"
    assert kept(text, 5, 5, doc=[7, 7, -1, -1, 7]) == ["x....", "xx...", "..x..", "..xx.", "xx..x"]


def test_a_test_that_reads_outside_is_false_and_its_complement_true():
    same, other = "input doc: int[n] pattern p = doc[q] == doc[k]", "input doc: int[n] pattern p = doc[q] != doc[k]"
    assert kept(same, 3, 2, 0, doc=[1, 2]) == ["x.", ".x", ".."]
    assert kept(other, 3, 2, 0, doc=[1, 2]) == [".x", "x.", ".."]
    assert kept("input doc: int[n] pattern p = ~(doc[q] == doc[k])", 3, 2, 0, doc=[1, 2]) == [".x", "x.", "xx"]
    assert kept("input doc: int[n] pattern p = ~(doc[q] != doc[k])", 3, 2, 0, doc=[1, 2]) == ["x.", ".x", "xx"]
    assert kept("input doc: int[n] pattern p = doc[q - 1] - doc[q - 1] == 0", 2, 2, doc=[1, 2]) == ["..", "xx"]
    assert kept("input doc: int[n] pattern p = 0 * doc[k + 1] == 0", 1, 3, doc=[0, 0, 0]) == ["xx."]
    assert kept("input doc: int[n] pattern p = doc[k + 1] % 1 == 0", 1, 3, doc=[0, 0, 0]) == ["xx."]


def test_negative_indices_do_not_count_from_the_end():
    assert kept("input cls: bool[n] pattern p = cls[k - 1]", 1, 3, cls=[True, True, True]) == [".xx"]


def test_chains_ranges_and_braces_are_comparisons_one_by_one():
    text = "input m: int[n] pattern p = "
    assert kept(text + "0 <= q - k < m[q]", 3, 3, m=[1, 5, 0]) == ["x..", "xx.", "..."]
    assert kept(text + "k in m[q]..m[q] + 2", 2, 4, 0, m=[1, -1, 0, 0]) == [".xx.", "x..."]
    assert kept(text + "k not in m[q]..m[q] + 2", 3, 2, 0, m=[1, 0]) == ["x.", "..", "xx"]
    assert kept(text + "k in {0, m[q]}", 3, 2, 0, m=[1, 0]) == ["xx", "x.", "x."]
    assert kept(text + "m[k] in {0, 3}", 1, 3, m=[3, 1, 0]) == ["x.x"]


def test_lists():
    text = "input far: int[t] pattern p = "
    assert kept(text + "k in far", 1, 4, far=[2, 0, 9]) == ["x.x."]
    assert kept(text + "q - k in far", 3, 3, far=[0, 2]) == ["x..", ".x.", "x.x"]
    assert kept(text + "k not in far", 1, 3, far=np.zeros(0, int)) == ["xxx"]
    assert kept(text + "k in far | q == far[k]", 1, 3, far=[2]) == ["x.x"]


def test_numbers_of_rows_and_heads():
    pattern = lowered("input w: int[H] input length: int[B] pattern p = past(w[h]) & k < length")
    assert pattern.heads is None
    assert [each.axes for each in pattern.inputs] == [("H",), ("B",)]
    data = {"w": np.array([1, 2]), "length": np.array([3, 1])}
    found = masks(pattern, data, 2, 2, np.arange(3), 3)
    assert found[0, 1].tolist() == [[True, False, False], [True, True, False], [False, True, True]]
    assert found[1, 0].tolist() == [[True, False, False], [False, False, False], [False, False, False]]


def test_inputs_are_those_that_the_text_needs_in_their_order(tmp_path):
    (tmp_path / "packed.spat").write_text("input doc: int[n]\nset same = doc[q] == doc[k]\nset other = full\n")
    text = 'use "packed.spat"\ninput b: int input a: int[B] input unread: int\n'
    text += "pattern p = match layer { 0 -> causal, else -> same & k < a + b }\npattern plain = other & causal\n"
    file = parse(Source(str(tmp_path / "main.spat"), text))
    for layer in (0, 1):
        assert [each.name for each in lower(file, pattern="p", layer=layer).inputs] == ["b", "a", "doc"]
    assert lower(file, pattern="plain").inputs == ()


def test_a_name_of_the_prelude_is_the_input_where_it_stands_bare():
    assert kept("input past: int pattern p = past(2) & k < past", 2, 2, past=1) == ["x.", "x."]


@given(input_programs())
def test_texts_mean_what_they_were_written_from(program):
    try:
        pattern = lowered(program.text)
    except SparsecError as error:
        assert [each.code for each in error.diagnostics] == ["SP0906"]
        return
    assert pattern.inputs == program.inputs
    data = of_row(pattern.inputs, random_data(pattern.inputs, 2, 3, 13), 1, 2, 3)
    for n_q, n, offset in ((13, 13, None), (5, 13, 11)):
        ours, theirs = (
            reference.mask(each, n_q, n, offset, data) for each in (pattern.conditions[0], program.conditions[0])
        )
        assert (ours == theirs).all()
    assert unpack(json.loads(json.dumps(pack(pattern)))) == pattern


@given(conditions(2, terms() | data_tests()), st.integers(0, 99))
def test_bounds_hold_whatever_the_data(condition, seed):
    inputs = tuple(INPUTS.values())
    data = of_row(inputs, random_data(inputs, 1, 1, 11, seed), 0, 0)
    mask = reference.mask(condition, 14, 11, 0, data)
    assert (reference.mask(with_data(condition, data), 14, 11, 0) == mask).all()
    for bound in (over(condition).affine, without_data(condition, "over")):
        assert not (mask & ~reference.mask(bound, 14, 11, 0)).any()
    for bound in (under(condition), without_data(condition, "under")):
        assert not (reference.mask(bound, 14, 11, 0) & ~mask).any()


@settings(max_examples=25)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4))
def test_values_of_64_bits_are_compared_as_they_are(values):
    text = "input doc: int[n] pattern p = doc[q] < doc[k]"
    wanted = ["".join("x" if a < b else "." for b in values) for a in values]
    assert kept(text, 4, 4, doc=np.array(values)) == wanted


def test_bounded_keeps_heads():
    text = "input doc: int[n] pattern p = doc[q] == doc[k] & h < 2 | causal & doc[k] == 1"
    found = bounded(lowered(text, heads=4))
    assert found.inputs == ()
    assert found.heads == 4
    assert found.conditions[found.head_conditions[0]] == ir.TRUE


@pytest.mark.parametrize("text", ["w", "w[h]"])
def test_the_own_entry_of_a_head_makes_no_pattern_for_each_head(text):
    assert lowered(f"input w: int[H] pattern p = past({text})", heads=8).heads is None
