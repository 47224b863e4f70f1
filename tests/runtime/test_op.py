"""The call: defaults, errors that name what was expected, empty tensors, and equal bits from run to run."""

from __future__ import annotations

import pytest
import torch
from generated import attend_of, example, mask_of, module_of, pattern_of
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


def test_results_are_contiguous(attend):
    q = rand(2, 9, 4, 16).transpose(1, 2).requires_grad_()
    out = attend(q, q, q)
    assert out.is_contiguous()
    out.sum().backward()
    assert q.grad.shape == q.shape


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
        pattern = type("Pattern", (), {"mask": lambda self, *a, **k: mask_of(LONGFORMER, *a, **k), "heads": None})()

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
        ("SP0601", "0", (rand(1, 2, 0, 16), rand(1, 2, 0, 16), rand(1, 2, 0, 16))),
        ("SP0602", "float64", (rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16).double())),
        ("SP0601", "ndarray, Tensor, NoneType", (rand(1, 2, 8, 16).numpy(), rand(1, 2, 8, 16), None)),
        ("SP0602", "int64", tuple(torch.ones(1, 2, 8, 16, dtype=torch.int64) for _ in range(3))),
        ("SP0603", "meta", (rand(1, 2, 8, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16, device="meta"))),
        ("SP0604", "6", (rand(1, 6, 8, 16), rand(1, 4, 8, 16), rand(1, 4, 8, 16))),
        ("SP0605", "9", (rand(1, 2, 9, 16), rand(1, 2, 8, 16), rand(1, 2, 8, 16))),
    ],
)
def test_errors_of_tensors(attend, code, said, tensors):
    with pytest.raises(ValueError) as caught:
        attend(*tensors)
    assert str(caught.value).startswith(f"[{code}]")
    assert said in str(caught.value)


def test_errors_of_offsets(attend):
    q = rand(1, 2, 8, 16)
    for q_offset in (-1, 2**30, 1.5, torch.tensor(1)):
        with pytest.raises(ValueError, match=r"^\[SP0606\]"):
            attend(q, q, q, q_offset=q_offset)


def test_errors_of_scales(attend):
    q = rand(1, 2, 8, 16)
    for scale in ("big", float("nan"), float("inf"), -float("inf"), 1e39, 10**400):
        with pytest.raises(ValueError, match=r"^\[SP0606\]"):
            attend(q, q, q, scale=scale)


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
