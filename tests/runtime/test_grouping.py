"""Sets by hash and by cluster: against their papers token by token, and through dense attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime.test_inputs import HEADS, assert_exact, lengths
from support.generated import attend_of, random_pattern
from torch.nn.attention.flex_attention import create_mask

import sparsec
import sparsec.nn
from sparsec.ir import chosen
from sparsec.kernels.chosen import grouping
from sparsec.kernels.chosen.choosers import Asked, run_chooser
from sparsec.kernels.chosen.grouping import Hashing, Routing, rotations
from sparsec.runtime.flex import mask_mod
from sparsec.testing import check
from sparsec.testing import grouping as oracle
from sparsec.testing.programs import chosen as chosen_lists
from sparsec.testing.programs import grouped, input_programs

LENGTHS = st.sampled_from(((40, 40, 0), (1, 40, 39), (33, 20, 9), (48, 30, 0), (7, 1, 0), (5, 0, 3), (0, 9, 0)))


def whole_numbers(n_q: int, n: int, seed: int, most: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """q [2, 4, n_q, 16] and k [2, 2, n, 16] of which every score is exact; `most` 0: all are equal."""
    random = torch.Generator().manual_seed(seed)
    q, k = (torch.randint(-most, most + 1, (2, h, m, 16), generator=random) for h, m in ((4, n_q), (2, n)))
    return q.float(), k.float()


@settings(max_examples=12)
@given(
    st.sampled_from((2, 6, 32)),
    st.sampled_from((1, 2, 5)),
    st.sampled_from((1, 4, 9, 100)),
    st.integers(0, 2**31 - 1),
    LENGTHS,
    st.sampled_from((0, 1, 3)),
)
def test_hashes(buckets, rounds, chunk, seed, sizes, most):
    n_q, n, q_offset = sizes
    q, k = whole_numbers(n_q, n, seed % 100, most)
    own = chosen.Hashing(buckets, rounds, chunk, seed)
    labels = run_chooser(Hashing(buckets, rounds, chunk, seed), Asked(q, k, [], 1.0, q_offset))
    assert labels.shape == (2, 4, rounds, n_q + n)
    oracle.assert_hashed(own, labels.numpy(), q.numpy(), k.numpy(), q_offset)


@settings(max_examples=12)
@given(
    st.sampled_from((1, 5, 32, 33, 70)),
    st.sampled_from((1, 3, 50)),
    st.sampled_from((1, 2, 4)),
    LENGTHS,
    st.sampled_from((0, 1, 3)),
    st.integers(0, 99),
)
def test_clusters(clusters, count, groups, sizes, most, seed):
    n_q, n, _ = sizes
    q, k = whole_numbers(n_q, n, seed, most)
    mu = torch.randint(-2, 3, (1, groups, clusters, 16), generator=torch.Generator().manual_seed(seed)).float()
    labels = run_chooser(Routing(count, 0), Asked(q, k, [mu], 1.0, 0))
    assert labels.shape == (2, 4, -(-clusters // 32), n_q + n)
    if n:
        oracle.assert_routed(chosen.Routing(count, "mu"), labels.numpy(), q.numpy(), k.numpy(), mu[0].numpy())


def test_slabs_change_nothing(monkeypatch):
    q, k = torch.randn(1, 4, 50, 16), torch.randn(1, 2, 60, 16)
    mu = torch.randn(1, 2, 40, 16)
    own = Hashing(8, 3, 7, 5), Routing(9, 0)
    whole = [run_chooser(each, Asked(q, k, [mu], 1.0, 10)) for each in own]
    monkeypatch.setattr(grouping, "SLAB", {"cpu": 1})
    for each, wanted in zip(own, whole, strict=True):
        assert torch.equal(run_chooser(each, Asked(q, k, [mu], 1.0, 10)), wanted)


def test_rotations_are_nearly_normal_and_differ():
    own = Hashing(64, 3, 8, 7)
    drawn = rotations(own, 2, 64, torch.device("cpu")).view(2, 64, 3, 32).transpose(1, 2)
    for head, number in np.ndindex(2, 3):
        wanted = oracle.rotations(chosen.Hashing(64, 3, 8, 7), head, number, 64)
        assert (drawn[head, number].numpy() == wanted).all()
    rows = drawn.flatten(0, 2).double() / 18.44  # the deviation of a sum of 16 digits
    assert abs(rows.mean()) < 0.05
    assert abs(rows.var() - 1) < 0.05
    assert abs((rows.abs() < 1).double().mean() - 0.683) < 0.03
    assert not torch.equal(drawn[0, 0], drawn[0, 1])
    assert not torch.equal(drawn[0, 0], drawn[1, 0])


def test_reformer_in_its_own_words():
    """Shared queries and keys: place i of the order sees the chunk i // m and the one before, in any round."""
    attend = sparsec.compile("pattern p = lsh(buckets = 4, rounds = 2, chunk = 8, seed = 3)")
    q = torch.randn(1, 1, 50, 16, generator=torch.Generator().manual_seed(1))
    k = torch.nn.functional.normalize(q, dim=-1)
    mask = attend.pattern.mask(50, 50, **attend.choices(q, k)).reshape(50, 50)
    wanted = np.zeros((50, 50), bool)
    for number in range(2):
        turned = oracle.rotations(chosen.Hashing(4, 2, 8, 3), 0, number, 16)
        products = q[0, 0].double().numpy() @ turned
        order = np.argsort(np.concatenate([products, -products], 1).argmax(1), kind="stable")
        chunk = np.argsort(order) // 8
        wanted |= np.isin(chunk[:, None] - chunk[None, :], (0, 1))
    assert (mask == wanted).all()


