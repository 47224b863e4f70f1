"""The kernels on a CUDA device against the dense reference: pytest -m gpu."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import triton
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.generated import (
    EXAMPLES,
    attend_of,
    example,
    listed_module_of,
    pattern_of,
    random_pattern,
    spread_module_of,
)
from support.on_gpu import HALVES, any_program, check
from support.spread import FROM_LISTS, SPREAD

from sparsec.kernels.launches import prepare

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

BY_HEAD = ("longnet_heads", "per_head_strides", "deepspeed_fixed")


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.spat")))
def test_examples(name: str, dtype: torch.dtype) -> None:
    heads = 8 if name in BY_HEAD else None
    check(example(name, heads, layer=0), 1111, 1111, heads=heads or 4, kv_heads=2, head_size=64, dtype=dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("head_size", [16, 32, 40, 64, 80, 128, 192, 256])
def test_head_sizes(head_size: int, dtype: torch.dtype) -> None:
    pattern = pattern_of("pattern p = past(200) | sinks(3)")
    check(pattern, 500, 700, heads=4, kv_heads=2, head_size=head_size, dtype=dtype, batch=2)


@pytest.mark.parametrize("lengths", [(1, 1, None), (1, 900, None), (900, 333, 5), (333, 200, 400), (1029, 2048, 0)])
def test_lengths(lengths: tuple[int, int, int | None]) -> None:
    check(pattern_of("pattern p = window(70) | global(20) | (causal & stride(9))"), *lengths, dtype=torch.bfloat16)


@pytest.mark.parametrize("text", SPREAD)
def test_layouts(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With descriptors for all that can have them: 1,152 positions fall into classes of equal size, 500 do not."""
    pattern = pattern_of(f"pattern p = {text}")
    module = spread_module_of(pattern)
    module._PROGRAM.passes.clear()
    monkeypatch.setattr(prepare, "TMA_LENGTH", 1)
    monkeypatch.setattr(prepare, "TMA_STILL", 1)
    for lengths in [(1152, 1152), (500, 1152), (1152, 1152, 7), (1000, 1111)]:
        check(pattern, *lengths, attend=module.p, heads=4, kv_heads=2, head_size=64, dtype=torch.bfloat16)


