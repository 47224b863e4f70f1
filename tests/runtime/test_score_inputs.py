"""Scores that read float inputs, on a CPU: results and every gradient, against dense attention and autograd."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.generated import attend_of, mask_of, module_of, pattern_of
from support.score_inputs import BY_HEAD, TEXTS, dense, drawn_inputs

import sparsec
from sparsec.diagnostics import SparsecError
from sparsec.kernels.passes.read_gradients import add_to_entries
from sparsec.kernels.program.inputs import checked_inputs
from sparsec.kernels.weights.dropout import dropout_mask

HEADS, KV_HEADS, BATCH = 4, 2, 2


def drawn(n_q: int, n: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (BATCH, HEADS, n_q, 16), (BATCH, KV_HEADS, n, 16), (BATCH, KV_HEADS, n, 16)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize(
    ("name", "n_q", "n", "q_offset"),
    [
        ("all", 40, 40, 0),
        ("all", 3, 40, 37),
        ("pairs", 35, 30, 4),
        ("heads", 33, 41, 8),
        pytest.param("strided", 33, 70, 37, marks=pytest.mark.full),
        pytest.param("random", 20, 41, 21, marks=pytest.mark.full),
        ("data", 20, 33, 13),
        ("documents", 20, 33, 13),
        ("documents", 33, 20, 4),
        ("numbers", 20, 33, 13),
    ],
)
def test_every_gradient(name: str, n_q: int, n: int, q_offset: int) -> None:
    pattern = pattern_of(TEXTS[name], heads=HEADS if name in BY_HEAD else None)
    tensors, inputs = drawn(n_q, n), drawn_inputs(pattern, BATCH, HEADS, n, torch.float64)
    leaves = [x.requires_grad_() for x in (*tensors, *inputs.values()) if x.is_floating_point()]
    found = attend_of(pattern)(*tensors, q_offset=q_offset, return_lse=True, **inputs)
    wanted = dense(pattern, *tensors, inputs, 0.25, q_offset)
    torch.testing.assert_close(found, wanted)
    g, dlse = (torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype) for x in wanted)
    there = wanted[1].isfinite()  # a row without a key has no gradient
    gradients = [
        torch.autograd.grad((out * g).sum() + (lse * dlse)[there].sum(), leaves) for out, lse in (found, wanted)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("name", "n_q", "n", "q_offset"),
    [
        ("all", 33, 40, 7),
        pytest.param("all", 3, 40, 37, marks=pytest.mark.full),
        *(pytest.param(name, 20, 41, 21, marks=pytest.mark.full) for name in TEXTS),
    ],
)
def test_every_gradient_with_dropout(name: str, n_q: int, n: int, q_offset: int) -> None:
    """What a dropped weight would have changed does not reach the entries that its score read."""
    pattern, p = pattern_of(TEXTS[name], heads=HEADS if name in BY_HEAD else None), 0.3
    tensors, inputs = drawn(n_q, n), drawn_inputs(pattern, BATCH, HEADS, n, torch.float64)
    leaves = [x.requires_grad_() for x in (*tensors, *inputs.values()) if x.is_floating_point()]
    call = {"q_offset": q_offset, "dropout_p": p, "dropout_seed": 5, "return_lse": True}
    found = attend_of(pattern)(*tensors, **call, **inputs)
    kept = dropout_mask((BATCH, HEADS, n_q, n), p, 5, q_offset)
    wanted = dense(pattern, *tensors, inputs, 0.25, q_offset, lambda weights: weights * kept / (1 - p))
    torch.testing.assert_close(found, wanted)
    g, dlse = (torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype) for x in wanted)
    there = wanted[1].isfinite()
    gradients = [
        torch.autograd.grad((out * g).sum() + (lse * dlse)[there].sum(), leaves) for out, lse in (found, wanted)
    ]
    torch.testing.assert_close(*gradients)


def test_gradcheck() -> None:
    pattern = pattern_of(TEXTS["all"])
    tensors, inputs = drawn(7, 9), drawn_inputs(pattern, BATCH, HEADS, 9, torch.float64)
    names, attend = [*inputs], attend_of(pattern)

    def run(*given: torch.Tensor) -> torch.Tensor:
        return attend(*given[:3], **dict(zip(names, given[3:], strict=True)))

    assert torch.autograd.gradcheck(run, [x.requires_grad_() for x in (*tensors, *inputs.values())], fast_mode=True)


def test_sums_are_those_of_one_order() -> None:
    pattern = pattern_of(TEXTS["strided"])
    tensors = [x.float() for x in drawn(70, 70)]
    runs = []
    for _ in range(2):
        inputs = {name: x.requires_grad_() for name, x in drawn_inputs(pattern, BATCH, HEADS, 70).items()}
        runs.append(torch.autograd.grad(attend_of(pattern)(*tensors, **inputs).square().sum(), [*inputs.values()]))
    assert all(torch.equal(x, y) for x, y in zip(*runs, strict=True))


@given(st.integers(1, 3), st.integers(1, 900), st.integers(1, 40), st.integers(0, 99))
def test_sums_of_stretches_go_to_their_entries(lines: int, count: int, room: int, seed: int) -> None:
    """Of indices that rise and stop, as clamped distances do, and of any."""
    random = torch.Generator().manual_seed(seed)
    entry = torch.randint(-300, 300 + room, (lines, count), generator=random)
    entry = (entry.sort(-1).values if seed % 2 else entry).clamp(0, room - 1)
    total, sums = torch.randn(room, generator=random), torch.randn(lines, count, generator=random)
    wanted = total.double().index_add(0, entry.flatten(), sums.double().flatten())
    size = total.double().abs().index_add(0, entry.flatten(), sums.double().abs().flatten())  # of all that is added
    add_to_entries(total, entry, sums)
    assert ((total - wanted).abs() <= 2 * torch.finfo(torch.float32).eps * size).all()


def test_documents_are_as_if_each_stood_alone() -> None:
    pattern = pattern_of(TEXTS["pairs"])
    n, ends = 40, [0, 13, 13, 31, 40]
    (q, k, v), inputs = (x[:1] for x in drawn(n, n)), drawn_inputs(pattern, 1, HEADS, n, torch.float64)
    leaves = [x.requires_grad_() for x in inputs.values()]
    attend = attend_of(pattern)
    packed = attend(q, k, v, documents=torch.tensor(ends, dtype=torch.int32), **inputs)
    alone = []
    for begin, end in pairwise(ends):
        own = {name: x[..., begin:end, begin:end] if name == "whole" else x for name, x in inputs.items()}
        alone.append(attend(*(x[:, :, begin:end] for x in (q, k, v)), **own))
    wanted = torch.cat(alone, 2)
    torch.testing.assert_close(packed, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(x.square().sum(), leaves) for x in (packed, wanted)))


def test_low_precision_inputs_keep_their_type() -> None:
    attend = attend_of(pattern_of("input b: float[H] score x = s - b * abs(q - k) pattern p = causal with x"))
    q, k, v = (x.float() for x in drawn(9, 9))
    b = torch.full((HEADS,), 0.5, dtype=torch.bfloat16, requires_grad=True)
    attend(q, k, v, b=b).sum().backward()
    assert b.grad.dtype == torch.bfloat16
    exact = b.detach().double().requires_grad_()
    attend(q.double(), k.double(), v.double(), b=exact).sum().backward()
    torch.testing.assert_close(b.grad.double(), exact.grad, rtol=2**-7, atol=2**-7 * exact.grad.abs().max().item())


def test_vmap_and_second_derivatives() -> None:
    attend = attend_of(pattern_of("input b: float[H] score x = s - b * abs(q - k) pattern p = causal with x"))
    q, k, v = (x[:, None] for x in drawn(9, 9))
    b = torch.rand(HEADS, dtype=torch.float64, requires_grad=True)

    def loss(b: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return attend(q, k, v, b=b).square().sum()

    found = torch.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))(b, q, k, v)
    torch.testing.assert_close(
        found, torch.stack([torch.func.grad(loss)(b, *each) for each in zip(q, k, v, strict=True)])
    )
    (first,) = torch.autograd.grad(loss(b, q[0], k[0], v[0]), b, create_graph=True)
    with pytest.raises(RuntimeError, match="SP0607"):
        first.sum().backward()


def test_the_operators_are_sound() -> None:
    pattern = pattern_of(TEXTS["data"])
    operator, n = module_of(pattern)._OPERATOR, 17
    q, k, v = (x.requires_grad_() for x in drawn(n, n))
    data = checked_inputs(operator.program.inputs, drawn_inputs(pattern, BATCH, HEADS, n, torch.float64), q, k)
    first = len(data) - operator.program.score_inputs
    reals = [x.requires_grad_() for x in data[first:]]
    rest = None, data[:first], 0.25, 0, None, 0.0, True, reals
    checks = "test_schema", "test_autograd_registration", "test_faketensor"
    torch.library.opcheck(operator.forward, (q, k, v, None, *rest), test_utils=checks)
    with torch.no_grad():
        out, lse = operator.forward(q, k, v, None, *rest)
        given = (torch.ones_like(out), q, k, v, out, lse, None, *rest)
        torch.library.opcheck(getattr(torch.ops.sparsec, f"{operator.forward._name[9:]}_reals").default, given)


def test_compiled_with_gradients() -> None:
    attend = attend_of(pattern_of("input b: float[H] score x = s - b * abs(q - k) pattern p = causal with x"))
    q, k, v = (x.float() for x in drawn(33, 33))
    b = torch.rand(HEADS, requires_grad=True)
    compiled = torch.compile(lambda b: attend(q, k, v, b=b).square().sum(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(
        *(torch.autograd.grad(f(b), b) for f in (compiled, lambda b: attend(q, k, v, b=b).square().sum()))
    )


def test_check_compares_with_the_reference() -> None:
    pattern = pattern_of(TEXTS["all"])
    attend = sparsec.compile(TEXTS["all"])
    sparsec.testing.check(attend, 20, 33, heads=HEADS, kv_heads=KV_HEADS, **drawn_inputs(pattern, 1, HEADS, 33))


def test_scores_read_literally() -> None:
    """A table by distance as numpy indexes it."""
    pattern = pattern_of("input t: float[H, d] score x = s + t[min(q - k, 3)] pattern p = past(6) with x")
    q, k, v = drawn(9, 9)
    t = torch.arange(HEADS * 4, dtype=torch.float64).view(HEADS, 4) / 7
    bias = np.zeros((HEADS, 9, 9))
    for i, j in np.ndindex(9, 9):
        bias[:, i, j] = t[:, min(i - j, 3)] if i >= j else 0.0
    s = q @ k.repeat_interleave(2, 1).mT / 4 + torch.as_tensor(bias)
    kept = torch.as_tensor(mask_of(pattern, 9, 9))
    wanted = s.masked_fill(~kept, float("-inf")).softmax(-1) @ v.repeat_interleave(2, 1)
    torch.testing.assert_close(attend_of(pattern)(q, k, v, t=t), wanted)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"b": None}, "missing"),
        ({"b": torch.zeros(HEADS, dtype=torch.int64)}, "float32, float16 or bfloat16"),
        ({"b": torch.zeros(3)}, r"\[H = 4\]"),
        ({"c": torch.zeros(HEADS)}, "reads no input `c`"),
    ],
)
def test_what_does_not_fit(change: dict, said: str) -> None:
    attend = attend_of(pattern_of("input b: float[H] score x = s - b pattern p = causal with x"))
    given = {name: x for name, x in ({"b": torch.zeros(HEADS)} | change).items() if x is not None}
    with pytest.raises(ValueError, match=rf"SP0620.*{said}"):
        attend(*drawn(5, 5), **given)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("input b: float[n] pattern p = causal & b[q] == 0", "SP0219"),
        ("input b: float[n] score x = s + b pattern p = causal with x", "SP0215"),
        ("input b: float[n, n] score x = s + b[q] pattern p = causal with x", "SP0215"),
        ("input b: int[n, n] pattern p = causal & b[q] == 0", "SP0214"),
        ("input d: int[n] score x = s + d pattern p = causal with x", "SP0215"),
        ("input d: int[n] input b: float[t] score x = s + b[d[q] * d[k]] pattern p = causal with x", "SP0303"),
        ("score x = s if blocks(4, [[0]]) else 0.0 pattern p = causal with x", "SP0223"),
        ("input c: keys[t] score x = s if selected(c) else 0.0 pattern p = causal with x", "SP0223"),
        ("input b: float[t] pattern p = k in b", "SP0215"),
    ],
)
def test_what_a_text_can_not_say(text: str, code: str) -> None:
    with pytest.raises(SparsecError) as caught:
        module_of(pattern_of(text))
    assert {each.code for each in caught.value.diagnostics} == {code}


RELATIVE = "input bias: float[H, d]"
WRITTEN_OUT = f"{RELATIVE} score out(far) = s + bias[min(max(k - q, -far), far) + far]"


@pytest.mark.parametrize(
    ("text", "written_out"),
    [
        ("pattern p(far = 4) = full with relative(bias, far)", "pattern p(far = 4) = full with out(far)"),
        (
            "score half(f) = 0.5 * relative(bias, f) pattern p = past(9) with softcap(4), half(2 + 1)",
            "score half(f) = 0.5 * out(f) pattern p = past(9) with softcap(4), half(3)",
        ),
    ],
)
def test_relative_is_what_it_says(text: str, written_out: str) -> None:
    short, long = pattern_of(f"{RELATIVE} {text}"), pattern_of(f"{WRITTEN_OUT} {written_out}")
    assert short.conditions == long.conditions
    assert short.scores == long.scores


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("input b: int[n] pattern p = full with relative(b, 3)", "SP0224"),
        ("input b: float[n] pattern p = full with relative(b, 3)", "SP0224"),
        ("pattern p = full with relative(x, 3)", "SP0224"),
        ("input b: float[d] pattern p = full with relative(b)", "SP0204"),
        ("input b: float[d] pattern p = full with relative(b, 1.5)", "SP0219"),
        ("input b: float[d] score z = relative(b, s) pattern p = full with z", "SP0219"),
        ("input b: float[d] pattern p = relative(b, 3)", "SP0201"),
    ],
)
def test_errors_of_relative(text: str, code: str) -> None:
    with pytest.raises(SparsecError) as found:
        pattern_of(text)
    assert code in str(found.value)
