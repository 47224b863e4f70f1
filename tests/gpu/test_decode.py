"""Decoding on a CUDA device: caches of all forms, graphs over growing lengths, and nothing that waits."""

from __future__ import annotations

import pytest
import torch
from support.caches import FORMS, assert_right, cached, decoder_of, free_unseen, random_sequences, step
from support.calls import no_synchronisation
from support.generated import pattern_of

from sparsec.kernels.decode.step_work import StepWork
from sparsec.kernels.weights.sinks import with_sinks

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

PATTERNS = [
    "past(300)",
    "causal",
    "sinks(4) | past(100)",
    "causal & stride(64)",
    "causal & (past(64) | stride(16))",
    "causal & (same_block(128) | columns(128, 8))",
    "past(20) | causal & k // 32 % 3 == 0",
    "past(40) | causal & random_past_blocks(32, 2, 1)",
    "window(100) | global(3)",
]
LENGTHS = [0, 1, 2, 63, 64, 65, 777, 2300]


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("text", PATTERNS)
def test_patterns(text: str, rows: int) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    own = random_sequences(LENGTHS, rows=rows, heads=8, head_size=64, dtype=torch.bfloat16, device="cuda")
    decoder = decoder_of(pattern)
    freed = free_unseen(pattern, own)
    for form in FORMS:  # capacities differ, and with them parts
        assert_right(pattern, own, *step(decoder, freed, form, page=16))


@pytest.mark.parametrize(
    ("dtype", "head_size", "heads", "kv_heads"),
    [
        (torch.float16, 128, 3, 1),
        (torch.float32, 64, 5, 5),
        (torch.bfloat16, 256, 14, 2),
        (torch.bfloat16, 80, 32, 1),
        (torch.float32, 256, 96, 1),
    ],
)
def test_types_and_groups(dtype: torch.dtype, head_size: int, heads: int, kv_heads: int) -> None:
    pattern = pattern_of("pattern p = sinks(4) | past(100)")
    sizes = {"heads": heads, "kv_heads": kv_heads, "head_size": head_size}
    own = random_sequences([1, 90, 1000], rows=2, dtype=dtype, device="cuda", **sizes)
    assert_right(pattern, own, *step(decoder_of(pattern), own, "table", page=7))


@pytest.mark.parametrize("text", ["past(16 * (h + 1))", "past(64) with softcap(5 + h)", "past(100) with alibi"])
def test_heads_and_scores(text: str) -> None:
    pattern = pattern_of(f"pattern p = {text}", heads=8)
    own = random_sequences([1, 90, 1000], heads=8, head_size=64, dtype=torch.float16, device="cuda")
    assert_right(pattern, own, *step(decoder_of(pattern), own, "table", page=16))


def test_sinks() -> None:
    decoder = decoder_of(pattern_of("pattern p = past(300)"))
    own = random_sequences(LENGTHS, head_size=64, device="cuda")
    sinks = torch.randn(4, device="cuda")
    out, lse = step(decoder, own, "table")
    wanted_out, wanted_lse = with_sinks(out.transpose(1, 2), lse.transpose(1, 2), sinks[None])
    wanted_lse[0] = float("-inf")  # no key, no sink
    found_out, found_lse = step(decoder, own, "table", sinks=sinks)
    torch.testing.assert_close(found_out, wanted_out.transpose(1, 2))
    torch.testing.assert_close(found_lse, wanted_lse.transpose(1, 2))


@pytest.mark.parametrize("text", ["causal", "sinks(4) | past(100)", "causal & (past(64) | stride(16))"])
def test_a_graph_serves_growing_lengths(text: str) -> None:
    """Captured once; lengths grow on the device.  Nothing waits, and results are those of a call."""
    pattern = pattern_of(f"pattern p = {text}")
    decoder, longest = decoder_of(pattern), 1500
    own = random_sequences([longest, longest], head_size=64, dtype=torch.bfloat16, device="cuda")
    given = cached(own, "table", page=16)
    lengths = given["lengths"]
    q = own.q[:, 0].clone()
    call = {**given, "sinks": None, "scale": None, "out": torch.empty_like(q), "return_lse": False}
    lengths.fill_(1)
    for _ in range(3):
        decoder(q, **call)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        decoder(q, **call)
    for n in (1, 2, 63, 64, 65, 500, longest - 1, longest):
        new = torch.tensor([n, max(n - 37, 0)], dtype=torch.int32).pin_memory()
        with no_synchronisation():
            lengths.copy_(new, non_blocking=True)
            graph.replay()
            replayed = call["out"].clone()
            eager = decoder(q, **{**call, "out": None})
        assert torch.equal(replayed, eager)
        short = random_sequences([n, max(n - 37, 0)], head_size=64)
        short.q = own.q
        short.k = [keys[:, :count] for keys, count in zip(own.k, new.tolist(), strict=True)]
        short.v = [keys[:, :count] for keys, count in zip(own.v, new.tolist(), strict=True)]
        out, lse = decoder(q, **{**call, "out": None, "return_lse": True})
        assert_right(pattern, short, out[:, None], lse[:, None])


