"""The Hopper tier on a GPU of capability 9.0, wherever it can run: pytest -m gpu."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.exact import assert_as_exact
from support.generated import attend_of, mask_of, pattern_of, random_pattern
from support.hopper_on_gpu import HERE, forget, gradients, launches, on_hopper
from support.on_gpu import HALVES, any_program, check
from support.sinks import dense, results

from sparsec.ir.nodes import Pattern
from sparsec.kernels.hopper import rules as hopper_rules
from sparsec.kernels.hopper.backward.kernel import hopper_backward_kernel
from sparsec.kernels.hopper.forward.kernel import hopper_forward_kernel
from sparsec.kernels.hopper.rules import TIER
from sparsec.kernels.weights.sinks import with_sinks
from sparsec.testing.score_programs import score_programs

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not HERE, reason="needs a Hopper GPU, and a Triton with Gluon")]

PATTERNS = [
    "k < n",
    "causal",
    "past(128)",
    "past(300) | sinks(4)",
    "window(200) | global(40)",
    "causal & q % 3 != 0",
    "past(100) & q >= 400",
    "k < 200 | k >= q & k < q + 77",
    "block_window(128, 3)",
    "match h { 0 -> past(77), 1 -> past(500), 2 -> k < n, else -> causal }",
]
SCORED = [
    "past(300) | sinks(4) with softcap(2), alibi",
    "window(200) | global(40) with softcap(50)",
    "causal & q % 3 != 0 with alibi",
    "match h { 0 -> past(77) with softcap(2), 1 -> past(500) with softcap(3), else -> causal with softcap(h + 2) }",
    "score half = 0.5\npattern p = past(300) with half",
    "score both = s * s / 4 - max(s, k / 900) if q - k > 9 else 2 ** min(s, 3)\npattern p = k < n with both",
]


@pytest.fixture(autouse=True)
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIER, "hopper")


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps over ranges alone, as sequences of a call have them: those from a list of blocks have other sums."""
    monkeypatch.setattr(hopper_rules, "_MOST_FROM_LIST", 0.0)


def check_here(pattern: Pattern, *lengths: int | None, **problem) -> None:
    attend = attend_of(pattern)
    forget(attend)
    check(pattern, *lengths, attend=attend, **problem)
    assert on_hopper(attend)
    assert on_hopper(attend, hopper_backward_kernel) == (not pattern.heads)


@pytest.mark.parametrize("text", PATTERNS)
def test_patterns(text: str) -> None:
    pattern = pattern_of(f"pattern p = {text}", 4 if "match" in text else None)
    check_here(pattern, 1024, 1024, heads=4, kv_heads=2, head_size=128, dtype=torch.bfloat16)
    check_here(pattern, 777, 1111, heads=4, kv_heads=2, head_size=64, dtype=torch.float16, batch=2)


@pytest.mark.parametrize("text", SCORED)
def test_scores(text: str) -> None:
    pattern = pattern_of(text if "pattern" in text else f"pattern p = {text}", 4 if "match" in text else None)
    check_here(pattern, 1024, 1024, heads=4, kv_heads=2, head_size=128, dtype=torch.bfloat16)
    check_here(pattern, 777, 1111, heads=4, kv_heads=2, head_size=80, dtype=torch.float16, batch=2)
    check_here(pattern, 333, 200, 20, heads=4, kv_heads=1, head_size=64, dtype=torch.bfloat16)


@settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(score_programs(), st.sampled_from(((300, 300, 0), (5, 470, 465), (233, 120, 9))), st.sampled_from(HALVES))
def test_random_scores(score: str, lengths: tuple[int, int, int], dtype: torch.dtype) -> None:
    pattern = pattern_of(f"{score}pattern p = past(100) | k < 70 with x")
    check_here(pattern, *lengths, heads=4, kv_heads=2, head_size=64, dtype=dtype)


