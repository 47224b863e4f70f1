"""Blocks that the operator chooses by scores: against a literal choice, and through dense attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsec
from sparsec.ir import chosen
from sparsec.ir.nodes import FALSE, TRUE
from sparsec.kernels.chosen import choose
from sparsec.testing import check
from sparsec.testing.choices import best_blocks, block_scores, worst_mistake

AMONG = ["full", "causal", "causal \\ past(9)", "window(20)", "causal & stride(3)", "~full", "causal & k % 16 >= 12"]


def whole_numbers(heads: int, kv_heads: int, n_q: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """q and k of which every score is exact, and many are equal."""
    random = torch.Generator().manual_seed(seed)
    q = torch.randint(-2, 3, (2, heads, n_q, 16), generator=random).float()
    return q, torch.randint(-1, 2, (2, kv_heads, n, 16), generator=random).float()


@settings(max_examples=10)
@given(
    st.sampled_from(("mean", "max", "bound", "lse")),
    st.sampled_from((1, 4, 16)),
    st.sampled_from((1, 4, 16)),
    st.sampled_from((1, 3, 50)),
    st.sampled_from(AMONG),
    st.sampled_from(("~full", "same_block(8)", "sinks(3)")),
    st.booleans(),
    st.sampled_from(((64, 64, 0), (1, 40, 39), (33, 20, 9), (48, 80, 32), (21, 21, 0))),
    st.integers(0, 99),
)
def test_the_best_blocks_are_chosen(score, rows, size, count, among, keep, shared, lengths, seed):
    n_q, n, q_offset = lengths
    over = "group" if shared else "head"
    text = f"top_blocks({count}, {size}, {rows}, {score}, among = {among}, keep = {keep}, over = {over}) | past(1)"
    attend = sparsec.compile(f"pattern p = {text}")
    (own,) = attend.pattern.nodes.inputs
    q, k = whole_numbers(4, 2, n_q, n, seed)
    if score in ("mean", "lse") and (n_q % rows or n % size or score == "lse"):  # means and logarithms are rounded
        check(attend, n_q, n, heads=4, kv_heads=2, q_offset=q_offset, seed=seed)
        return
    (lists,) = attend.choices(q, k, scale=1.0, q_offset=q_offset).values()
    assert (
        lists.numpy() == best_blocks(own.choice, block_scores(own.choice, q.numpy(), k.numpy(), 1.0, q_offset))
    ).all()


def test_slabs_change_nothing(monkeypatch):
    attend = sparsec.compile("pattern p = top_blocks(3, 8, 4, max, among = causal)")
    q, k = whole_numbers(4, 2, 70, 70, 0)
    whole = attend.choices(q, k)
    monkeypatch.setattr(choose, "SLAB", {"cpu": 1})
    (first,), (second,) = whole.values(), attend.choices(q, k).values()
    assert torch.equal(first, second)


def most_bytes(run) -> int:
    """That torch holds at the worst moment, beyond what is there before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [each for each in profile.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = np.cumsum([each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())])
    return int(held.max())


@pytest.mark.parametrize("text", ["top_keys(4, among = causal)", "top_blocks(4, 4, among = causal & stride(3))"])
def test_room_grows_with_the_lists(text, monkeypatch):
    """Slabs of scores are of one size, whatever the length."""
    monkeypatch.setattr(choose, "SLAB", {"cpu": 1 << 15})
    attend, found = sparsec.compile(f"pattern p = {text}"), []
    for n in (500, 1000):
        q, k = torch.randn(2, 1, 2, n, 16)
        attend.choices(q, k)
        found.append(most_bytes(lambda q=q, k=k: attend.choices(q, k)))
    lists = 2 * 500 * 4 * 4
    of_tokens = 500 * 2 * 16 * 4  # what is made of k
    assert found[1] - found[0] <= 2 * (lists + of_tokens)


TEXTS = [
    "causal & past(16) | sinks(4) | top_blocks(2, 8, among = causal \\ past(16))",
    "causal & top_blocks(3, 8, 8, among = causal, keep = same_block(8), over = group)",
    "top_blocks(2, 16, score = bound, among = causal) & ~stride(2)",
    "causal \\ top_blocks(2, 8, score = lse, among = causal)",
    "top_blocks(1, 8, 4, among = causal) | top_blocks(2, 16, score = max, among = causal & past(40))",
    "causal & (top_keys(3) | top_blocks(1, 8, 8)) \\ top_keys(1, among = past(20))",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("n_q", "n"), [(70, 70), (3, 70), (41, 70)])
def test_attention(text, n_q, n):
    attend = sparsec.compile(f"pattern p = {text}")
    check(attend, n_q, n, heads=4, kv_heads=2, seed=n_q)
    check(attend, n_q, n, heads=2, scale=-0.3, seed=n_q)


