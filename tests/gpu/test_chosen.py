"""Sets that the call chooses, on a CUDA device: against dense attention, repeatable, without a look at any number."""

from __future__ import annotations

import pytest
import torch
from gpu.test_inputs import check
from support.calls import no_synchronisation
from support.generated import pattern_of, spread_module_of
from support.on_gpu import assert_random_programs

import sparsec
from sparsec.kernels.chosen.choose import SLAB
from sparsec.testing import check as assert_choice
from sparsec.testing.programs import chosen, grouped, input_programs

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("text", [
    "causal & past(100) | sinks(4) | top_blocks(4, 64, among = causal \\ past(100), over = group)",
    "top_blocks(3, 64, 64, among = causal, keep = same_block(64))",
    "causal & (top_blocks(3, 16, score = bound) | top_keys(7))",
    "top_blocks(2, 32, 16, lse, among = causal) \\ past(9)",
    "causal & past(40) | sinks(4) | top_blocks(3, 64, 64, among = causal \\ past(40))",
    "random_blocks(64, 2, 1) | top_blocks(4, 64, among = causal, over = group)",
    "top_blocks(9, 16, 16, lse, among = causal, keep = sinks(1), percent = 80) | past(1)",
])  # fmt: skip
def test_what_the_operator_chooses(text: str) -> None:
    attend = sparsec.compile(f"pattern p = {text}")
    for n_q, n in ((300, 300), (70, 450)):
        assert_choice(attend, n_q, n, heads=4, kv_heads=2, head_size=64, dtype=torch.bfloat16, device="cuda")


EXACT = [  # of integers, in blocks of powers of two
    "top_blocks(5, 16, score = max, among = causal) | top_keys(9)",
    "top_blocks(7, 32, among = causal \\ past(40), keep = same_block(32) | sinks(4), over = group)",
    "top_blocks(3, 64, 16, bound, among = causal & stride(3)) | top_blocks(1, 8, 8) | top_blocks(2, 4, among = ~full)",
    "top_keys(300, among = causal) | top_keys(250, among = full)",
]


@pytest.mark.parametrize("text", EXACT)
def test_choices_are_those_of_a_cpu_where_scores_are_exact(text: str) -> None:
    attend = sparsec.compile(f"pattern p = {text} | past(1)")
    for n_q, n in ((512, 512), (61, 4800)):
        q, k = torch.randint(-2, 3, (2, 4, n_q, 64)).bfloat16(), torch.randint(-2, 3, (2, 2, n, 64)).bfloat16()
        ours, theirs = attend.choices(q.cuda(), k.cuda()), attend.choices(q, k)
        for name, found in ours.items():
            assert torch.equal(found.cpu(), theirs[name]), name


def test_choosing_waits_for_nothing_and_is_captured() -> None:
    attend = sparsec.compile("pattern p = past(64) | top_blocks(4, 32, among = causal \\ past(64), over = group)")
    q, k, v = torch.randn(3, 1, 4, 1000, 64, device="cuda", dtype=torch.bfloat16)
    wanted = attend(q, k, v)
    with no_synchronisation():
        again = attend(q, k, v)
    assert torch.equal(again, wanted)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attend(q, k, v)
    q.copy_(q.flip(2))
    graph.replay()
    assert torch.equal(out, attend(q, k, v))


def test_choosing_takes_no_room_for_all_scores() -> None:
    """Some slabs of them, where all would take 17 GB."""
    attend = sparsec.compile("pattern p = top_blocks(8, 16, among = causal)")
    q, k = (torch.randn(1, heads, 65_536, 64, device="cuda", dtype=torch.bfloat16) for heads in (16, 2))
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    (lists,) = attend.choices(q, k).values()
    assert torch.cuda.max_memory_allocated() - before <= lists.nbytes + 4 * 4 * SLAB["cuda"]