@pytest.mark.parametrize(("head_size", "dtype"), [(128, torch.bfloat16), (80, torch.float16), (64, torch.float16)])
@pytest.mark.parametrize(
    ("text", "n_q", "n"),
    [
        ("past(300) | sinks(4)", 777, 1111),
        ("causal & q % 3 != 0", 600, 600),  # rows without a key
        ("window(300) | global(200)", 5000, 5000),  # leading tiles are split
        ("match h { 0 -> past(77), 1 -> past(500), 2 -> k < n, else -> causal }", 700, 900),
    ],
)
def test_sinks(text: str, n_q: int, n: int, head_size: int, dtype: torch.dtype) -> None:
    pattern = pattern_of(f"pattern p = {text}", 4 if "match" in text else None)
    attend, mask = attend_of(pattern), torch.as_tensor(mask_of(pattern, n_q, n), device="cuda")
    forget(attend)
    generator = torch.Generator().manual_seed(0)
    queries, keys = (2, 4, n_q, head_size), (2, 2, n, head_size)
    drawn = [torch.randn(shape, generator=generator) for shape in (queries, keys, keys, (4,), queries, queries[:3])]
    drawn[3][:2] = torch.tensor([20.0, float("-inf")])  # one above all scores, and one that is as if it were not there
    drawn, scale = [x.to("cuda", dtype) for x in drawn], head_size**-0.5
    found = results(lambda *x: attend(*x[:3], sinks=x[3], return_lse=True), drawn)
    wanted = results(lambda *x: dense(mask, *x, scale), [x.double() for x in drawn])
    assert_as_exact(found, wanted, results(lambda *x: dense(mask, *x, scale), drawn))
    assert on_hopper(attend)
    assert on_hopper(attend, hopper_backward_kernel) == (not pattern.heads)


def test_sinks_beside_scores() -> None:
    attend = attend_of(pattern_of("pattern p = past(300) with softcap(2)"))
    forget(attend)
    q, k, v = torch.randn(3, 2, 4, 900, 128, device="cuda", dtype=torch.bfloat16)
    sinks = torch.randn(4, device="cuda")
    out, lse = attend(q, k, v, sinks=sinks, return_lse=True)
    wanted_out, wanted_lse = with_sinks(*attend(q, k, v, return_lse=True), sinks[None])
    # some roundings of the largest: both are logarithms of sums of exponentials, taken in different orders
    atol = 8 * torch.finfo(lse.dtype).eps * wanted_lse.abs().max().item()
    torch.testing.assert_close(lse, wanted_lse, rtol=0, atol=atol)
    # rounded once, and twice
    torch.testing.assert_close(out.float(), wanted_out.float(), rtol=2 * torch.finfo(q.dtype).eps, atol=0)
    assert on_hopper(attend)


def test_low_sinks_of_capped_scores() -> None:
    """Where a row has no key, a sink is all there is, however low."""
    attend = attend_of(pattern_of("pattern p = causal & q % 3 != 0 with softcap(50)"))
    forget(attend)
    q, k, v = torch.randn(3, 1, 2, 600, 128, device="cuda", dtype=torch.bfloat16)
    out, lse = attend(q, k, v, sinks=torch.tensor([-500.0, 3.0], device="cuda"), return_lse=True)
    assert on_hopper(attend)
    assert torch.equal(lse[0, :, ::3], torch.tensor([[-500.0], [3.0]], device="cuda").expand(2, 200))
    assert not out[:, :, ::3].any()
    torch.testing.assert_close(lse[:, 0, 1::3], attend(q, k, v, return_lse=True)[1][:, 0, 1::3], rtol=0, atol=0)


@pytest.mark.parametrize("head_size", [64, 128])
@pytest.mark.parametrize("lengths", [(1, 1, None), (1, 900, None), (900, 333, 5), (333, 200, 400), (1029, 2048, 0)])
def test_lengths(lengths: tuple[int, int, int | None], head_size: int) -> None:
    for text in ("window(70) | global(20)", "k < n"):
        check_here(pattern_of(f"pattern p = {text}"), *lengths, dtype=torch.bfloat16, head_size=head_size)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("head_size", [40, 64, 80, 96, 128])
def test_head_sizes(head_size: int, dtype: torch.dtype) -> None:
    pattern = pattern_of("pattern p = past(200) | sinks(3)")
    check_here(pattern, 500, 700, heads=4, kv_heads=2, head_size=head_size, dtype=dtype, batch=2)


@pytest.mark.parametrize("head_size", [64, 128])
@pytest.mark.parametrize("text", ["causal", "window(700) | global(70)"])
def test_more_tiles_than_processors(text: str, head_size: int) -> None:
    """Programs take turns, snake-wise or not; the first tiles of some are split."""
    pattern = pattern_of(f"pattern p = {text}")
    check_here(pattern, 3001, 3001, heads=8, kv_heads=2, batch=3, head_size=head_size, dtype=torch.bfloat16)