def test_beside_inputs_and_lists():
    text = (
        "input doc: int[n] input sel: blocks[4, 8, t] pattern p = doc[q] == doc[k] & (selected(sel) | top_blocks(2, 8))"
    )
    doc, sel = torch.arange(50) // 30, torch.randint(-1, 7, (2, 1, 13, 2))
    check(sparsec.compile(text), 50, 50, heads=4, kv_heads=2, doc=doc, sel=sel)


def test_heads_with_choices_of_their_own():
    arms = "0 -> top_blocks(1, 8, among = causal), 1 -> causal, else -> top_blocks(h, 4, among = past(20))"
    attend = sparsec.compile(f"pattern p = match h {{ {arms} }}", heads=4)
    assert len(attend.choices(*torch.randn(2, 1, 4, 50, 16))) == 3
    check(attend, 50, 50, heads=4, kv_heads=2)


def test_equal_scores_choose_the_lowest_blocks():
    attend = sparsec.compile("pattern p = top_blocks(2, 8, among = causal)")
    (lists,) = attend.choices(torch.zeros(1, 1, 40, 16), torch.randn(1, 1, 40, 16)).values()
    assert lists[0, 0, :8].tolist() == [[0, -1]] * 8
    assert lists[0, 0, 8:].tolist() == [[0, 1]] * 32


