"""An imported mask_mod is the mask_mod; what has no exact form is refused by name, at its place."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import and_masks, create_mask, noop_mask, or_masks

import sparsec
from sparsec.diagnostics import EmptyPattern, NotImportable, ReservedName, SparsecError
from sparsec.ir import reference
from sparsec.ir.nodes import leaves
from sparsec.lower.file import lower
from sparsec.runtime.flex import mask_mod
from sparsec.source import Source
from sparsec.syntax.parse import parse

N, HEADS = 23, 3


def imported(f, **given) -> np.ndarray:
    """Bool [HEADS, N, N]: the mask of the imported text."""
    text = sparsec.from_mask_mod(f, **given)
    try:
        pattern = lower(parse(Source("imported", text)), heads=HEADS)
    except SparsecError as error:
        assert [type(each) for each in error.diagnostics] == [EmptyPattern], error
        return np.zeros((HEADS, N, N), bool)
    masks = [reference.mask(condition, N, N) for condition in pattern.conditions]
    return np.stack([masks[index] for index in pattern.head_conditions or (0,) * HEADS])


def expected(f) -> np.ndarray:
    return create_mask(f, None, HEADS, N, N, device="cpu")[0].numpy()


# ---------------------------------------------------------------- functions as Python writes them

WINDOW, SCALAR, TABLE = 5, torch.tensor(4), torch.tensor([1, 2, 5])


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def window(b, h, q_idx, kv_idx):
    return q_idx - kv_idx <= WINDOW


def several_lines(b, h, q_idx, kv_idx):
    same = q_idx // 4 == kv_idx // 4
    for step in (1, 2, 4):
        same = same | (q_idx - kv_idx == step)
    same &= kv_idx != 3
    return same


GOOD = {
    "causal": causal,
    "lines": several_lines,
    "and_masks": and_masks(causal, window),
    "or_masks": or_masks(causal, window),
    "noop": noop_mask,
    "negated divisors": lambda b, h, q, k: (q - k) // -3 == (k - q) % -4,
    "shifts": lambda b, h, q, k: (q >> 2) == (k << 1) >> 3,
    "xor": lambda b, h, q, k: (q < 7) ^ (k < 7) ^ (q == k),
    "where of integers": lambda b, h, q, k: k < torch.where(q < 10, 10, q + 1),
    "where of conditions": lambda b, h, q, k: torch.where(q < 10, k < 10, k <= q),
    "functions": lambda b, h, q, k: torch.logical_and(torch.abs(q - k) < 5, torch.minimum(q, k).clamp(min=3) != 4),
    "clamp": lambda b, h, q, k: (q - k).clamp(-3, 3) == torch.clamp(q - k, -9, 9),
    "crossing bounds": lambda b, h, q, k: torch.clamp(q, 9, 4) < k,
    "division": lambda b, h, q, k: torch.div(q, 5, rounding_mode="floor") == torch.floor_divide(k, 5),
    "conditions as numbers": lambda b, h, q, k: (q < 9) * 4 + (k < 9) > 3,
    "equal conditions": lambda b, h, q, k: (q < 9) == (k < 9),
    "sum": lambda b, h, q, k: sum([q < 9, k < 9, q == k]) >= 2,
    "tensor of no dimension": lambda b, h, q, k: (q - k < SCALAR) & (SCALAR * k > q),
    "numpy": lambda b, h, q, k: (q - k < np.int64(4)) | (np.int64(2) * q < k),
    "by head": lambda b, h, q, k: (q - k) % (2**h) == 0,
    "method of another order": lambda b, h, q, k: (q >= k).where(q < 10, k < 5),
    "some heads": lambda b, h, q, k: torch.where(h < 2, q >= k, k > 3),
    "always": lambda b, h, q, k: True,
}


@pytest.mark.parametrize("name", GOOD)
def test_same_mask(name):
    f = GOOD[name]
    mask = np.broadcast_to(np.True_, (HEADS, N, N)) if name == "always" else expected(f)
    assert (imported(f) == mask).all()


@pytest.mark.parametrize(
    "f",
    [
        lambda b, h, q, k: (q - k) % TABLE[h] == 0,
        lambda b, h, q, k: torch.where(TABLE[h] > 1, q - k < TABLE[h], causal(b, h, q, k)),
        causal,
    ],
    ids=["stride", "choice", "all alike"],
)
def test_tables_by_head(f):
    assert (imported(f, heads=HEADS) == expected(f)).all()


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "examples").glob("*.spat")), ids=lambda path: path.stem
)
def test_our_own_and_back(path):
    """Every affine example is what it was after `mask_mod` and `from_mask_mod`."""
    pattern = lower(parse(Source("example", path.read_text())), heads=HEADS, layer=1)
    f = mask_mod(pattern, N)
    if any(leaves(condition) for condition in pattern.conditions):
        with pytest.raises(SparsecError, match="look-up in a table"):
            imported(f, heads=HEADS)
    else:
        assert (imported(f, heads=HEADS) == expected(f)).all()


def test_text():
    assert sparsec.from_mask_mod(and_masks(causal, window), name="local") == (
        '"""Imported from the mask_mod and_mask."""\npattern local =\n    q >= k & q - k <= 5\n'
    )
    attend = sparsec.compile(sparsec.from_mask_mod(causal))
    assert attend.pattern.name == "causal"
    assert attend.pattern.count(10) == 55


# ---------------------------------------------------------------- random functions

SMALL = st.integers(-6, 6)


def integers(depth: int) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["q", "k", "q", "k", "h"]) | SMALL.map(lambda value: f"({value})")
    if depth == 0:
        return leaf
    part, flag = integers(depth - 1), conditions(0)
    divisor = st.sampled_from([-4, -3, -1, 1, 2, 3, 5, 8])
    return st.one_of(
        leaf,
        st.builds("({} {} {})".format, part, st.sampled_from("+-"), part),
        st.builds("({} * {})".format, part, SMALL),
        st.builds("({} * {})".format, SMALL, part),
        st.builds("({} {} {})".format, position(part), st.sampled_from(["//", "%"]), divisor),
        st.builds("({} {} (h + 1))".format, position(part), st.sampled_from(["//", "%"])),
        st.builds("abs({})".format, position(part)),
        st.builds("torch.{}({}, {})".format, st.sampled_from(["minimum", "maximum"]), position(part), position(part)),
        st.builds("torch.where({}, {}, {})".format, flag, position(part), part),
    )


def position(part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """An integer that is a tensor whatever its text folds to."""
    return part.map("(q * 0 + {})".format) | st.sampled_from(["q", "k", "(q - k)"])


def conditions(depth: int) -> st.SearchStrategy[str]:
    compared = st.builds(
        "({} {} {})".format,
        position(integers(depth)),
        st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]),
        integers(depth),
    )
    if depth == 0:
        return compared
    part = conditions(depth - 1)
    return st.one_of(
        compared,
        st.builds("({} {} {})".format, part, st.sampled_from("&|^"), part),
        st.builds("(~{})".format, part),
        st.builds("({} {} {})".format, part, st.sampled_from(["==", "!="]), part),
        st.builds("torch.where({}, {}, {})".format, part, part, part),
        st.builds("torch.logical_{}({}, {})".format, st.sampled_from(["and", "or", "xor"]), part, part),
    )


@given(conditions(2))
def test_random_functions(text):
    f = eval(f"lambda b, h, q, k: {text}", {"torch": torch})
    try:
        found = imported(f)
    except SparsecError as error:
        assert "a choice between more than 64 integers" in str(error) or "20,000 parts" in str(error)
        return
    assert (found == expected(f)).all()


@settings(max_examples=30)
@given(conditions(1))
def test_random_functions_by_head(text):
    f = eval(f"lambda b, h, q, k: {text}", {"torch": torch})
    assert (imported(f, heads=HEADS) == expected(f)).all()


# ---------------------------------------------------------------- refusals

DOCUMENTS, IDS, BOTH = torch.zeros(N), torch.arange(N) // 6, torch.arange(N)
BELOW = IDS - 1
BAD = {
    "look-up in a tensor of torch.float32": lambda b, h, q, k: DOCUMENTS[q] == DOCUMENTS[k],
    "look-up in a table by several positions": lambda b, h, q, k: torch.zeros(N, N, dtype=int)[q, k] > q,
    "where the index may be negative": lambda b, h, q, k: IDS[q - 1] == IDS[k],
    "may be negative can't be imported exactly": lambda b, h, q, k: IDS[BELOW[q]] == IDS[k],
    "look-ups in `BOTH` along other axes": lambda b, h, q, k: (BOTH[b] > 1) & (BOTH[q] > 2),
    "several entries of a table": lambda b, h, q, k: torch.zeros(2, N, dtype=int)[b] == q,
    "a division by a position": lambda b, h, q, k: q % IDS[b] == 0,
    "the batch index": lambda b, h, q, k: (q >= k) & (b == 0),
    "in `if`, `and`, `or`": lambda b, h, q, k: q >= k and q < 9,
    "chain of comparisons": lambda b, h, q, k: 0 <= q - k < 4,
    "`truediv`": lambda b, h, q, k: q / 2 > k,
    "a float, 3.5": lambda b, h, q, k: q > 3.5,
    "product of two positions": lambda b, h, q, k: q * k < 9,
    "the number 1099511627776": lambda b, h, q, k: q - k < 2**40,
    "division by a position": lambda b, h, q, k: q // k == 0,
    "division by 0": lambda b, h, q, k: q // 0 == k,
    "power of a position": lambda b, h, q, k: 2**q > k,
    "exponent or shift of -1": lambda b, h, q, k: q > (k << -1),
    "`&`, `|` or `^` of two integers": lambda b, h, q, k: (q & k) == 0,
    "as an index or a Python number": lambda b, h, q, k: [1, 2, 3][q] > k,
    "`sin`": lambda b, h, q, k: torch.sin(q) > 0,
    "`gather`": lambda b, h, q, k: torch.gather(DOCUMENTS, 0, q) > 0,
    "`fmod`": lambda b, h, q, k: torch.fmod(q, 3) == 0,
    "`.shape`": lambda b, h, q, k: q < q.shape,
    "Tensor of several entries": lambda b, h, q, k: TABLE * q > 3,
    "returns an integer": lambda b, h, q, k: q - k,
    "NameError": lambda b, h, q, k: missing,  # noqa: F821
    "takes 3 positional arguments": lambda b, h, q: q > 3,
    "a NoneType": lambda b, h, q, k: None,
    "`add` with these arguments": lambda b, h, q, k: torch.add(q, k, out=SCALAR) > 3,
}


@pytest.mark.parametrize("named", BAD)
def test_refused_by_name(named):
    with pytest.raises(SparsecError) as info:
        sparsec.from_mask_mod(BAD[named])
    assert [type(each) for each in info.value.diagnostics] == [NotImportable]
    assert named in str(info.value)


def test_place():
    with pytest.raises(SparsecError) as info:
        sparsec.from_mask_mod(lambda b, h, q, k: (q >= k) & (DOCUMENTS[q] == 0))
    assert info.value.diagnostics[0].span.text == "DOCUMENTS[q]"


# ---------------------------------------------------------------- data

PREFIX, IMAGE, ON = torch.tensor([3, 0]), torch.arange(2 * N).reshape(2, N) // 9 - 1, torch.rand(2, N) < 0.2
WIDTHS, BY_BOTH = torch.tensor([1, 4, 9], dtype=torch.int32), torch.tensor([[1, 2, 3], [7, 5, 2]])


def documents(ids):
    def same_document(b, h, q_idx, kv_idx):
        return ids[q_idx].to(torch.int32) == ids[kv_idx]

    return same_document


def within_documents(inner, offsets):
    """As attention-gym writes it: another mask function within each document, positions counted from its start."""
    document_id = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())

    def doc_mask_mod(b, h, q_idx, kv_idx):
        same_doc = document_id[q_idx] == document_id[kv_idx]
        q_logical = q_idx - offsets[document_id[q_idx]]
        kv_logical = kv_idx - offsets[document_id[kv_idx]]
        return same_doc & inner(b, h, q_logical, kv_logical)

    return doc_mask_mod


class Within:
    """A mask function that keeps its tensor."""

    def __init__(self, ids):
        self.ids = ids

    def __call__(self, b, h, q, k):
        return self.ids[q] == self.ids[k]

    def both(self, b, h, q, k):
        return (self.ids[q] == self.ids[k]) & (q >= k)


SETS, OFFSETS = {"own": IDS * 1}, torch.tensor([0, 5, 6, N])
WITH_DATA = {
    "documents": (and_masks(causal, documents(IDS)), "input ids: int[n]", {"ids": IDS}),
    "prefix": (lambda b, h, q, k: (q >= k) | (k < PREFIX[b]), "input PREFIX: int[B]", {"PREFIX": PREFIX}),
    "images": (
        lambda b, h, q, k: (q >= k) | ((IMAGE[b, q] == IMAGE[b, k]) & (IMAGE[b, q] >= 0)),
        "input IMAGE: int[B, n]",
        {"IMAGE": IMAGE},
    ),
    "bools": (or_masks(lambda b, h, q, k: ON[b, q] | ON[b, k], window), "input ON: bool[B, n]", {"ON": ON}),
    "heads": (lambda b, h, q, k: (q - k < WIDTHS[h]) & causal(b, h, q, k), "input WIDTHS: int[H]", {"WIDTHS": WIDTHS}),
    "rows and heads": (lambda b, h, q, k: q - k < BY_BOTH[b, h], "input BY_BOTH: int[B, H]", {"BY_BOTH": BY_BOTH}),
    "clamped distances": (
        lambda b, h, q, k: IDS[torch.clamp(k - q, -4, 4) + 4] > IDS[(3 - q % 4) * 2],
        "input IDS: int[entries]",
        {"IDS": IDS},
    ),
    "blocks": (lambda b, h, q, k: IDS[q // 4] <= IDS[k // 5], "input IDS: int[entries]", {"IDS": IDS}),
    "one index after the other": (
        lambda b, h, q, k: IMAGE[b][q] == IMAGE[b, k],
        "input IMAGE: int[B, n]",
        {"IMAGE": IMAGE},
    ),
    "a mask within documents": (
        within_documents(window, OFFSETS),
        "input document_id: int[n]\n\ninput offsets: int[entries]",
        {"document_id": torch.repeat_interleave(torch.arange(3), OFFSETS.diff()), "offsets": OFFSETS},
    ),
    "an object": (Within(IDS), "input ids: int[n]", {"ids": IDS}),
    "a method": (Within(IDS).both, "input ids: int[n]", {"ids": IDS}),
    "a default": (lambda b, h, q, k, own=IDS: own[q] == own[k], "input own: int[n]", {"own": IDS}),
    "a dictionary": (lambda b, h, q, k: SETS["own"][q] == SETS["own"][k], "input own: int[n]", {"own": IDS * 1}),
    "converted where it is read": (
        lambda b, h, q, k: IDS.int()[q] == IDS.to(torch.int32)[k],
        "input IDS: int[n]",
        {"IDS": IDS},
    ),
    "computed where it is read": (
        lambda b, h, q, k: (IMAGE[0] + 1)[q] == (IMAGE[0] + 1)[k],
        "input table: int[n]",
        {"table": IMAGE[0] + 1},
    ),
    "an argument that is bound": (
        partial(lambda own, b, h, q, k: own[q] == own[k], IDS),
        "input own: int[n]",
        {"own": IDS},
    ),
}


@pytest.mark.parametrize("name", WITH_DATA)
def test_tensors_that_are_looked_up_become_inputs(name):
    f, declared, data = WITH_DATA[name]
    text = sparsec.from_mask_mod(f)
    assert text.startswith(f"{declared}\n\n")
    found = sparsec.compile(text).pattern.mask(N, N, **data)
    wanted = create_mask(lambda b, h, q, k: f(b, h, q, k), 2, HEADS, N, N, device="cpu").numpy()
    found = found if found.ndim == 4 else found[:, None] if found.shape[0] == 2 else found
    assert (np.broadcast_to(found, wanted.shape) == wanted).all()


def test_rows_of_a_table_by_head():
    """Where a function is called for each head, its look-ups by row and head stay inputs."""
    text = sparsec.from_mask_mod(lambda b, h, q, k: (q - k < BY_BOTH[b, h]) & (k % (h + 1) == 0), heads=HEADS)
    assert text.startswith("input BY_BOTH: int[B, H]\n\n")
    found = sparsec.compile(text, heads=HEADS).pattern.mask(N, N, BY_BOTH=BY_BOTH)
    wanted = create_mask(lambda b, h, q, k: (q - k < BY_BOTH[b, h]) & (k % (h + 1) == 0), 2, HEADS, N, N, device="cpu")
    assert (found == wanted.numpy()).all()


def test_a_conversion_for_each_head_is_one_input():
    text = sparsec.from_mask_mod(lambda b, h, q, k: IDS.int()[q] - IDS.int()[k] < h, heads=HEADS)
    assert text.count("input ") == 1


def test_what_is_computed_otherwise_is_an_input_of_its_own():
    def drawn(b, h, q, k):
        return (torch.rand(N) < 0.5)[q] & (torch.rand(N) < 0.5)[k]

    def written(b, h, q, k):
        one, other = torch.zeros(N).long(), torch.zeros(N).long()
        one[3], other[5] = 1, 1
        return one[q] == other[k]

    def lossy(b, h, q, k):
        return IDS.bool().long()[q] == IDS.long()[k]

    for f in (drawn, written, lossy, lambda b, h, q, k: (IDS + 1)[q] == (IDS + 2)[k]):
        assert sparsec.from_mask_mod(f).count("input ") == 2


def test_names_that_an_input_can_not_have():
    v, q_offset, first = torch.arange(N), torch.arange(N) + 1, torch.arange(N) * 2
    text = sparsec.from_mask_mod(lambda b, h, q, k: (v[q] > q_offset[k]) & (first[k] == v[k]))
    assert [line for line in text.splitlines() if line.startswith("input")] == [
        "input v_2: int[n]",
        "input q_offset_2: int[n]",
        "input first: int[n]",
    ]


def test_divmod():
    """torch's own tensors have none; it is // and %."""
    found = sparsec.from_mask_mod(lambda b, h, q, k: divmod(q, 4)[0] == divmod(k, 3)[1], name="p")
    assert found == sparsec.from_mask_mod(lambda b, h, q, k: q // 4 == k % 3, name="p")


def test_what_would_be_a_text_without_end():
    def doubled(b, h, q, k):
        value = q == k
        for step in range(40):
            value = value ^ (q - k == step)
        return value

    with pytest.raises(SparsecError, match="20,000 parts"):
        sparsec.from_mask_mod(doubled)
    with pytest.raises(SparsecError, match="levels"):
        sparsec.from_mask_mod(lambda b, h, q, k: sum(((q + step) // 2 for step in range(200)), k) > 3)


def test_arguments():
    with pytest.raises(TypeError, match="not a int"):
        sparsec.from_mask_mod(3)
    with pytest.raises(ValueError, match="heads is at least 1"):
        sparsec.from_mask_mod(causal, heads=0)
    for name in ("match", "q", "two words", ""):
        with pytest.raises(SparsecError) as info:
            sparsec.from_mask_mod(causal, name)
        assert isinstance(info.value.diagnostics[0], ReservedName)


def test_no_torch_is_loaded():
    code = (
        "import sys, sparsec; sparsec.from_mask_mod(lambda b, h, q, k: (q >= k) & (q - k < 8));"
        "assert not {'torch', 'numpy', 'islpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