@settings(max_examples=2)
@given(input_programs(test=grouped()), lengths(), HEADS, st.integers(0, 99))
def test_random_programs(program, lengths, heads, seed):
    pattern = random_pattern(program)
    assert_exact(attend_of(pattern), pattern, *lengths, heads, seed)


HASHED = "pattern p = causal & (past(3) | lsh(4, 2, 8, 0))"
ROUTED = "input mu: centroids[c] pattern p = causal & (routed(mu, 9) | past(3))"
MU = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(4))


@pytest.mark.full
@settings(max_examples=60)
@given(input_programs(test=grouped() | chosen_lists()), lengths(), HEADS, st.integers(0, 99))
def test_many_random_programs(program, lengths, heads, seed):
    pattern = random_pattern(program)
    assert_exact(attend_of(pattern), pattern, *lengths, heads, seed)


@pytest.mark.parametrize(("n_q", "n", "q_offset"), [(3, 50, None), (30, 20, 7)])
def test_attention(n_q, n, q_offset):
    check(sparsec.compile(HASHED), n_q, n, heads=4, kv_heads=2, q_offset=q_offset, seed=n_q)
    check(sparsec.compile(ROUTED), n_q, n, heads=4, kv_heads=2, q_offset=q_offset, seed=n_q, mu=MU)


def test_joined_with_each_other_and_all_else():
    """Each pair counts once, whatever names it."""
    text = (
        "input mu: centroids[5] input doc: int[n] input sel: blocks[4, 8, t]\n"
        "pattern p = (lsh(4, 2, 8, 0) | routed(mu, 9) | selected(sel) | top_keys(2)) & doc[q] == doc[k]"
        " | (past(4) \\ routed(mu, 3))"
    )
    doc, sel = torch.arange(50) // 30, torch.randint(-1, 7, (2, 1, 13, 2), generator=torch.Generator().manual_seed(0))
    check(sparsec.compile(text), 50, 50, heads=4, kv_heads=2, scale=-0.3, doc=doc, sel=sel, mu=MU)


def test_pairs_of_several_rounds_and_clusters_count_once():
    q, k, v = torch.randn(3, 1, 2, 40, 16)
    full = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    hashed = sparsec.compile("pattern p = lsh(buckets = 2, rounds = 5, chunk = 40, seed = 0)")(q, k, v)
    routed = sparsec.compile("input mu: centroids[5] pattern p = routed(mu, 99)")(q, k, v, mu=MU)
    torch.testing.assert_close(hashed, full)
    torch.testing.assert_close(routed, full)