@pytest.mark.parametrize(("head_size", "dtype"), [(128, torch.bfloat16), (80, torch.float16), (64, torch.float16)])
def test_parts_and_several_sums(head_size: int, dtype: torch.dtype) -> None:
    """Keys that all queries see come in parts, and queries that see all keys have several sums."""
    pattern = pattern_of("pattern p = window(300) | global(200)")
    check_here(pattern, 8333, 9001, 0, heads=4, kv_heads=2, head_size=head_size, dtype=dtype)
    check_here(pattern_of("pattern p = past(300) | sinks(4)"), 6000, 6000, head_size=head_size, dtype=dtype)


@settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    any_program,
    st.integers(1, 500),
    st.integers(1, 500),
    st.integers(0, 200),
    st.sampled_from(HALVES),
    st.sampled_from([1, 90]),
)
def test_random_patterns(program, n_q: int, n_k: int, q_offset: int, dtype: torch.dtype, batch: int) -> None:
    """Also of more tiles than processors.  Kernels that the tier does not take run in the plain one."""
    heads = program.heads or 2
    kv_heads = 2 if heads % 2 == 0 else 1
    pattern = random_pattern(program)
    forget(attend_of(pattern))
    more = {"heads": heads, "kv_heads": kv_heads, "dtype": dtype, "head_size": 64, "batch": batch}
    check(pattern, n_q, n_k, q_offset, **more)


ENDS = [5, 5, 300, 301, 1100, 1100, 2900]


@pytest.mark.parametrize("head_size", [64, 128])
@pytest.mark.parametrize(
    "text", ["causal", "past(100) | sinks(4)", "k < n", "block_window(128, 3)", "window(33) | k < 9"]
)
def test_documents_are_those_alone(text: str, head_size: int, ranges: None) -> None:
    """NaN and inf in tokens of no document, and in a document, reach no other's results."""
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    forget(attend)
    q, k, v = (torch.randn(1, heads, 2905, head_size, device="cuda", dtype=torch.float16) for heads in (4, 2, 2))
    for x in (q, k, v):
        x[:, :, :5], x[:, :, 2900:], x[:, :, 300:301] = float("nan"), float("inf"), float("nan")
    found = attend(q, k, v, documents=torch.tensor(ENDS, device="cuda", dtype=torch.int32), return_lse=True)
    assert on_hopper(attend)
    assert all(not found[0][:, :, own].any() for own in (slice(5), slice(2900, None)))
    for first, stop in ((5, 300), (301, 1100), (1100, 2900)):
        alone = attend(*(x[:, :, first:stop] for x in (q, k, v)), return_lse=True)
        assert all(torch.equal(y[:, :, first:stop], x) for x, y in zip(alone, found, strict=True))


@pytest.mark.parametrize("head_size", [64, 80, 128])
@pytest.mark.parametrize(
    "text", ["causal", "past(300)", "k < n", "k >= q", "block_window(128, 3)", "causal & q % 3 != 0"]
)
def test_gradients_of_documents_are_those_alone(text: str, head_size: int, ranges: None) -> None:
    """Bit for bit, beside NaN and inf in other documents and between them; rows of no document have zeros."""
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    forget(attend)
    q, k, v, g = (torch.randn(1, h, 2905, head_size, device="cuda", dtype=torch.float16) for h in (4, 2, 2, 4))
    g_lse = torch.randn(1, 4, 2905, device="cuda")
    for x in (q, k, v, g, g_lse):
        x[:, :, :5], x[:, :, 2900:], x[:, :, 300:301] = float("nan"), float("inf"), float("nan")
    found = gradients(attend, q, k, v, g, g_lse, documents=torch.tensor(ENDS, device="cuda", dtype=torch.int32))
    assert on_hopper(attend, hopper_backward_kernel)
    for own in (slice(5), slice(2900, None)):
        assert all(torch.equal(x[:, :, own], torch.zeros_like(x[:, :, own])) for x in found)
    for first, stop in ((5, 300), (301, 1100), (1100, 2900)):
        alone = gradients(attend, *(x[:, :, first:stop] for x in (q, k, v, g, g_lse)))
        assert all(torch.equal(y[:, :, first:stop], x) for x, y in zip(alone, found, strict=True))