@pytest.mark.parametrize("text", FROM_LISTS)
def test_tiles_from_lists(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    module = listed_module_of(pattern)
    module._PROGRAM.passes.clear()
    monkeypatch.setattr(prepare, "TMA_LENGTH", 1)
    monkeypatch.setattr(prepare, "TMA_STILL", 1)
    for lengths in [(1152, 1152), (500, 1152), (1152, 1152, 7), (1000, 1111)]:
        for dtype in (torch.bfloat16, torch.float32):
            check(pattern, *lengths, attend=module.p, heads=4, kv_heads=2, head_size=64, dtype=dtype)


def test_no_new_compile_for_a_new_length() -> None:
    from sparsec.kernels.passes.forward_kernel import forward_kernel

    attend, compiled = attend_of(pattern_of("pattern p = past(77)")), []
    before = len(forward_kernel.device_caches[torch.cuda.current_device()][0])
    for n in (16, 100, 1031, 2048, 5000, 8192, 20001):  # descriptors from 2,048 on, and more of them from 8,192 on
        q = torch.randn(1, 2, n, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        attend(q, q, q).sum().backward()
        compiled.append(len(forward_kernel.device_caches[torch.cuda.current_device()][0]) - before)
    assert compiled == [1, 1, 1, 2, 2, 3, 3] or compiled == [1] * 7  # GPUs with a tensor memory accelerator, or others


def test_without_keys() -> None:
    q = torch.ones(2, 4, 5, 64, device="cuda", requires_grad=True)
    k = torch.ones(2, 2, 0, 64, device="cuda", requires_grad=True)
    out, lse = attend_of(pattern_of("pattern p = causal"))(q, k, k, q_offset=0, return_lse=True)
    out.sum().backward()
    assert not out.any()
    assert (lse == -torch.inf).all()
    assert not q.grad.any()
    assert k.grad.shape == k.shape


def test_transforms_of_torch() -> None:
    """torch.func and torch.vmap, compiled by the default backend or not, and one tensor in several places."""
    attend = attend_of(pattern_of("pattern p = past(99) | sinks(3)"))
    q, k, v = torch.randn(3, 3, 2, 4, 200, 32, device="cuda", dtype=torch.bfloat16).unbind(0)

    def loss(q, k, v):
        return (q + attend(q, k, k)).float().square().sum() + attend(q, k, v).float().sum()

    wanted = []
    for sample in zip(q, k, v, strict=True):
        tensors = [x.clone().requires_grad_() for x in sample]
        wanted.append(torch.autograd.grad(loss(*tensors), tensors))
    take = torch.vmap(torch.func.grad(loss, (0, 1, 2)))
    for every in (take, torch.compile(take, fullgraph=True)):
        for found, each in zip(every(q, k, v), zip(*wanted, strict=True), strict=True):
            torch.testing.assert_close(found, torch.stack(each), atol=2e-2, rtol=2e-2)


REPEATED = [
    "window(100) | global(5)",
    "causal & (past(64) | stride(16))",
    "causal & (same_block(64) | k % 64 >= 60)",
    "block_window(64, 3) | random_blocks(64, 2, 1) | random_keys(2, 1)",
    "match h { 0 -> window(100) | global(5), 1 -> causal & (past(64) | stride(16)), else -> causal & k % 64 >= 60 }",
]


@pytest.mark.parametrize("n", [2000, 8192])
@pytest.mark.parametrize("text", REPEATED)
def test_bitwise_repeatable(text: str, n: int) -> None:
    """The second call finds its kernels compiled; shares and parts are added up in one order."""
    attend = attend_of(pattern_of(f"pattern p = {text}", 8 if "match" in text else None))
    q, k, v = (torch.randn(2, 8, n, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    first, second = (torch.autograd.grad(attend(q, k, v).square().sum(), (q, k, v)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("n", [640, 8192])
@pytest.mark.parametrize("text", ["past(100)", *REPEATED])
def test_cuda_graphs(text: str, n: int) -> None:
    attend = attend_of(pattern_of(f"pattern p = {text}", 8 if "match" in text else None))
    q, k, v = (torch.randn(1, 8, n, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))

    def step() -> list[torch.Tensor]:
        out = attend(q, k, v)
        return [out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))]

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        q.mul_(0.5)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))


def test_offsets_beyond_32_bits() -> None:
    """Keys of the last batch start beyond 2**31 elements."""
    attend = attend_of(pattern_of("pattern p = past(50)"))
    q, k, v = (torch.empty(17, 8, 262144, 64, device="cuda", dtype=torch.float16) for _ in range(3))
    for x in (q, k, v):
        x[-1].normal_()
    whole = attend(q, k, v)[-1:, :, -1000:]
    part = attend(q[-1:, :, -1000:].contiguous(), k[-1:, :, -1100:].contiguous(), v[-1:, :, -1100:].contiguous())
    assert (whole - part).abs().max() < 2e-2


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(any_program, st.integers(1, 300), st.integers(1, 300), st.integers(0, 200), st.sampled_from(HALVES))
def test_random_patterns(program, n_q: int, n_k: int, q_offset: int, dtype: torch.dtype) -> None:
    heads = program.heads or 2
    kv_heads = 2 if heads % 2 == 0 else 1
    check(random_pattern(program), n_q, n_k, q_offset, heads=heads, kv_heads=kv_heads, dtype=dtype)


# ---------------------------------------------------------------- calls that go straight to the prepared kernels


@pytest.mark.parametrize(
    "text", ["past(1000)", "window(70) | global(20)", "causal & stride(64)", "causal & (past(128) | columns(128, 8))"]
)
def test_direct_launches(text: str) -> None:
    """Triton's launcher called directly does what Triton does, wherever the tensors lie, and in a CUDA graph."""
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    drawn = torch.randn(4, 1, 4, 4096, 64, device="cuda", dtype=torch.bfloat16)

    def results(*tensors: torch.Tensor) -> list[torch.Tensor]:
        q, k, v = (x.detach().clone().requires_grad_() for x in tensors[:3])
        out = attend(q, k, v)
        return [out, *torch.autograd.grad(out, (q, k, v), tensors[3])]

    usual = [results(*drawn) for _ in range(3)][-1]
    passes = attend.__globals__["_PROGRAM"].passes.values()
    kept = [each.direct for each in passes]
    if triton.__version__.startswith("3.6") and torch.version.hip is None:
        assert all(each is not None for each in kept)
    for each in passes:
        each.direct = None
    by_triton = results(*drawn)
    for each, direct in zip(passes, kept, strict=True):
        each.direct = direct
    for shift in (64, 1 << 20):  # other addresses
        held = torch.empty(shift, device="cuda")
        assert all(map(torch.equal, results(*drawn.clone()), by_triton))
        del held
    assert all(map(torch.equal, usual, by_triton))

    with torch.no_grad():
        q, k, v = drawn[:3].clone()
        expected = attend(q, k, v)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = attend(q, k, v)
        q.zero_()
        graph.replay()
        assert torch.equal(out, attend(q, k, v))
        assert not torch.equal(out, expected)


class Through(torch.overrides.TorchFunctionMode):
    """Looks at functions and changes nothing."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("given", ["", "documents", "lengths", "w", "sinks", "tokens first"])
def test_repeated_training(given: str) -> None:
    """What is known of calls gives the same results and gradients as torch's dispatcher, whatever the numbers."""
    text = "input w: int pattern p = causal & q - k < w" if given == "w" else "pattern p = past(100) | sinks(4)"
    attend = attend_of(pattern_of(text))

    def results(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator("cuda").manual_seed(seed)
        q, k, v, g = torch.randn(4, 1, 4, 1024, 64, device="cuda", dtype=torch.bfloat16, generator=generator)
        leaves = [x.requires_grad_() for x in (q, k, v)]
        numbers = torch.tensor([0, 300 + seed, 1000 - seed], device="cuda", dtype=torch.int32)
        more = {"documents": numbers, "tokens first": numbers, "lengths": numbers[2:], "w": 90 + numbers[1]}
        keywords = {given.replace("tokens first", "documents"): more[given]} if given in more else {}
        if given == "sinks":
            keywords["sinks"] = torch.arange(4.0, device="cuda").requires_grad_()
            leaves.append(keywords["sinks"])
        if given == "tokens first":
            out = attend(*(x[0].transpose(0, 1) for x in (q, k, v)), **keywords).transpose(0, 1)[None]
        else:
            out = attend(q, k, v, **keywords)
        return [out, *torch.autograd.grad(out, leaves, g)]

    for seed in (*range(5), 1):
        found = results(seed)
        with Through():
            wanted = results(seed)
        assert all(map(torch.equal, found, wanted)), seed


def test_threads_on_streams_of_their_own() -> None:
    """Launches let go of Python's lock, and scratch room is the stream's."""
    attend = attend_of(pattern_of("pattern p = window(70) | global(20)"))

    def calls(seed: int) -> bool:
        generator = torch.Generator("cuda").manual_seed(seed)
        q, k, v = torch.randn(3, 1, 4, 2048 + 64 * seed, 64, device="cuda", dtype=torch.bfloat16, generator=generator)
        with torch.no_grad(), torch.cuda.stream(torch.cuda.Stream()):
            torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
            found = [attend(q, k, v) for _ in range(40)]
            torch.cuda.current_stream().synchronize()
            return all(torch.equal(x, found[0]) for x in found)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(calls, [0, 1, 2, 3] * 4))


def test_hooks_of_triton_see_launches() -> None:
    attend = attend_of(pattern_of("pattern p = past(300)"))
    q, k, v = torch.randn(3, 1, 2, 4096, 64, device="cuda", dtype=torch.bfloat16)
    attend(q, k, v), attend(q, k, v)
    seen = []
    triton.knobs.runtime.launch_enter_hook.add(seen.append)
    try:
        attend(q, k, v)
    finally:
        triton.knobs.runtime.launch_enter_hook.remove(seen.append)
    assert [each.get()["name"] for each in seen] == ["forward"]


@pytest.mark.parametrize("scale", [None, 0.3, -0.3, 0.0, 2])
@pytest.mark.parametrize("rows", [4096, 7])
def test_repeated_calls(scale: float | None, rows: int) -> None:
    """A call like one before skips checks and the dispatcher, with the same result for other numbers."""
    pattern = pattern_of("pattern p = past(100) | sinks(4)")
    attend = attend_of(pattern)
    for seed in range(3):
        generator = torch.Generator("cuda").manual_seed(seed)
        q, k, v = torch.randn(3, 1, 4, 4096, 64, device="cuda", dtype=torch.bfloat16, generator=generator)
        q = q[:, :, -rows:]
        wanted = attend(q.clone().requires_grad_(), k, v, scale=scale, return_lse=True)
        with torch.no_grad():
            found = attend(q, k, v, scale=scale, return_lse=True)
            assert torch.equal(attend(q, k, v, scale=scale), wanted[0])
        assert all(map(torch.equal, found, wanted))
        with pytest.raises(ValueError, match="SP0602"):
            attend(q, k, v.float(), scale=scale)
        with pytest.raises(ValueError, match="SP0604"):
            attend(q[:, :3], k, v, scale=scale)


def test_what_watches_sees_repeated_calls() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    attend = attend_of(pattern_of("pattern p = past(100) | sinks(4)"))
    q, k, v = torch.randn(3, 1, 4, 1024, 64, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        plain = attend(q, k, v), attend(q, k, v)
        with FlopCounterMode(display=False) as counted:
            attend(q, k, v)
        assert counted.get_total_flops() > 0
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            attend(q, k, v)
        assert any(each.key.startswith("sparsec::") for each in profile.key_averages())
        with torch.autocast("cuda", torch.float16):
            assert attend(q.float(), k.float(), v.float()).dtype == torch.float16
        batched = torch.vmap(attend)(q[None], k[None], v[None])[0]
        compiled = torch.compile(attend, fullgraph=True)(q, k, v)
    assert all(torch.equal(each, plain[0]) for each in (plain[1], batched, compiled))
