"""The call: defaults, errors that name what was expected, empty tensors, and equal bits from run to run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.generated import attend_of, example, mask_of, module_of, pattern_of
from torch import rand

from sparsec.testing import check, compare, random_problem, run

LONGFORMER = example("longformer", w=16, g=5)
BY_HEAD = pattern_of("pattern p = match h { 0..2 -> past(9), else -> causal }", 6)


@pytest.fixture
def attend():
    return attend_of(LONGFORMER)


def test_defaults(attend):
    problem = random_problem(mask_of(LONGFORMER, 30, 50), heads=4, kv_heads=2, head_size=32)
    q, k, v = problem.q, problem.k, problem.v
    out, lse = attend(q, k, v, return_lse=True)
    assert torch.equal(out, attend(q, k, v))
    assert torch.equal(out, attend(q, k, v, scale=32**-0.5, q_offset=20))
    results = run(attend, problem)
    assert torch.equal(out, results.out)
    assert torch.equal(lse, results.lse)
    assert all(each.holds for each in compare(results, problem))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_of_results(attend, dtype):
    out, lse = attend(*(rand(1, 2, 9, 16).to(dtype) for _ in range(3)), return_lse=True)
    assert out.dtype == dtype
    assert lse.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("order", ["bhmd", "bmhd", "mbhd", "hbmd"])
@pytest.mark.parametrize("name", ["q", "q of a projection", "k"])
def test_results_lie_like_what_they_belong_to(attend, order: str, name: str) -> None:
    """out and dq like q, dk and dv like k; torch's own attention says how, for q."""

    def lying(x: torch.Tensor) -> torch.Tensor:
        places = [order.index(dim) for dim in "bhmd"]
        wide = x.permute(["bhmd".index(dim) for dim in order]).repeat(1, 1, 1, 3 if "projection" in name else 1)
        return wide.contiguous()[..., :16].permute(places).requires_grad_()

    heads = dict.fromkeys("qkv", rand(2, 4, 9, 16))
    q, k, v = (lying(x) if each == name[0] else x.clone().requires_grad_() for each, x in heads.items())
    out = attend(q, k, v)
    dq, dk, dv = torch.autograd.grad(out.sum(), (q, k, v))
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert [x.stride() for x in (out, dq)] == [torch.empty_like(q).stride()] * 2
    assert [x.stride() for x in (dk, dv)] == [torch.empty_like(k).stride()] * 2
    if order == "bmhd" and name != "k":
        assert out.stride() == dense.stride()
        assert out.transpose(1, 2).flatten(2).data_ptr() == out.data_ptr()


def test_inputs_stay_as_they_are(attend):
    problem = random_problem(mask_of(LONGFORMER, 40, 40))
    before = [x.clone() for x in (problem.q, problem.k, problem.v, problem.g, problem.dlse)]
    run(attend, problem)
    assert all(
        torch.equal(x, y)
        for x, y in zip(before, (problem.q, problem.k, problem.v, problem.g, problem.dlse), strict=True)
    )