@pytest.mark.parametrize("text", ["past(100) | sinks(4)", "window(33) | k < 9", "past(300) with softcap(2), alibi"])
def test_gradients_of_documents(text: str) -> None:
    """Against the sum over documents of the dense reference: keys that all queries see come in no parts here."""
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    forget(attend)
    q, k, v, g = (torch.randn(1, h, 2905, 128, device="cuda", dtype=torch.bfloat16) for h in (4, 2, 2, 4))
    found = gradients(attend, q, k, v, g, documents=torch.tensor(ENDS, device="cuda", dtype=torch.int32))
    assert on_hopper(attend, hopper_backward_kernel)
    for first, stop in ((5, 300), (301, 1100), (1100, 2900)):
        own = [x[:, :, first:stop] for x in (q, k, v, g)]
        exact = gradients(attend, *(x.double().cpu() for x in own))
        alone = gradients(attend, *own)
        for x, y, wanted in zip(found, alone, exact, strict=True):
            error = (y.double().cpu() - wanted).abs().max()  # of the same document by itself, in another order of sums
            assert (x[:, :, first:stop].double().cpu() - wanted).abs().max() <= 2 * error


def test_rows_of_unequal_lengths(ranges: None) -> None:
    """Padding on either side, and keys that begin after position 0."""
    attend = attend_of(pattern_of("pattern p = past(500)"))
    forget(attend)
    q, k, v = (torch.randn(3, heads, 1700, 128, device="cuda", dtype=torch.bfloat16) for heads in (4, 2, 2))
    lengths = torch.tensor([1700, 333, 0], device="cuda")
    padded, left = attend(q, k, v, lengths=lengths), attend(q, k, v, k_offset=lengths - 1700)
    assert on_hopper(attend)
    assert not padded[2].any()
    for row, length in ((0, 1700), (1, 333)):
        for x, own in ((padded, slice(length)), (left, slice(1700 - length, None))):
            alone = attend(*(each[row : row + 1, :, own] for each in (q, k, v)))
            assert torch.equal(x[row : row + 1, :, own], alone)
    begin = torch.tensor([650, 300, 1000], device="cuda")
    kept = attend(q[:, :, 1600:], k[:, :, 1000:], v[:, :, 1000:], k_offset=begin)
    for row, first in enumerate(begin.tolist()):
        own = [torch.nn.functional.pad(x[row : row + 1, :, 1000:], (0, 0, first, 0)) for x in (k, v)]
        alone = attend(q[row : row + 1, :, 1600:], *own)  # nobody sees the keys of the padding
        assert torch.equal(kept[row : row + 1], alone)


def test_gradients_of_rows_of_unequal_lengths(ranges: None) -> None:
    attend = attend_of(pattern_of("pattern p = past(500)"))
    forget(attend)
    q, k, v, g = (torch.randn(3, heads, 1700, 128, device="cuda", dtype=torch.bfloat16) for heads in (4, 2, 2, 4))
    lengths = torch.tensor([1700, 333, 0], device="cuda")
    padded = gradients(attend, q, k, v, g, lengths=lengths)
    left = gradients(attend, q, k, v, g, k_offset=lengths - 1700)
    assert on_hopper(attend, hopper_backward_kernel)
    for row, length in ((0, 1700), (1, 333), (2, 0)):
        for found, own, rest in (
            (padded, slice(length), slice(length, None)),
            (left, slice(1700 - length, None), slice(1700 - length)),
        ):
            assert not any(x[row, :, rest].any() for x in found)
            alone = gradients(attend, *(x[row : row + 1, :, own] for x in (q, k, v, g))) if length else ()
            assert all(torch.equal(x[row : row + 1, :, own], y) for x, y in zip(found, alone, strict=bool(length)))
    begin = torch.tensor([650, 300, 1000], device="cuda")
    late, g_late = q[:, :, 1600:], g[:, :, 1600:]
    found = gradients(attend, late, k[:, :, 1000:], v[:, :, 1000:], g_late, k_offset=begin)
    for row, first in enumerate(begin.tolist()):
        own = [torch.nn.functional.pad(x[row : row + 1, :, 1000:], (0, 0, first, 0)) for x in (k, v)]
        alone = gradients(attend, late[row : row + 1], *own, g_late[row : row + 1])
        assert torch.equal(found[0][row : row + 1], alone[0])
        assert all(torch.equal(x[row : row + 1], y[:, :, first:]) for x, y in zip(found[1:], alone[1:], strict=True))