def test_equal_tokens_go_by_position():
    attend = sparsec.compile("input mu: centroids[5] pattern p = routed(mu, 3) | lsh(4, 1, 8, 0)")
    q = torch.ones(1, 1, 40, 16)
    made = attend.choices(q, q, mu=MU[:1])
    (chunks,) = (x for name, x in made.items() if name.startswith("lsh"))
    assert chunks.flatten().tolist() == [place // 8 for place in range(40)] * 2
    (bits,) = (x for name, x in made.items() if name.startswith("routed"))
    assert bits.flatten().tolist() == [*[2**5 - 1] * 3, *[0] * 37] * 2


def test_no_gradient_goes_through_the_choice():
    attend, mu = sparsec.compile(ROUTED), MU.clone().requires_grad_()
    q, k, v = torch.randn(3, 1, 2, 40, 16).requires_grad_()
    mask = torch.from_numpy(attend.pattern.mask(40, 40, **attend.choices(q, k, mu=mu)))
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    for ours, theirs in zip(*(torch.autograd.grad(x.sum(), q) for x in (attend(q, k, v, mu=mu), dense)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert torch.autograd.grad(attend(q, k, v, mu=mu).sum(), mu, allow_unused=True) == (None,)


def test_weights_of_what_is_chosen():
    attend = sparsec.compile(ROUTED)
    q, k, v = torch.randn(3, 1, 2, 40, 16)
    out, lse = attend(q, k, v, mu=MU, return_lse=True)
    found = attend.weights(q, k, lse, range(40), mu=MU)
    torch.testing.assert_close(found @ v, out, atol=1e-5, rtol=1e-5)
    assert (attend.kept(q, k, mu=MU) <= 1).all()
    with pytest.raises(ValueError, match=r"\[SP0620\] the input `mu"):
        attend.weights(q, k, lse, range(40))


def test_compiled_traced_and_batched():
    attend, mu = sparsec.compile(ROUTED), MU
    q, k, v = torch.randn(3, 1, 2, 40, 16).requires_grad_()
    traced = torch.compile(attend, backend="aot_eager", fullgraph=True)
    results = (torch.autograd.grad(f(q, k, v, mu=mu).sum(), (q, k, v)) for f in (attend, traced))
    for x, y in zip(*results, strict=True):
        assert torch.equal(x, y)
    q, k, v = torch.randn(3, 3, 2, 2, 40, 16)
    many = torch.randn(3, 2, 5, 16)
    wanted = torch.stack([attend(*each[:3], mu=each[3]) for each in zip(q, k, v, many, strict=True)])
    found = torch.vmap(lambda q, k, v, mu: attend(q, k, v, mu=mu))(q, k, v, many)
    torch.testing.assert_close(found, wanted)
    one = torch.vmap(lambda q: attend(q, k[0, :1], v[0, :1], mu=many[0]))(q[:, :1])
    torch.testing.assert_close(one[0], wanted[0, :1])


def test_other_forms_of_a_mask():
    """FlexAttention's function says what the reference says, of labels too."""
    attend = sparsec.compile("input mu: centroids[c] pattern p = (causal & routed(mu, 9)) | lsh(4, 2, 8, 0)")
    q, k = torch.randn(2, 1, 2, 40, 16)
    made = attend.choices(q[:, :, :30], k, mu=MU)
    mask = attend.pattern.mask(30, 40, **made)
    function = mask_mod(attend.pattern.nodes, 40, q_offset=10, inputs=made)
    assert (create_mask(function, 1, 2, 30, 40, device="cpu").numpy() == mask).all()


@pytest.mark.parametrize(
    ("mu", "said"),
    [
        (
            None,
            r"\[SP0620\] the input `mu: centroids\[c\]` of line 1 is missing: pass mu=..., a tensor of real numbers",
        ),
        (torch.zeros(2, 5, 16).long(), "must be a tensor of real numbers, got torch.int64"),
        (torch.zeros(3, 5, 16), r"\[G = 1 or 2 or 4, c, D = 16\], got \[3, 5, 16\]"),
        (torch.zeros(2, 5, 8), "D = 16"),
        (torch.zeros(5, 16), "must have the shape"),
    ],
)
def test_centroids_that_do_not_fit(mu, said):
    attend, q, k = sparsec.compile(ROUTED), torch.randn(1, 4, 40, 16), torch.randn(1, 2, 40, 16)
    with pytest.raises(ValueError, match=said):
        attend(q, k, k, **({} if mu is None else {"mu": mu}))


def test_a_mask_needs_labels_of_the_call():
    attend = sparsec.compile(HASHED)
    with pytest.raises(sparsec.SparsecError, match="SP0621"):
        attend.pattern.mask(40, 40)
    made = attend.choices(*torch.randn(2, 1, 2, 40, 16))
    with pytest.raises(sparsec.SparsecError, match="labels of 30 queries and 40 keys"):
        attend.pattern.mask(30, 40, **made)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_centroids_follow_the_tokens(groups):
    """Token by token, as the paper's algorithm says it."""
    mu, decay = torch.randn(groups, 5, 16), 0.9
    q, k = torch.randn(2, 4, 30, 16), torch.randn(2, 2, 20, 16)
    wanted = decay * mu.double()
    for x, heads in ((q, 4), (k, max(2, groups))):
        x = x.repeat_interleave(heads // x.shape[1], 1).double()
        for b, h, i in np.ndindex(*x.shape[:3]):
            own = h * groups // heads
            nearest = int((mu[own].double() @ x[b, h, i]).argmax())
            wanted[own, nearest] += (1 - decay) / 2 * x[b, h, i]
    torch.testing.assert_close(sparsec.nn.updated_centroids(mu, q, k, decay), wanted.float(), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="SP0601"):
        sparsec.nn.updated_centroids(mu[0], q, k)
    with pytest.raises(ValueError, match="SP0606"):
        sparsec.nn.updated_centroids(mu, q, k, decay=2)


def test_centroids_are_exact_under_autocast():
    mu, q, k = torch.randn(1, 5, 16), torch.randn(2, 4, 50, 16), torch.randn(2, 2, 60, 16)
    wanted = sparsec.nn.updated_centroids(mu, q, k)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sparsec.nn.updated_centroids(mu, q, k), wanted)


def test_names_of_lengths_mean_nothing():
    """Also those by which axes of other inputs are known."""
    for text, given_ in (
        ("input far: int[G] pattern p = causal & k in far", {"far": torch.tensor([1, 5, 9])}),
        ("input sel: keys[D] pattern p = causal & selected(sel)", {"sel": torch.zeros(1, 1, 30, 3).int()}),
        ("input sel: keys[blocks] pattern p = causal & selected(sel)", {"sel": torch.zeros(1, 1, 30, 3).int()}),
        ("input mu: centroids[D] pattern p = causal & routed(mu, 4)", {"mu": MU}),
        ("input mu: centroids[G] pattern p = causal & routed(mu, 4)", {"mu": MU}),
    ):
        check(sparsec.compile(text), 30, 30, heads=2, **given_)