CONDITIONS = [
    "input sel: blocks[1, 64, t] pattern p = causal & (past(100) | sinks(4) | selected(sel))",
    "input sel: blocks[64, 64, t] pattern p = selected(sel)",
    "input sel: blocks[128, 128, t] pattern p = causal & selected(sel)",
    "input sel: blocks[1, 24, t] pattern p = causal & selected(sel) | past(5)",
    "input sel: blocks[24, 20, t] pattern p = causal & ~selected(sel)",
    "input sel: keys[t] input doc: int[n] pattern p = causal & (selected(sel) | doc[q] == doc[k]) \\ past(30)",
    "input sel: blocks[5, 3, 2] pattern p = causal & (past(90) | stride(8)) & ~selected(sel)",
    "input sel: blocks[64, 64, t] pattern p = random_blocks(64, 2, 1) | selected(sel)",
    "input sel: blocks[1, 8, t] pattern p = causal & (k % 16 >= 14 | past(60) & selected(sel))",
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions(text: str, dtype: torch.dtype) -> None:
    pattern = pattern_of(text)
    attend = spread_module_of(pattern).p
    numbers = {"heads": 4, "kv_heads": 2, "head_size": 64, "dtype": dtype}
    for number, sizes in enumerate(((700, 700, None), (333, 500, 400), (1, 900, None))):
        check(pattern, attend, *sizes, number, **numbers)
    if dtype == torch.bfloat16:  # long tensors of 16-bit numbers come through descriptors; masks of others take as long
        check(pattern, attend, 2100, 2100, None, 3, batch=1, **numbers)


def test_new_lists_compile_nothing_and_wait_for_nothing() -> None:
    attend = sparsec.compile("input sel: blocks[1, 32, t] pattern p = causal & (past(64) | selected(sel))")
    q = torch.randn(1, 4, 3000, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    k, v = torch.randn(2, 1, 2, 3000, 64, device="cuda", dtype=torch.bfloat16).requires_grad_()
    lists = [torch.randint(-1, 95, (1, 2, 3000, 8), device="cuda", dtype=torch.int32) for _ in range(3)]

    def step(sel: torch.Tensor) -> torch.Tensor:
        out = attend(q, k, v, sel=sel)
        return torch.cat([out, *torch.autograd.grad(out, (q, k, v), out)], 1)

    wanted = [step(sel) for sel in lists]
    program = attend._function.__globals__["_PROGRAM"]
    compiled, passes = len(program.compiled), len(program.passes)
    with no_synchronisation():
        found = [step(sel.flip(3)) for sel in lists]
    assert (len(program.compiled), len(program.passes)) == (compiled, passes)
    for x, y in zip(found, wanted, strict=True):
        assert torch.equal(x, y)  # bit for bit, whatever the order of the entries


def test_a_captured_graph_takes_new_lists() -> None:
    attend = sparsec.compile("input sel: keys[16] pattern p = causal & (past(9) | selected(sel))")
    q, k, v = torch.randn(3, 1, 4, 1000, 64, device="cuda", dtype=torch.bfloat16)
    sel = torch.randint(-1, 1000, (1, 1, 1000, 16), device="cuda")
    attend(q, k, v, sel=sel)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attend(q, k, v, sel=sel)
    for other in (sel // 2, sel * 0 - 1, sel.flip(2)):
        sel.copy_(other)
        graph.replay()
        assert torch.equal(out, attend(q, k, v, sel=other))


HASHED = "pattern p = causal & (past(64) | lsh(buckets = 16, rounds = 3, chunk = 48, seed = 1))"
ROUTED = "input mu: centroids[40] pattern p = causal & (past(64) | routed(mu, 70))"


@pytest.mark.parametrize("text", [HASHED, ROUTED])
def test_groups(text: str) -> None:
    attend = sparsec.compile(text)
    given = {} if "mu" not in text else {"mu": torch.randn(2, 40, 64, device="cuda")}
    for n_q, n in ((300, 300), (70, 450)):
        numbers = {"heads": 4, "kv_heads": 2, "head_size": 64, "dtype": torch.bfloat16}
        assert_choice(attend, n_q, n, **numbers, device="cuda", **given)


def test_groups_are_those_of_a_cpu_where_scores_are_exact() -> None:
    q, k = torch.randint(-2, 3, (2, 2, 4, 500, 64)).bfloat16()
    mu = torch.randint(-2, 3, (4, 40, 64)).bfloat16()
    for text, given in ((HASHED, {}), (ROUTED, {"mu": mu})):
        attend, on_gpu = sparsec.compile(text), {name: x.cuda() for name, x in given.items()}
        (ours,) = attend.choices(q.cuda(), k.cuda(), **on_gpu).values()
        (theirs,) = attend.choices(q, k, **given).values()
        assert torch.equal(ours.cpu(), theirs)


@pytest.mark.parametrize("text", [HASHED, ROUTED])
def test_grouping_compiles_nothing_waits_for_nothing_and_is_captured(text: str) -> None:
    attend, cuda = sparsec.compile(text), {"device": "cuda", "dtype": torch.bfloat16}
    q, k, v = torch.randn(3, 1, 4, 1000, 64, **cuda).requires_grad_()
    given = {} if "mu" not in text else {"mu": torch.randn(4, 40, 64, **cuda)}

    def step() -> torch.Tensor:
        out = attend(q, k, v, **given)
        return torch.stack([out, *torch.autograd.grad(out, (q, k, v), out)])

    wanted = step()
    program = attend._function.__globals__["_PROGRAM"]
    compiled = len(program.compiled)
    with no_synchronisation():
        again = step()
    assert torch.equal(again, wanted)
    with torch.no_grad():
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = attend(q, k, v, **given)
        q.copy_(q.flip(2))
        graph.replay()
        assert torch.equal(out, attend(q, k, v, **given))
    assert len(program.compiled) == compiled


# Each example compiles a program of its own, which takes seconds: a few of them in each of many lots.
@pytest.mark.parametrize("lot", range(14))
def test_random_programs(lot: int) -> None:
    assert_random_programs(input_programs(test=chosen()), check, lot, 6)


@pytest.mark.parametrize("lot", range(6))
def test_random_programs_with_groups(lot: int) -> None:
    assert_random_programs(input_programs(test=grouped()), check, lot, 5)