@pytest.mark.parametrize("text", ["causal", "past(77) | sinks(3)", "window(200)", "causal & q % 3 != 0", "k < n"])
@settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    sizes=st.lists(st.one_of(st.integers(0, 3), st.integers(100, 300), st.just(128), st.integers(0, 2000)), max_size=7),
    more=st.integers(0, 300),
)
def test_random_documents(text: str, sizes: list[int], more: int, ranges: None) -> None:
    """More tiles than processors, of documents of any length."""
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    forget(attend)
    ends = torch.tensor([0, *sizes], dtype=torch.int32, device="cuda").cumsum(0, dtype=torch.int32)
    length = int(ends[-1]) + more
    q, k, v, g = (torch.randn(1, h, length, 128, device="cuda", dtype=torch.bfloat16) for h in (8, 2, 2, 8))
    found = [*attend(q, k, v, documents=ends, return_lse=True), *gradients(attend, q, k, v, g, documents=ends)]
    for first, stop in pairwise(ends.tolist()):
        if first < stop:
            own = [x[:, :, first:stop] for x in (q, k, v, g)]
            alone = [*attend(*own[:3], return_lse=True), *gradients(attend, *own)]
            # Alone, keys that all queries see come in parts, so that gradients are other sums.
            count = 2 if "sinks" in text else 5
            pairs = list(zip(alone, found, strict=True))[:count]
            assert all(torch.equal(y[:, :, first:stop], x) for x, y in pairs)