@pytest.mark.parametrize("pattern", [LONGFORMER, BY_HEAD], ids=lambda pattern: pattern.name)
def test_equal_bits_from_run_to_run(pattern):
    problem = random_problem(mask_of(pattern, 200, 200), heads=6, kv_heads=2)
    first, second = (run(attend_of(pattern), problem) for _ in range(2))
    for name in ("out", "lse", "dq", "dk", "dv"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_the_public_check_finds_a_wrong_operator(attend):
    class Operator:
        pattern = type(
            "Pattern",
            (),
            {"mask": lambda self, *a, **k: mask_of(LONGFORMER, *a, **k), "heads": None, "nodes": LONGFORMER},
        )()

        def __init__(self, wrong):
            self.wrong = wrong

        def __call__(self, q, k, v, **keywords):
            return attend(q, k, v + self.wrong, **keywords)

    assert [each.name for each in check(Operator(0.0), 33, 44, heads=4, kv_heads=2)] == ["out", "lse", "dq", "dk", "dv"]
    check(Operator(0.0), 33, 20, q_offset=2, dtype=torch.bfloat16)
    with pytest.raises(AssertionError, match="not dense attention: out"):
        check(Operator(1e-4), 33, 44)


def test_a_single_missing_pair_is_found():
    pattern, other = pattern_of("pattern p = past(40)"), pattern_of("pattern p = past(40) & (q != 77 | k != 50)")
    for dtype in (torch.float32, torch.float16):
        problem = random_problem(mask_of(pattern, 90, 90), dtype=dtype)
        assert not all(each.holds for each in compare(run(attend_of(other), problem), problem))


# ---------------------------------------------------------------- nothing to do


@pytest.mark.parametrize("shape", [(0, 4, 10, 16), (2, 4, 0, 16), (0, 4, 0, 16)], ids=str)
@pytest.mark.parametrize("pattern", [LONGFORMER, BY_HEAD], ids=lambda pattern: pattern.name)
def test_zero_batches_and_queries(shape, pattern):
    heads = pattern.heads or 4
    q = rand(shape[0], heads, *shape[2:], requires_grad=True)
    k, v = (rand(shape[0], 2, 12, 16, requires_grad=True) for _ in range(2))
    out, lse = attend_of(pattern)(q, k, v, return_lse=True)
    assert out.shape == q.shape
    assert lse.shape == q.shape[:3]
    (out.sum() + lse.sum()).backward()
    assert q.grad.shape == q.shape
    assert not k.grad.any()
    assert not v.grad.any()


@pytest.mark.parametrize("pattern", [LONGFORMER, BY_HEAD], ids=lambda pattern: pattern.name)
def test_no_keys(pattern):
    """As scaled_dot_product_attention does: zeros."""
    q = rand(2, 6, 5, 16, requires_grad=True)
    k, v = (rand(2, 2, 0, 16, requires_grad=True) for _ in range(2))
    out, lse = attend_of(pattern)(q, k, v, q_offset=0, return_lse=True)
    assert torch.equal(out, torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True))
    assert (lse == -torch.inf).all()
    out.sum().backward()
    assert not q.grad.any()
    assert k.grad.shape == k.shape


def test_no_heads(attend):
    q = rand(2, 0, 5, 16)
    assert attend(q, q, q).shape == q.shape


# ---------------------------------------------------------------- extreme scores


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("score", [-1e31, -1e37])
def test_rows_of_hugely_negative_scores_have_their_softmax(dtype, score):
    """As a bias of the least number through a column of q and k makes them: keys that are equally bad are averaged."""
    pattern = pattern_of("pattern p = past(7) | sinks(2)")
    q, k, v = (torch.zeros(1, 1, 40, 16, dtype=dtype) for _ in range(3))
    q[..., 0], k[..., 0] = 4.0, score
    v.normal_(generator=torch.Generator().manual_seed(0))
    out, lse = attend_of(pattern)(q, k, v, return_lse=True)
    mask = torch.from_numpy(mask_of(pattern, 40, 40))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(out, expected)
    assert (lse == k[..., 0].float()).all()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("code", "said", "tensors"),
    [
        ("SP0601", "(2, 8, 16)", (rand(2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16))),
        ("SP0601", "(1, 2, 9, 16)", (rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 9, 16))),
        ("SP0601", "(3, 2, 8, 16)", (rand(1, 2, 8, 16), rand(3, 2, 8, 16), rand(3, 2, 8, 16))),
        ("SP0601", "(1, 2, 8, 32)", (rand(1, 2, 8, 32), rand(1, 2, 8, 16), rand(1, 2, 8, 16))),
        ("SP0601", "20", (rand(1, 2, 8, 20), rand(1, 2, 8, 20), rand(1, 2, 8, 20))),
        ("SP0601", "8", (rand(1, 2, 8, 8), rand(1, 2, 8, 8), rand(1, 2, 8, 8))),
        ("SP0601", "264", (rand(1, 2, 8, 264), rand(1, 2, 8, 264), rand(1, 2, 8, 264))),
        (
            "SP0601",
            "nested",
            tuple(torch.nested.nested_tensor([rand(2, 8, 16)], layout=torch.jagged) for _ in range(3)),
        ),
        ("SP0601", "sparse_coo", tuple(rand(1, 2, 8, 16).to_sparse() for _ in range(3))),
        ("SP0602", "float64", (rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16).double())),
        ("SP0601", "ndarray, Tensor, NoneType", (rand(1, 2, 8, 16).numpy(), rand(1, 2, 8, 16), None)),
        ("SP0602", "int64", tuple(torch.ones(1, 2, 8, 16, dtype=torch.int64) for _ in range(3))),
        ("SP0602", "complex64", tuple(torch.ones(1, 2, 8, 16, dtype=torch.complex64) for _ in range(3))),
        ("SP0603", "meta", (rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16, device="meta"))),
        ("SP0604", "6", (rand(1, 6, 8, 16), rand(1, 4, 8, 16), rand(1, 4, 8, 16))),
        ("SP0604", "2 query heads and 0 key", (rand(1, 2, 8, 16), rand(1, 0, 8, 16), rand(1, 0, 8, 16))),
        ("SP0605", "q_offset=0", (rand(1, 2, 9, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16))),
    ],
)
@pytest.mark.parametrize("autocast", [False, True])
def test_errors_of_tensors(attend, code, said, tensors, autocast):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), pytest.raises(ValueError) as caught:
        attend(*tensors)
    assert str(caught.value).startswith(f"[{code}]")
    assert said in str(caught.value)