def test_results_are_equal_from_run_to_run() -> None:
    decoder = decoder_of(pattern_of("pattern p = causal"))
    own = random_sequences([5000, 30], head_size=64, dtype=torch.bfloat16, device="cuda")
    first, *others = (step(decoder, own, "table", page=16)[0] for _ in range(4))
    assert all(torch.equal(first, other) for other in others)


UNEQUAL = [3, 4000, 0, 1, 70, 900, 65, 2300, 64, 17]


@pytest.mark.parametrize("text", ["causal", "past(300)", "sinks(4) | past(100)", "past(16 * (h + 1))"])
@pytest.mark.parametrize("rows", [1, 3])
def test_shared_work(text: str, rows: int) -> None:
    """Made once for two layers, in and out of a graph, over lengths that grow; sinks join last."""
    pattern = pattern_of(f"pattern p = {text}", heads=8 if "(h" in text else None)
    decoder, sizes = decoder_of(pattern), {"heads": 8, "head_size": 64, "dtype": torch.bfloat16, "device": "cuda"}
    layers = [random_sequences(UNEQUAL, rows=rows, seed=seed, **sizes) for seed in range(2)]
    calls = [{**cached(own, "table", page=16), "scale": None, "out": None, "return_lse": True} for own in layers]
    lengths, sinks = calls[0]["lengths"], (None, torch.randn(8, device="cuda"))

    def step_of_layers(shared: bool) -> list[torch.Tensor]:
        work, found = StepWork(lengths) if shared else None, []
        for own, call, sink in zip(layers, calls, sinks, strict=True):
            found += decoder(own.q, **{**call, "lengths": lengths, "sinks": sink}, work=work)
        return found

    assert_right(pattern, layers[0], *step_of_layers(True)[:2])
    first = step_of_layers(True)
    for _ in range(3):
        assert_as_near(step_of_layers(False), first)
        assert all(map(torch.equal, step_of_layers(True), first))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step_of_layers(True)
    for shorter in (0, 1, 2, 40, 900):
        lengths.copy_(torch.tensor([max(n - shorter, 0) for n in UNEQUAL], dtype=torch.int32))
        graph.replay()
        replayed = [x.clone() for x in captured]
        assert all(map(torch.equal, replayed, step_of_layers(True)))
        assert_as_near(replayed, step_of_layers(False))


def test_many_sequences() -> None:
    """More than one block of them is summed at a time, and there are more than programs."""
    pattern = pattern_of("pattern p = past(20)")
    lengths = torch.randint(0, 200, (700,), generator=torch.Generator().manual_seed(0)).tolist()
    own = random_sequences(lengths, heads=2, kv_heads=1, dtype=torch.bfloat16, device="cuda")
    for work in (None, StepWork):
        given = cached(own, "table", page=16)
        call = {**given, "sinks": None, "scale": None, "out": None, "return_lse": True}
        found = decoder_of(pattern)(own.q, **call, work=work and work(given["lengths"]))
        assert_right(pattern, own, *found)


def test_a_captured_step_sums_for_itself() -> None:
    decoder, own = decoder_of(pattern_of("pattern p = causal")), random_sequences([9, 90], device="cuda")
    call = {**cached(own, "flat"), "sinks": None, "scale": None, "out": None, "return_lse": False}
    work = StepWork(call["lengths"])
    for shared in (None, work):
        decoder(own.q[:, 0], **call, work=shared)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        decoder(own.q[:, 0], **call)
        with pytest.raises(ValueError, match=r"SP0612.*captured"):
            decoder(own.q[:, 0], **call, work=work)


def assert_as_near(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    """Up to roundings of weights to bfloat16, which other parts round otherwise: those of a row's results."""
    for x, y in zip(found, wanted, strict=True):
        if x.dtype == torch.bfloat16:
            allowed = 2 * torch.finfo(x.dtype).eps * y.float().abs().amax(-1, keepdim=True)
            assert ((x.float() - y.float()).abs() <= allowed).all()
        else:
            torch.testing.assert_close(x, y)