def test_strides() -> None:
    """[B, n, H, D] transposed, every other row, and expanded keys, which run in the plain tier."""
    attend = attend_of(pattern_of("pattern p = past(300)"))
    forget(attend)
    x = torch.randn(3, 2, 900, 4, 128, device="cuda", dtype=torch.bfloat16)
    q, k, v = (each.transpose(1, 2)[:, :, ::2] for x in x[None] for each in x)
    wanted = attend(*(each.contiguous() for each in (q, k, v)))
    assert torch.equal(attend(q, k, v), wanted)
    assert on_hopper(attend)
    ends = torch.tensor([0, 100, 450], device="cuda", dtype=torch.int32)
    first = attend(q[:1], k[:1], v[:1], documents=ends)
    assert torch.equal(first, attend(*(each[:1].contiguous() for each in (q, k, v)), documents=ends))
    g = torch.randn(2, 450, 4, 128, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
    whole = gradients(attend, *(each.contiguous() for each in (q, k, v, g)))
    assert all(map(torch.equal, gradients(attend, q, k, v, g), whole))
    assert on_hopper(attend, hopper_backward_kernel)
    assert all(x.isfinite().all() for x in gradients(attend, q, k, v, g[:1, :1, :1, :1].expand(g.shape)))
    one_k, one_v = (each[:, :1].expand(-1, 4, -1, -1) for each in (k, v))
    same = attend(q, one_k.contiguous(), one_v.contiguous())
    assert (attend(q, one_k, one_v) - same).abs().max() < 2e-2


@pytest.mark.parametrize("text", ["causal", "window(700) | global(70)"])
def test_bitwise_repeatable(text: str) -> None:
    """With other work on the GPU."""
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    forget(attend)
    q, k, v = torch.randn(3, 2, 8, 3000, 128, device="cuda", dtype=torch.bfloat16)
    first, busy, other = attend(q, k, v, return_lse=True), torch.randn(2048, 2048, device="cuda"), torch.cuda.Stream()
    for _ in range(50):
        with torch.cuda.stream(other):
            busy @ busy
        assert all(map(torch.equal, attend(q, k, v, return_lse=True), first))


@pytest.mark.parametrize("head_size", [64, 128])
@pytest.mark.parametrize(
    "text", ["causal", "k < n", "past(300)", "window(300) | global(70)", "past(300) with softcap(2), alibi"]
)
def test_gradients_are_bitwise_repeatable(text: str, head_size: int) -> None:
    """Though steps wait for one another, and other work holds up some of them."""
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    forget(attend)
    q, k, v, g = torch.randn(4, 2, 8, 3000, head_size, device="cuda", dtype=torch.bfloat16)
    g_lse, busy = torch.randn(2, 8, 3000, device="cuda"), torch.randn(2048, 2048, device="cuda")
    first, other = gradients(attend, q, k, v, g, g_lse), torch.cuda.Stream()
    for _ in range(100):
        with torch.cuda.stream(other):
            busy @ busy
        assert all(map(torch.equal, gradients(attend, q, k, v, g, g_lse), first))
    assert on_hopper(attend, hopper_backward_kernel)


def test_gradients_on_two_streams_at_once() -> None:
    """Programs of both wait for others of their own, and none has all processors."""
    attend = attend_of(pattern_of("pattern p = causal"))
    forget(attend)
    q, k, v, g = torch.randn(4, 1, 16, 4096, 128, device="cuda", dtype=torch.bfloat16)
    first, streams = gradients(attend, q, k, v, g), [torch.cuda.Stream() for _ in range(3)]
    torch.cuda.synchronize()
    found = []
    for _ in range(10):
        for stream in streams:
            with torch.cuda.stream(stream):
                found.append(gradients(attend, q, k, v, g))
    torch.cuda.synchronize()
    assert all(all(map(torch.equal, each, first)) for each in found)


@pytest.mark.parametrize("text", ["causal", "past(300) & q >= 500"])
def test_gradients_in_cuda_graphs(text: str) -> None:
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    forget(attend)
    q, k, v, g = torch.randn(4, 1, 8, 3000, 128, device="cuda", dtype=torch.bfloat16)
    expected = [gradients(attend, q, k, v, g) for _ in range(3)][-1]
    assert all(each.known is not None for each in launches(attend))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = gradients(attend, q, k, v, g)
    for _ in range(3):
        graph.replay()
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("text", ["causal", "past(300)"])
def test_gradients_of_documents_repeat(text: str) -> None:
    """Bit for bit with other work on the GPU, on several streams, and in a CUDA graph for documents of any length."""
    attend, device = attend_of(pattern_of(f"pattern p = {text}")), torch.cuda.current_device()
    forget(attend)
    q, k, v, g = torch.randn(4, 1, 16, 16384, 128, device="cuda", dtype=torch.bfloat16)
    ends = torch.tensor([0, 1000, 4100, 4101, 9000, 9128, 16000], device="cuda", dtype=torch.int32)
    first = [gradients(attend, q, k, v, g, documents=ends) for _ in range(3)][-1]
    busy, streams = torch.randn(2048, 2048, device="cuda"), [torch.cuda.Stream() for _ in range(3)]
    torch.cuda.synchronize()
    found = []
    for turn in range(50):
        with torch.cuda.stream(streams[turn % 3]):
            busy @ busy
            found.append(gradients(attend, q, k, v, g, documents=ends))
        if turn % 10 == 9:
            torch.cuda.synchronize()
            assert all(all(map(torch.equal, each, first)) for each in found)
            found.clear()
    compiled = len(hopper_backward_kernel.device_caches[device][0])
    assert all(each.known is not None for each in launches(attend))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        inside = gradients(attend, q, k, v, g, documents=ends)
    graph.replay()
    assert all(map(torch.equal, inside, first))
    ends.copy_(torch.tensor([0, 10, 20, 5000, 9000, 9128, 16384]))
    graph.replay()
    assert all(map(torch.equal, inside, gradients(attend, q, k, v, g, documents=ends)))
    assert len(hopper_backward_kernel.device_caches[device][0]) == compiled


@pytest.mark.parametrize("text", ["causal", "window(700) | global(70)"])
def test_cuda_graphs_and_direct_launches(text: str) -> None:
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    forget(attend)
    q, k, v = torch.randn(3, 1, 8, 3000, 128, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        expected = [attend(q, k, v) for _ in range(3)][-1]
        assert all(each.known is not None for each in launches(attend))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = attend(q, k, v)
        graph.replay()
        assert torch.equal(out, expected)
        q.mul_(0.5)
        graph.replay()
        assert torch.equal(out, attend(q, k, v))


def test_no_new_compile_for_a_new_length() -> None:
    attend, device = attend_of(pattern_of("pattern p = past(91)")), torch.cuda.current_device()
    kernels = hopper_forward_kernel, hopper_backward_kernel
    before = [len(kernel.device_caches[device][0]) for kernel in kernels]
    for n in (100, 1031, 2048, 20001):
        q = torch.randn(1, 2, n, 128, device="cuda", dtype=torch.bfloat16)
        gradients(attend, q, q, q, q)
    assert [len(kernel.device_caches[device][0]) for kernel in kernels] == [each + 1 for each in before]


def test_the_plain_tier_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIER, "plain")
    attend = attend_of(pattern_of("pattern p = causal"))
    forget(attend)
    q = torch.randn(1, 16, 4096, 128, device="cuda", dtype=torch.bfloat16)
    plain = attend(q, q, q)
    assert not on_hopper(attend)
    forget(attend)
    del os.environ[TIER]
    # each is rounded once, from numbers that differ by roundings of the weights
    assert (attend(q, q, q) - plain).abs().max() <= 2 * torch.finfo(q.dtype).eps * plain.abs().max()
    assert on_hopper(attend)
