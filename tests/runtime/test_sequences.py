"""Packed documents, lengths and offsets of each row: as if every sequence stood alone."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import calls
from support.generated import attend_of, example, module_of, pattern_of, random_pattern, spread_module_of
from support.spread import SPREAD

import sparsec
from sparsec.kernels.sequences.positions import Positions
from sparsec.testing import compare, random_problem
from sparsec.testing.dense_attention import Problem, Results
from sparsec.testing.programs import match_programs, programs

BY_HEAD = pattern_of("pattern p = match h { 0..2 -> past(9) | random_keys(3, 1), else -> causal & stride(3) }", 4)
LONGFORMER = example("longformer", w=8, g=2)
MISTRAL = example("mistral", w=7)


def results(attend, problem: Problem, **call) -> Results:
    tensors = [x.detach().requires_grad_() for x in (problem.q, problem.k, problem.v)]
    out, lse = attend(*tensors, scale=problem.scale, return_lse=True, **call)
    gradients = torch.autograd.grad([out, lse], tensors, [problem.g, problem.dlse])
    return Results(out.detach(), lse.detach(), *gradients)


def assert_exact(attend, mask: torch.Tensor, heads: int, **call) -> None:
    problem = random_problem(
        mask, heads=heads, kv_heads=2 if heads % 2 == 0 else 1, batch=len(mask), seed=mask.shape[2]
    )
    found = compare(results(attend, problem, **call), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


@st.composite
def ends(draw: st.DrawFn) -> tuple[list[int], int]:
    """cu_seqlens and the length of the row: documents of no token, of one, and of more than a tile."""
    sizes = draw(st.lists(st.sampled_from((0, 1, 2, 5, 17, 40, 70)), min_size=1, max_size=5))
    before, after = draw(st.sampled_from((0, 0, 3))), draw(st.sampled_from((0, 0, 4)))
    found = [before]
    for size in sizes:
        found.append(found[-1] + size)
    return found, max(found[-1] + after, 1)


# ---------------------------------------------------------------- documents


@settings(max_examples=25)
@given(programs(), ends())
def test_documents(program, ends):
    pattern = random_pattern(program)
    mask = calls.of_documents(pattern, *ends)
    assert_exact(attend_of(pattern), mask, pattern.heads or 2, documents=torch.tensor(ends[0], dtype=torch.int32))


@settings(max_examples=10)
@given(match_programs(), ends())
def test_documents_by_head(program, ends):
    pattern = random_pattern(program)
    mask = calls.of_documents(pattern, *ends)
    assert_exact(attend_of(pattern), mask, pattern.heads, documents=torch.tensor(ends[0]))


@pytest.mark.parametrize("text", SPREAD)
def test_documents_in_every_layout(text):
    pattern = pattern_of(f"pattern p = {text}")
    ends = [0, 50, 50, 51, 121]
    attend = spread_module_of(pattern).p
    assert_exact(attend, calls.of_documents(pattern, ends, 130), 2, documents=torch.tensor(ends))


@given(st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=6), min_size=1, max_size=3))
def test_start_of_each_token(sizes):
    length = max(sum(row) for row in sizes)
    starts = []
    for row in sizes:
        own = [sum(row[:place]) for place, size in enumerate(row) for _ in range(size)]
        starts.append(own + list(range(len(own), length)))  # padding: documents of one token
    mask = calls.of_starts(LONGFORMER, starts)
    assert_exact(attend_of(LONGFORMER), mask, 4, documents=torch.tensor(starts, dtype=torch.int32))


def test_packing_changes_no_bit():
    """Sequences alone and packed, where the order of sums is the same; other documents do not matter, nor does NaN."""
    torch.manual_seed(0)
    attend = attend_of(MISTRAL)
    ends = [3, 20, 20, 90, 96]
    q, k, v = (torch.randn(1, h, 100, 16) for h in (4, 2, 2))
    for x in (q, k, v):
        x[:, :, :3], x[:, :, 96:] = float("nan"), float("inf")
    tensors = [x.clone().requires_grad_() for x in (q, k, v)]
    out = attend(*tensors, documents=torch.tensor(ends))
    assert not out[:, :, :3].any()
    assert not out[:, :, 96:].any()
    packed = torch.autograd.grad(out.sum(), tensors)
    for first, stop in ((3, 20), (20, 90), (90, 96)):
        own = [x[:, :, first:stop].clone().requires_grad_() for x in (q, k, v)]
        alone = attend(*own)
        assert torch.equal(alone, out[:, :, first:stop])
        for x, y in zip(torch.autograd.grad(alone.sum(), own), packed, strict=True):
            assert torch.equal(x, y[:, :, first:stop])
    assert all(not x[:, :, :3].any() and not x[:, :, 96:].any() for x in packed)


def test_tokens_first_and_jagged():
    """[T, H, D] and jagged [B, H, n, D] are the packed row, without a copy of it."""
    torch.manual_seed(0)
    attend, ends = attend_of(LONGFORMER), torch.tensor([0, 5, 5, 40, 61])
    rows = [torch.randn(61, h, 16).requires_grad_() for h in (4, 2, 2)]
    out, lse = attend(*rows, documents=ends, return_lse=True)
    wide = [x.transpose(0, 1)[None] for x in rows]
    expected, expected_lse = attend(*wide, documents=ends, return_lse=True)
    assert torch.equal(out, expected[0].transpose(0, 1))
    assert torch.equal(lse, expected_lse[0])
    assert out.is_contiguous()
    jagged = [torch.nested.nested_tensor_from_jagged(x, ends).transpose(1, 2) for x in rows]
    nested, nested_lse = attend(*jagged, return_lse=True)
    assert nested.shape[:2] == jagged[0].shape[:2]
    assert torch.equal(nested.transpose(1, 2).values(), out)
    assert torch.equal(nested_lse.transpose(1, 2).values(), lse.T)
    gradients = torch.autograd.grad(nested.transpose(1, 2).values().sum(), rows)
    for x, y in zip(gradients, torch.autograd.grad(out.sum(), rows), strict=True):
        assert torch.equal(x, y)


# ---------------------------------------------------------------- lengths and offsets


@st.composite
def rows(draw: st.DrawFn) -> dict:
    """Arguments of `calls.of_rows`."""
    batch = draw(st.integers(1, 3))
    n_k = draw(st.integers(1, 40))
    same = draw(st.booleans())
    n_q = n_k if same else draw(st.integers(1, n_k))

    def each(numbers: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(numbers, min_size=batch, max_size=batch))

    k_offset = draw(st.sampled_from((None, "int", "tensor")))
    k_offset = k_offset and (draw(st.integers(-n_k, 20)) if k_offset == "int" else each(st.integers(-n_k, 20)))
    lengths = None
    if draw(st.booleans()):
        most = [
            n_k + (k_offset if isinstance(k_offset, int) else k_offset[row] if k_offset else 0) for row in range(batch)
        ]
        lengths = [draw(st.integers(0, max(each, 0))) for each in most]
    q_offset = draw(st.sampled_from((None, None, "int", "tensor")))
    q_offset = q_offset and (draw(st.integers(-5, 45)) if q_offset == "int" else each(st.integers(-5, 45)))
    q_lengths = each(st.integers(0, n_q)) if draw(st.integers(0, 3)) == 0 else None
    given = {"lengths": lengths, "q_lengths": q_lengths, "q_offset": q_offset, "k_offset": k_offset}
    return {"n_q": n_q, "n_k": n_k, "batch": batch, **given}


def call_of(given: dict) -> dict:
    names = ("lengths", "q_lengths", "q_offset", "k_offset")
    some = {name: given[name] for name in names if given[name] is not None}
    return {name: torch.tensor(x, dtype=torch.int32) if isinstance(x, list) else x for name, x in some.items()}


@settings(max_examples=25)
@given(programs(), rows())
def test_rows(program, rows):
    pattern, call = random_pattern(program), call_of(rows)
    if set(call) <= {"q_offset"} and isinstance(call.get("q_offset", 0), int):
        call["k_offset"] = 0
        rows = {**rows, "k_offset": 0}
    assert_exact(attend_of(pattern), calls.of_rows(pattern, **rows), pattern.heads or 2, **call)


@settings(max_examples=25)
@given(rows())
def test_rows_by_head(rows):
    call = {"k_offset": 0, **call_of(rows)}
    mask = calls.of_rows(BY_HEAD, **{**rows, "k_offset": 0 if rows["k_offset"] is None else rows["k_offset"]})
    assert_exact(attend_of(BY_HEAD), mask, 4, **call)


@pytest.mark.parametrize("text", SPREAD)
def test_keys_that_are_gone_in_every_layout(text):
    pattern = pattern_of(f"pattern p = {text}")
    attend = spread_module_of(pattern).p
    for n_q in (3, 40):
        rows = {"n_q": n_q, "n_k": 45, "batch": 1, "lengths": None, "q_lengths": None, "q_offset": None}
        mask = calls.of_rows(pattern, **rows, k_offset=70)
        assert_exact(attend, mask, 2, k_offset=70)


def test_padding_is_never_read():
    torch.manual_seed(0)
    attend = attend_of(LONGFORMER)
    q, k, v = (torch.randn(2, h, 30, 16) for h in (4, 2, 2))
    lengths = torch.tensor([30, 11])
    for x in (q, k, v):
        x[1, :, 11:] = float("nan")
    tensors = [x.requires_grad_() for x in (q, k, v)]
    out = attend(*tensors, lengths=lengths)
    assert torch.equal(out[1:, :, :11], attend(q[1:, :, :11], k[1:, :, :11], v[1:, :, :11]))
    assert not out[1, :, 11:].any()
    for x in torch.autograd.grad(out.sum(), tensors):
        assert x.isfinite().all()
        assert not x[1, :, 11:].any()


def test_padding_on_the_left_and_a_static_cache():
    torch.manual_seed(0)
    attend = attend_of(MISTRAL)
    q, k, v = (torch.randn(2, h, 30, 16) for h in (4, 2, 2))
    out = attend(q, k, v, k_offset=torch.tensor([0, -9]))
    assert torch.equal(out[1:, :, 9:], attend(*(x[1:, :, 9:] for x in (q, k, v))))
    step = q[:, :, -1:]
    out = attend(step, k, v, lengths=torch.tensor([30, 12]))
    assert torch.equal(out[:1], attend(step[:1], k[:1], v[:1]))
    assert torch.equal(out[1:], attend(step[1:], k[1:, :, :12], v[1:, :, :12]))


def test_an_evicting_cache_is_the_whole_one():
    torch.manual_seed(0)
    attend = attend_of(MISTRAL)
    q, k, v = (torch.randn(1, h, 300, 16) for h in (4, 2, 2))
    for n_q in (1, 5, 60):
        gone = 300 - n_q - 6
        whole = attend(q[:, :, -n_q:], k, v)
        kept = attend(q[:, :, -n_q:], k[:, :, gone:], v[:, :, gone:], k_offset=gone)
        torch.testing.assert_close(kept, whole)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"documents": torch.tensor([0, 5, 3, 8])}, "must rise from 0 or more to 8 or less"),
        ({"documents": torch.tensor([0, 9])}, "must rise"),
        ({"documents": torch.tensor([0.0, 8.0])}, "int32 or int64"),
        ({"documents": [0, 8]}, "must be a tensor"),
        ({"documents": torch.zeros(3, 3, 3, dtype=int)}, "cu_seqlens [documents + 1] or start [B, n]"),
        ({"documents": torch.zeros(1, 7, dtype=int)}, "[1, 8]"),
        ({"documents": torch.tensor([[0, 0, 2, 2, 3, 5, 5, 5]])}, "token 4 of row 0 has 3"),
        ({"documents": torch.tensor([0, 8]), "lengths": torch.tensor([8])}, "can't be given together"),
        ({"lengths": torch.tensor([8, 8])}, "one number for each row"),
        ({"lengths": 8}, "int32 tensor [1]"),
        ({"lengths": torch.tensor([9])}, "row 0 has 9 keys, and 8 are passed"),
        ({"lengths": torch.tensor([-1])}, "0 or more"),
        ({"q_lengths": torch.tensor([[1]])}, "one number for each row"),
        ({"lengths": torch.ones(1, 8, dtype=bool)}, "of a mask, its sum over each row"),
        ({"q_offset": torch.tensor(3)}, "one number for each row"),
        ({"k_offset": "1"}, "must be an integer"),
        ({"lengths": torch.tensor([8], device="meta")}, "on the device of q"),
    ],
)
def test_errors(call, said):
    x = torch.randn(1, 2, 8, 16)
    with pytest.raises(ValueError, match=r"\[SP06") as raised:
        attend_of(MISTRAL)(x, x, x, **call)
    assert said in str(raised.value)


def test_cu_seqlens_of_a_batch_are_refused():
    x = torch.randn(2, 2, 8, 16)
    with pytest.raises(ValueError, match="one packed row, got 2 rows"):
        attend_of(MISTRAL)(x, x, x, documents=torch.tensor([0, 8]))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=9).filter(lambda sizes: sum(sizes) > 16))
def test_numbers_of_documents_are_no_cu_seqlens(sizes):
    """Which token has which document, as others take it, would be read as a few short documents."""
    x = torch.randn(1, 2, sum(sizes), 16)
    ids = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    with pytest.raises(ValueError, match="number of each token's document") as raised:
        attend_of(MISTRAL)(x, x, x, documents=ids)
    cure = eval(str(raised.value).split(": pass ")[1], {"torch": torch, "ids": ids})
    torch.testing.assert_close(cure, torch.tensor([0, *accumulate(sizes)]))
    attend_of(MISTRAL)(x, x, x, documents=cure)


@given(st.lists(st.integers(2, 9), min_size=3, max_size=9).filter(lambda sizes: sum(sizes) > 16))
def test_starts_of_one_row_are_no_cu_seqlens(sizes):
    ends = torch.tensor([0, *accumulate(sizes)])
    x, start = torch.randn(1, 2, sum(sizes), 16), torch.repeat_interleave(ends[:-1], ends.diff())
    with pytest.raises(ValueError, match="start of each token's document") as raised:
        attend_of(MISTRAL)(x, x, x, documents=start)
    assert str(raised.value).endswith("pass start[None], [B, n]")
    torch.testing.assert_close(
        attend_of(MISTRAL)(x, x, x, documents=start[None]), attend_of(MISTRAL)(x, x, x, documents=ends)
    )


def test_nested_tensors_that_do_not_fit():
    attend, rows = attend_of(MISTRAL), torch.randn(9, 2, 16)

    def jagged(ends):
        return torch.nested.nested_tensor_from_jagged(rows, torch.tensor(ends)).transpose(1, 2)

    x, same = jagged([0, 5, 9]), jagged([0, 5, 9])  # whose offsets are a tensor of their own
    assert torch.equal(attend(x, same, same).transpose(1, 2).values(), attend(x, x, x).transpose(1, 2).values())
    holes = torch.nested.nested_tensor_from_jagged(rows, torch.tensor([0, 5, 9]), torch.tensor([4, 4])).transpose(1, 2)
    strided = torch.nested.nested_tensor([rows[:5].mT, rows[5:].mT]).transpose(2, 3)
    for other, said in (
        (jagged([0, 4, 9]), "they must share their offsets"),
        (jagged([0, 9]), "they must share their offsets"),
        (holes, "a jagged tensor with gaps between its sequences: its contiguous() has none"),
        (strided, "a nested tensor, and no jagged one"),
        (rows.mT[None], "a dense tensor beside nested ones"),
    ):
        for three in ((x, other, x), (other, x, x), (other, other, x)):
            with pytest.raises(ValueError, match=r"^\[SP06(01|12)\]") as raised:
                attend(*three)
            assert said in str(raised.value)


# ---------------------------------------------------------------- in torch


def test_how_far_positions_reach():
    """Tables that kernels read for all sequences have rows for so many positions; 0 where none would do."""
    some = torch.tensor([3, 40])
    for said, reach in (
        ({"documents": some}, 50),
        ({"lengths": some}, 50),
        ({"lengths": some, "q_lengths": some}, 50),
        ({"lengths": some, "q_offset": 0, "k_offset": -7}, 50),
        ({"lengths": some, "q_offset": some}, 0),
        ({"k_offset": some}, 0),
        ({"lengths": some, "q_offset": 1}, 0),
        ({"lengths": some, "k_offset": 1}, 0),
    ):
        assert Positions(**said).reach(30, 50) == reach


def test_opcheck():
    module = module_of(LONGFORMER)
    q, k, v = (torch.randn(1, h, 14, 16) for h in (4, 2, 2))
    table = sparsec.kernels.sequences.sequences.of_documents(torch.tensor([0, 5, 14]), 14)
    torch.library.opcheck(module._OPERATOR.forward, (q, k, v, None, table, [], 0.3, 0, None, 0.0, True, []))
    out, lse = module._OPERATOR.forward(q, k, v, None, table, [], 0.3, 0, None, 0.0, True, [])
    torch.library.opcheck(
        module._OPERATOR.backward, (out, q, k, v, out, lse, lse, table, [], 0.3, 0, None, 0.0, True, [])
    )


@pytest.mark.parametrize("form", ["cu_seqlens", "start", "lengths"])
def test_compile_once_for_all_documents(form):
    """One graph without breaks, for other values and other numbers of documents."""
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    attend = sparsec.compile("pattern p = past(7) | sinks(2)")

    def step(q, k, v, given):
        return attend(q, k, v, **({"lengths": given} if form == "lengths" else {"documents": given}))

    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend=counter)
    for ends in ([0, 5, 20], [0, 1, 9, 24], [0, 3, 4, 5, 31]):
        length = ends[-1]
        q, k, v = (torch.randn(1, h, length, 16) for h in (4, 2, 2))
        given = torch.tensor(ends)
        if form == "start":
            given = torch.tensor([[first for first, stop in pairwise(ends) for _ in range(stop - first)]])
        elif form == "lengths":
            given = torch.tensor([length - 2])
        torch.testing.assert_close(compiled(q, k, v, given), step(q, k, v, given))
    assert counter.frame_count == 1


def test_vmap_and_gradients():
    torch.manual_seed(0)
    attend = attend_of(LONGFORMER)
    q, k, v = (torch.randn(3, 2, h, 20, 16) for h in (4, 2, 2))
    lengths = torch.tensor([[20, 7], [3, 20], [11, 12]])

    def loss(q, k, v, lengths):
        return attend(q, k, v, lengths=lengths).square().sum()

    found = torch.vmap(torch.func.grad(loss, (0, 1, 2)))(q, k, v, lengths)
    shared = torch.vmap(loss, (0, 0, 0, None))(q, k, v, lengths[0])
    for row in range(3):
        alone = torch.func.grad(loss, (0, 1, 2))(q[row], k[row], v[row], lengths[row])
        for x, y in zip(found, alone, strict=True):
            torch.testing.assert_close(x[row], y)
        torch.testing.assert_close(shared[row], loss(q[row], k[row], v[row], lengths[0]))


def test_counted_operations():
    from torch.utils.flop_counter import FlopCounterMode

    attend = attend_of(MISTRAL)
    x = torch.randn(1, 2, 30, 16)
    with FlopCounterMode(display=False) as counted:
        attend(x, x, x, documents=torch.tensor([0, 10, 30]))
    alone = 0
    for size in (10, 20):
        with FlopCounterMode(display=False) as other:
            attend(x[:, :, :size], x[:, :, :size], x[:, :, :size])
        alone += other.get_total_flops()
    assert counted.get_total_flops() == alone
