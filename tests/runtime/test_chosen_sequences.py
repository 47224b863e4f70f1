"""What is chosen in documents and in rows of unequal lengths: as if every sequence stood alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chosen_sequences import (
    assert_documents,
    assert_rows,
    declared,
    drawn,
    of_documents,
    of_rows,
    random_call,
    together,
)
from support.generated import attend_of, pattern_of, spread_module_of

import sparsec

pytestmark = pytest.mark.usefixtures("one_thread")

CHOSEN = (
    *("lsh(4, 2, 8, 0)", "lsh(2, 1, 64, 1)", "routed(mu, 5)", "routed(mu, 200)"),
    *("selected(sel)", "selected(one)", "selected(some)", "top_keys(3)", "top_keys(2, among = causal, over = group)"),
    *("top_blocks(2, 8)", "top_blocks(2, 8, 4, max, among = causal)", "top_blocks(3, 8, 4, s, over = group)"),
)
POSITIONS = ("past(4)", "causal", "stride(8)", "sinks(3)", "k % 5 < 3", "random_keys(3, 1)", "doc[q] == doc[k]")


def chosen_conditions() -> st.SearchStrategy[str]:
    """Conditions that choices, positions and data decide together."""
    inner = st.sampled_from(CHOSEN + POSITIONS)
    pair = st.tuples(st.sampled_from(CHOSEN), st.sampled_from(("&", "|", "\\")), inner)
    return pair.map(" ".join).flatmap(
        lambda left: st.sampled_from(("&", "|")).flatmap(
            lambda operator: inner.map(lambda right: f"({left}) {operator} {right}")
        )
    )


@st.composite
def ends(draw: st.DrawFn) -> tuple[list[int], int]:
    """cu_seqlens and the length of the row: documents of no token, of one, and of more than a tile."""
    found = [draw(st.sampled_from((0, 0, 3)))]
    for size in draw(st.lists(st.sampled_from((0, 1, 2, 5, 17, 40, 70)), min_size=1, max_size=4)):
        found.append(found[-1] + size)
    return found, max(found[-1] + draw(st.sampled_from((0, 0, 4))), 1)


TEXTS = [
    "causal & (past(3) | lsh(4, 2, 8, 0))",
    "routed(mu, 5) | past(3)",
    "causal & (selected(sel) | selected(some)) | selected(one)",
    "top_blocks(2, 8, 4, max, among = causal) | top_keys(2)",
    "top_blocks(3, 8, 4, s, over = group) & causal",
]


@pytest.mark.parametrize("text", TEXTS)
def test_documents(text):
    pattern = pattern_of(declared(text))
    assert_documents(attend_of(pattern), pattern, [2, 19, 19, 20, 63, 68], 70, 0, spare=3)


@pytest.mark.parametrize("text", TEXTS)
def test_rows(text):
    pattern = pattern_of(declared(text))
    assert_rows(attend_of(pattern), pattern, 30, 40, [(30, 40), (0, 9), (7, 40), (17, 5), (9, 0)], 1)


ENDS, ROWS = [2, 19, 19, 20, 63, 68], [(30, 40), (0, 9), (7, 40), (17, 5), (9, 0)]


@pytest.mark.parametrize("text", [*TEXTS, "(past(3) | k < 2 | causal & doc[q] == doc[k]) with softcap(3), alibi"])
def test_what_is_looked_at(text):
    pattern, attend = pattern_of(declared(text)), sparsec.compile(declared(text))
    assert_looked_at(attend, pattern, (1, 70, 70), of_documents(ENDS), {"documents": torch.tensor(ENDS)})
    numbers = zip(("q_lengths", "lengths"), map(torch.tensor, zip(*ROWS, strict=True)), strict=True)
    assert_looked_at(attend, pattern, (5, 30, 40), of_rows(ROWS), dict(numbers))


def assert_looked_at(attend, pattern, shape, places, told):
    """`choices`, `weights` and `kept` of sequences are those of each alone, at its rows of q and of k."""
    places = [place for place in places if all(place.sizes)]
    inputs = drawn(pattern, [place.sizes for place in places], 0)
    q, k, *_ = random_call(*shape, 0, "cpu", torch.float32)
    given, rows = together(pattern, inputs, places, *shape), torch.arange(0, shape[1], 3)
    reals = {each.name for each in pattern.choice_inputs}
    lse = attend(q, k, k, return_lse=True, **told, **given)[1]
    weights, kept = attend.weights(q, k, lse, rows, **told, **given), attend.kept(q, k, **told, **given)
    choices = attend.choices(q, k, **told, **{name: given[name] for name in reals})
    wanted, wanted_kept, chosen = torch.zeros_like(weights), torch.zeros_like(kept), list[dict[str, torch.Tensor]]()
    for place, own in zip(places, inputs, strict=True):
        row = slice(place.row, place.row + 1)
        some_q, some_k = q[row, :, place.queries], k[row, :, place.keys]
        inside = (rows >= place.queries.start) & (rows < place.queries.stop)
        alone = some_q, some_k, lse[row, :, place.queries], rows[inside] - place.queries.start
        wanted[place.row, :, inside, place.keys] = attend.weights(*alone, q_offset=place.first, **own)[0]
        wanted_kept[row, :, place.queries] = attend.kept(some_q, some_k, q_offset=place.first, **own)
        own = {name: own[name] for name in reals}
        chosen.append(attend.choices(some_q, some_k, q_offset=place.first, **own))
    torch.testing.assert_close(weights, wanted)
    torch.testing.assert_close(kept, wanted_kept)
    assert torch.equal(weights != 0, wanted != 0)
    ends = Counter()
    for place, own in zip(places, chosen, strict=True):
        for name, x in own.items():
            found = choices[name][place.row]
            if name.startswith("top"):
                begin = ends[place.row, name]
                ends[place.row, name] = end = begin + x.shape[2]
                assert torch.equal(found[:, begin:end], x[0])
            else:
                labels = found[..., place.queries], found[..., shape[1] :][..., place.keys]
                assert torch.equal(torch.cat(labels, -1), x[0])


def test_weights_where_keys_are_gone():
    attend = sparsec.compile("pattern p = past(20) | sinks(4) with alibi")
    q, k = torch.randn(1, 2, 10, 16), torch.randn(1, 2, 30, 16)
    lse = attend(q, k, k, return_lse=True)[1]
    late = attend(q, k[:, :, 8:], k[:, :, 8:], return_lse=True, k_offset=8)[1]
    whole = attend.weights(q, k, lse, range(10)) * (lse - late).exp()[..., None]
    torch.testing.assert_close(attend.weights(q, k[:, :, 8:], late, range(10), k_offset=8), whole[..., 8:])


def test_starts_of_documents():
    """`documents` as the start of each token: the lists of each row of the batch begin anew."""
    attend = sparsec.compile(declared("causal & (selected(sel) | top_blocks(2, 8, 4) | lsh(4, 2, 8, 0))"))
    q, k, v = torch.randn(3, 2, 2, 40, 16)
    sel = torch.randint(-1, 4, (2, 1, 13, 2))
    starts = torch.tensor([[0] * 9 + [9] * 31, [0] * 30 + [30] * 10])
    out = attend(q, k, v, sel=sel, documents=starts)
    for row, ends in enumerate(([0, 9, 40], [0, 30, 40])):
        at = slice(row, row + 1)
        own = attend(q[at], k[at], v[at], sel=sel[at], documents=torch.tensor(ends))
        assert torch.equal(out[at], own)


def test_padding_on_the_left_and_dropout():
    """Lists begin with the first query, and each row draws what it would alone."""
    attend = sparsec.compile(declared("causal & (selected(sel) | routed(mu, 5) | past(2))"))
    q, k, v = torch.randn(3, 2, 2, 20, 16)
    mu, sel = torch.randn(1, 5, 16), torch.randint(-1, 3, (2, 1, 5, 2))
    offsets = torch.tensor([0, -6], dtype=torch.int32)
    out = attend(q, k, v, mu=mu, sel=sel, k_offset=offsets, dropout_p=0.3, dropout_seed=5)
    first = attend(q[:1], k[:1], v[:1], mu=mu, sel=sel[:1], dropout_p=0.3, dropout_seed=5)
    assert torch.equal(out[:1], first)
    plain = attend(q, k, v, mu=mu, sel=sel, k_offset=offsets)
    alone = attend(*(x[1:, :, 6:] for x in (q, k, v)), mu=mu, sel=sel[1:, :, :4])
    assert torch.equal(plain[1:, :, 6:], alone)
    assert not plain[1:, :, :6].any()


def test_keys_that_are_gone():
    """Lists name blocks by position; an operator that chooses needs all keys."""
    q, k, v = torch.randn(1, 2, 10, 16), torch.randn(1, 2, 30, 16), torch.randn(1, 2, 30, 16)
    attend = sparsec.compile(declared("causal & selected(one)"))
    one = torch.randint(1, 4, (1, 1, 10, 2))
    assert torch.equal(attend(q, k, v, one=one), attend(q, k[:, :, 8:], v[:, :, 8:], one=one, k_offset=8))
    for text in ("top_keys(3)", "lsh(4, 2, 8, 0)"):
        with pytest.raises(ValueError, match=r"\[SP0622\] the keys before position 8 of a sequence are not passed"):
            sparsec.compile(declared(text))(q, k[:, :, 8:], v[:, :, 8:], k_offset=8)


@pytest.mark.parametrize(
    ("sel", "said"),
    [
        (
            torch.zeros(1, 1, 10, 2).int(),
            r"\[SP0620\] the input `sel.* has 10 lists for row 0.* have 11, one for each 4",
        ),
        (
            torch.zeros(1, 3, 11, 2).int(),
            r"\[SP0620\] the input `sel.*\[B = 1, G = 1 or 2, rows, t\], got \[1, 3, 11, 2\]",
        ),
    ],
)
def test_lists_that_do_not_fit(sel, said):
    attend = sparsec.compile(declared("selected(sel)"))
    with pytest.raises(ValueError, match=said):
        attend(*torch.randn(3, 1, 2, 40, 16), sel=sel, documents=torch.tensor([0, 9, 40]))
    with pytest.raises(ValueError, match=r"rows = 10, t\]"):
        attend(*torch.randn(3, 1, 2, 40, 16), sel=sel[:, :1, :9], lengths=torch.tensor([9]))


def test_scores_that_do_not_fit():
    attend, s = sparsec.compile(declared("top_blocks(3, 8, 4, s)")), torch.zeros(1, 1, 11, 3)
    with pytest.raises(ValueError, match=r"\[SP0620\] the input `s.* has scores of 3 blocks: a sequence has 4"):
        attend(*torch.randn(3, 1, 2, 40, 16), s=s, documents=torch.tensor([0, 9, 40]))


def test_compiled_and_batched():
    attend = sparsec.compile("pattern p = causal & (top_blocks(2, 8, 4) | lsh(4, 2, 8, 0))")
    q, k, v = torch.randn(3, 1, 2, 40, 16).requires_grad_()
    documents = torch.tensor([0, 9, 40])
    traced = torch.compile(attend, backend="aot_eager", fullgraph=True)
    results = (torch.autograd.grad(f(q, k, v, documents=documents).sum(), (q, k, v)) for f in (attend, traced))
    for x, y in zip(*results, strict=True):
        assert torch.equal(x, y)
    q, k, v = torch.randn(3, 3, 1, 2, 40, 16)
    ends = torch.tensor([[0, 9, 40], [0, 20, 21], [1, 2, 39]])
    found = torch.vmap(lambda q, k, v, ends: attend(q, k, v, documents=ends))(q, k, v, ends)
    wanted = [attend(*each[:3], documents=each[3]) for each in zip(q, k, v, ends, strict=True)]
    assert torch.equal(found, torch.stack(wanted))


@settings(max_examples=3)
@given(chosen_conditions(), ends(), st.integers(0, 99))
def test_random_documents(condition, ends, seed):
    pattern = pattern_of(declared(condition))
    assert_documents(spread_module_of(pattern).p, pattern, *ends, seed, spare=seed % 2)


@pytest.mark.full
@settings(max_examples=150)
@given(chosen_conditions(), ends(), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), min_size=1, max_size=4))
def test_many_random_sequences(condition, ends, rows):
    pattern = pattern_of(declared(condition))
    for attend in (attend_of(pattern), spread_module_of(pattern).p):
        assert_documents(attend, pattern, *ends, sum(ends[0]))
        assert_rows(attend, pattern, 30, 40, rows, sum(ends[0]))