def test_errors_of_devices(attend):
    """Devices that no kernel is for; a fake one, since no machine has them all."""
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode(), pytest.raises(ValueError, match=r"^\[SP0603\].*mps"):
        q = torch.empty(1, 2, 8, 16, device="mps")
        attend(q, q, q)


def test_errors_of_distributed_tensors(attend, tmp_path):
    import torch.distributed as distributed
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        q = distribute_tensor(rand(1, 2, 8, 16), init_device_mesh("cpu", (1,)), [Shard(1)])
        with pytest.raises(ValueError, match=r"^\[SP0601\].*local_map"):
            attend(q, q, q)
    finally:
        distributed.destroy_process_group()


def test_errors_of_offsets(attend):
    q = rand(1, 2, 8, 16)
    for q_offset in (-1, 2**30, 1.5, "3", True, np.bool_(True), [0]):
        with pytest.raises(ValueError, match=r"^\[SP0606\]"):
            attend(q, q, q, q_offset=q_offset)
    with pytest.raises(ValueError, match="shift the keys in the text"):
        attend(q, q, q, q_offset=-3)


def test_offsets_of_any_integer_type(attend):
    q, k = rand(1, 2, 5, 16), rand(1, 2, 8, 16)
    for q_offset in (2, np.int64(2), np.uint8(2)):
        assert torch.equal(attend(q, k, k, q_offset=q_offset), attend(q, k, k, q_offset=2))


def test_errors_of_scales(attend):
    q = rand(1, 2, 8, 16)
    for scale in ("big", "0.1", b"1", True, [1], float("nan"), float("inf"), -float("inf"), 1e39, 10**400):
        with pytest.raises(ValueError, match=r"^\[SP0606\]"):
            attend(q, q, q, scale=scale)


def test_a_scale_that_is_a_tensor_is_told_how_to_be_differentiated(attend):
    q, k, v = (rand(1, 2, 8, 16) for _ in range(3))
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for each in (scale, scale.detach(), rand(2, 1, 1)):
        with pytest.raises(ValueError, match=r"^\[SP0606\].*attend\(q \* scale, k, v, scale=1\.0\)"):
            attend(q, k, v, scale=each)
    q, k, v = (x.double() for x in (q, k, v))
    (found,) = torch.autograd.grad(attend(q * scale, k, v, scale=1.0).square().sum(), scale)
    mask = torch.from_numpy(mask_of(LONGFORMER, 8, 8))
    dense = torch.nn.functional.scaled_dot_product_attention(q * scale, k, v, mask, scale=1.0)
    torch.testing.assert_close(found, torch.autograd.grad(dense.square().sum(), scale)[0])
    assert torch.equal(attend(q, k, v, scale=np.float32(0.5)), attend(q, k, v, scale=0.5))


def test_errors_of_heads():
    with pytest.raises(ValueError, match=r"^\[SP0604\].*6.*4"):
        attend_of(BY_HEAD)(rand(1, 4, 8, 16), rand(1, 4, 8, 16), rand(1, 4, 8, 16))


def test_one_text_registers_once():
    """A copy of a module, as two files of one text, shares the operator that is already there."""
    module = module_of(LONGFORMER)
    copy = type(module)("copy")
    with open(module.__file__) as file:
        exec(compile(file.read(), module.__file__, "exec"), copy.__dict__)
    q = rand(1, 2, 20, 16)
    assert torch.equal(copy.longformer(q, q, q), module.longformer(q, q, q))


def test_two_parameterisations_live_together():
    q = rand(1, 2, 90, 16)
    for w in (4, 20):
        pattern = example("mistral", w=w)
        problem = random_problem(mask_of(pattern, 90, 90))
        assert all(each.holds for each in compare(run(attend_of(pattern), problem), problem)), w
    assert attend_of(example("mistral", w=4))(q, q, q).shape == q.shape