def test_no_gradient_goes_through_the_choice():
    attend = sparsec.compile("pattern p = top_blocks(1, 8)")
    q, k, v = torch.randn(3, 1, 2, 40, 16).requires_grad_()
    out = attend(q, k, v)
    lists = attend.choices(q, k)
    mask = torch.from_numpy(attend.pattern.mask(40, 40, **lists))
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    for ours, theirs in zip(*(torch.autograd.grad(x.sum(), (q, k)) for x in (out, dense)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_compiled_and_traced():
    attend = sparsec.compile("pattern p = past(9) | top_blocks(2, 8, among = causal)")
    q, k, v = torch.randn(3, 1, 2, 40, 16).requires_grad_()
    traced = torch.compile(attend, backend="aot_eager", fullgraph=True)
    for x, y in zip(*(torch.autograd.grad(f(q, k, v).sum(), (q, k, v)) for f in (attend, traced)), strict=True):
        assert torch.equal(x, y)


def test_what_a_mask_needs():
    attend = sparsec.compile("pattern p = top_blocks(2, 8)")
    with pytest.raises(sparsec.SparsecError, match=r"SP0621.*q and k|SP0621"):
        attend.pattern.mask(40, 40)


def test_the_oracle_knows_a_bad_choice():
    attend = sparsec.compile("pattern p = top_blocks(2, 8)")
    (own,) = attend.pattern.nodes.inputs
    q, k = torch.randn(2, 1, 1, 40, 16).numpy()
    scores = block_scores(own.choice, q, k, 1.0, 0)
    best = best_blocks(own.choice, scores)
    assert worst_mistake(best, scores) == 0
    assert 0 < worst_mistake(np.argsort(scores, axis=3)[..., :2], scores) < np.inf
    assert worst_mistake(best * 0, scores) == np.inf


@pytest.mark.parametrize("over", ["head", "group"])
def test_top_keys(over):
    attend = sparsec.compile(f"pattern p = past(4) | top_keys(5, among = causal \\ past(4), over = {over})")
    check(attend, 70, 70, heads=4, kv_heads=2)
    check(attend, 3, 70, heads=4, kv_heads=2)
    (own,) = attend.pattern.nodes.inputs
    q, k = whole_numbers(4, 2, 50, 50, 3)
    (lists,) = attend.choices(q, k, scale=1.0).values()
    assert (lists.numpy() == best_blocks(own.choice, block_scores(own.choice, q.numpy(), k.numpy(), 1.0, 0))).all()


def test_batches_are_folded():
    attend = sparsec.compile("pattern p = past(4) | top_blocks(2, 8, among = causal)")
    q, k, v = torch.randn(3, 3, 2, 2, 40, 16)
    wanted = torch.stack([attend(*each) for each in zip(q, k, v, strict=True)])
    torch.testing.assert_close(torch.vmap(attend)(q, k, v), wanted)
    torch.testing.assert_close(torch.vmap(lambda x: attend(x, k[0], v[0]))(q)[0], wanted[0])


def test_autocast_reaches_what_is_given_and_no_score():
    attend = sparsec.compile("pattern p = top_blocks(2, 8, among = causal)")
    q, k = whole_numbers(2, 2, 60, 60, 5)
    wanted = attend.choices((q * 1.001).bfloat16(), k.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = attend.choices(q * 1.001, k).values()
    assert torch.equal(found, *wanted.values())


@settings(max_examples=15)
@given(
    st.sampled_from((1, 4, 16)),
    st.sampled_from((1, 3, 50)),
    st.sampled_from((1, 2, 4)),
    st.booleans(),
    st.sampled_from(((40, 40, 0), (1, 40, 39), (33, 20, 9))),
    st.integers(0, 99),
)
def test_scores_that_are_given(rows, count, groups, shared, lengths, seed):
    n_q, n, q_offset = lengths
    own = chosen.Choice(count, 8, rows, "s", TRUE, FALSE, shared, given=True)
    made = choose.Choice(count, 8, rows, "given", choose.Eligible(lambda q, k, n: q + k >= 0), shared=shared)
    q, k = torch.zeros(2, 4, n_q, 16), torch.zeros(2, 2, n, 16)
    random = torch.Generator().manual_seed(seed)
    scores = torch.randint(-3, 4, (2, groups, -(-n_q // rows), -(-n // 8)), generator=random).float()
    scores[scores == -3] = float("-inf")
    lists = choose.choose(made, q, k, [scores], 1.0, q_offset).numpy()
    added = scores.unflatten(1, (2, 2)).sum(2) if shared and groups == 4 else scores
    finite = added.clamp(min=-1e30).numpy()  # -inf is the oracle's word for what may not be chosen
    wanted = best_blocks(own, block_scores(own, q.numpy(), k.numpy(), 1.0, q_offset, finite))
    assert lists.shape == wanted.shape
    assert (lists == wanted).all()


def test_attention_by_scores_that_are_given():
    text = "input s: scores[4, 8] pattern p = past(3) | top_blocks(2, 8, 4, score = s, among = causal, keep = sinks(1))"
    scores = torch.randn(2, 2, 13, 7, generator=torch.Generator().manual_seed(0))
    check(sparsec.compile(text), 50, 50, heads=4, kv_heads=2, s=scores)
    q, k = torch.zeros(1, 4, 50, 16), torch.zeros(1, 2, 50, 16)
    for wrong in (scores, scores[:1, :, :12], scores[:1].long()):
        with pytest.raises(ValueError, match=r"\[SP0620\] the input `s: scores\[4, 8\]` of line 1"):
            sparsec.compile(text)(q, k, k, s=wrong)


@settings(max_examples=5)
@given(
    st.sampled_from(("mean", "max", "bound", "lse")),
    st.sampled_from((1, 30, 80, 99)),
    st.sampled_from((1, 4)),
    st.sampled_from((3, 50)),
    st.sampled_from(AMONG),
    st.sampled_from(("~full", "same_block(8)", "sinks(3)")),
    st.booleans(),
    st.sampled_from(((64, 64, 0), (1, 40, 39), (33, 20, 9), (21, 21, 0))),
    st.integers(0, 99),
)
def test_blocks_up_to_a_share_of_the_softmax(score, percent, rows, count, among, keep, shared, lengths, seed):
    """As of XAttention and FlexPrefill; a share in float32 tells no more than rounding lets it."""
    n_q, n, q_offset = lengths
    more = f"percent = {percent}, over = {'group' if shared else 'head'}"
    attend = sparsec.compile(
        f"pattern p = top_blocks({count}, 8, {rows}, {score}, among = {among}, keep = {keep}, {more}) | past(1)"
    )
    check(attend, n_q, n, heads=4, kv_heads=2, q_offset=q_offset, seed=seed)


def test_shares_of_given_scores_and_of_keys():
    attend = sparsec.compile(
        "input s: scores[1, 8] pattern p = top_blocks(4, 8, score = s, percent = 90, among = causal)"
    )
    s = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(1, 1, 32, 4)
    (lists,) = attend.choices(*torch.randn(2, 1, 2, 32, 16), s=s).values()
    assert lists[0, 0, [5, 10, 20, 30]].tolist() == [[0, -1, -1, -1], [0, 1, -1, -1], [0, 1, 2, -1], [0, 1, 2, -1]]
    check(attend, 32, 32, heads=2, s=torch.randn(1, 2, 32, 4))
    attend = sparsec.compile("pattern p = top_keys(9, among = causal, percent = 50)")
    check(attend, 40, 40, heads=4, kv_heads=2)
    key, far = torch.eye(16)[None, None], 100 * torch.eye(16)[None, None]
    (lists,) = attend.choices(far, key).values()
    assert lists[0, 0, :, 0].tolist() == list(range(16))
    assert (lists[0, 0, :, 1:] == -1).all()  # one key has all of the weight


def test_a_whole_share_is_no_cut_and_others_are_refused():
    whole = sparsec.compile("pattern p = top_blocks(2, 8, percent = 100)")
    assert whole.pattern.nodes.conditions == sparsec.compile("pattern p = top_blocks(2, 8)").pattern.nodes.conditions
    for wrong in ("0", "101"):
        with pytest.raises(sparsec.SparsecError, match="`percent` of `top_blocks`"):
            sparsec.compile(f"pattern p = top_blocks(2, 8, percent = {wrong})")
