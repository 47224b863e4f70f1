"""The order in which programs of the Hopper tier add to the gradients of queries, and that they never wait for ever."""

from __future__ import annotations

import functools
import time

import pytest
import torch
from support.generated import attend_of, pattern_of
from support.hopper_on_gpu import HERE, forget, gradients, launches
from support.on_gpu import check

from sparsec.kernels.hopper.backward.kernel import hopper_backward_kernel
from sparsec.kernels.hopper.rules import TIER
from sparsec.kernels.machine.gluon import gl, gluon
from sparsec.kernels.machine.hardware import processors
from sparsec.kernels.machine.sync import await_count, count_up

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not HERE, reason="needs a Hopper GPU, and a Triton with Gluon")]


@pytest.fixture(autouse=True)
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIER, "hopper")


ORDERED = hopper_backward_kernel.arg_names.index("ORDERED")


def orders(attend) -> set[bool]:
    """Whether sums of dq have one order, in each backward kernel of an operator."""
    return {each.arguments[ORDERED] for each in launches(attend) if each.kernel is hopper_backward_kernel}


@pytest.mark.parametrize("head_size", [64, 128])
@pytest.mark.parametrize(
    "text", ["causal", "k < n", "past(300)", "window(300) | global(70)", "past(300) with softcap(2), alibi"]
)
def test_a_free_order(text: str, head_size: int) -> None:
    """Of more tiles than processors, with other work on the GPU: sums differ by their rounding alone."""
    pattern = pattern_of(f"pattern p = {text}")
    attend, other = attend_of(pattern), torch.cuda.Stream()
    forget(attend)
    free = functools.partial(attend, deterministic=False)
    check(pattern, 3001, 3001, attend=free, heads=8, kv_heads=2, batch=3, head_size=head_size, dtype=torch.bfloat16)
    assert orders(attend) == {False}
    q, k, v, g = torch.randn(4, 2, 8, 3000, head_size, device="cuda", dtype=torch.bfloat16)
    busy, (dq, *others) = torch.randn(2048, 2048, device="cuda"), gradients(attend, q, k, v, g)
    for _ in range(100):
        with torch.cuda.stream(other):
            busy @ busy
        some_dq, *some = gradients(attend, q, k, v, g, deterministic=False)
        assert all(map(torch.equal, some, others))  # sums of one program
        assert (some_dq - dq).abs().max() <= 2 * torch.finfo(q.dtype).eps * dq.abs().max()
    assert orders(attend) == {True, False}


@pytest.mark.parametrize("text", ["causal", "past(300)"])
def test_a_free_order_of_documents(text: str) -> None:
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    forget(attend)
    q, k, v, g = torch.randn(4, 1, 16, 16384, 128, device="cuda", dtype=torch.bfloat16)
    ends = torch.tensor([0, 1000, 4100, 4101, 9000, 9128, 16000], device="cuda", dtype=torch.int32)
    dq, *others = gradients(attend, q, k, v, g, documents=ends)
    for _ in range(20):
        some_dq, *some = gradients(attend, q, k, v, g, documents=ends, deterministic=False)
        assert all(map(torch.equal, some, others))
        assert (some_dq - dq).abs().max() <= 2 * torch.finfo(q.dtype).eps * dq.abs().max()
    assert orders(attend) == {True, False}


def test_torch_has_the_last_word_about_the_order() -> None:
    """Also in a known call, whose backward pass is prepared for either."""
    attend = attend_of(pattern_of("pattern p = causal"))
    forget(attend)
    q, k, v, g = torch.randn(4, 1, 16, 4096, 128, device="cuda", dtype=torch.bfloat16)
    wanted = [gradients(attend, q, k, v, g) for _ in range(3)][-1]
    forget(attend)
    for _ in range(4):
        gradients(attend, q, k, v, g, deterministic=False)
    assert orders(attend) == {False}
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(20):
            assert all(map(torch.equal, gradients(attend, q, k, v, g, deterministic=False), wanted))
    finally:
        torch.use_deterministic_algorithms(False)
    assert orders(attend) == {True, False}
    forget(attend)
    assert all(map(torch.equal, gradients(attend, q, k, v, g), wanted))
    assert orders(attend) == {True}


@gluon.jit
def hold(STARTED, FLAG):
    """Takes so much shared memory that no other program of the tier runs beside it, until a flag is set."""
    held = gl.allocate_shared_memory(gl.int32, [256, 128], gl.SwizzledSharedLayout(1, 1, 1, [0]))  # 128 KiB
    layout: gl.constexpr = gl.BlockedLayout([4], [32], [1], [0])
    held.index(0).store(gl.full([128], 0, gl.int32, layout))
    count_up(STARTED)
    await_count(FLAG, 1)


@pytest.mark.parametrize("deterministic", [True, False], ids=["in order", "in any order"])
@pytest.mark.parametrize("text", ["causal", "k < n", "window(300) | global(70)"])
def test_gradients_with_few_processors(text: str, deterministic: bool) -> None:
    """Others have all but three: programs that wait for one another can't all run at once."""
    attend, held = attend_of(pattern_of(f"pattern p = {text}")), processors(torch.device("cuda", 0)) - 3
    forget(attend)
    q, k, v, g = torch.randn(4, 1, 8, 3000, 128, device="cuda", dtype=torch.bfloat16)
    wanted, aside, others = gradients(attend, q, k, v, g), torch.cuda.Stream(), torch.cuda.Stream()
    started, flag = torch.zeros(2, 1, device="cuda", dtype=torch.int32)

    def run() -> tuple[tuple[torch.Tensor, ...], bool]:
        """The gradients, and whether they were there before others were told to end."""
        started.zero_()
        flag.zero_()
        torch.cuda.synchronize()
        with torch.cuda.stream(others):
            hold[(held,)](started, flag, num_warps=1)
        with torch.cuda.stream(aside):
            while started.item() < held:
                time.sleep(0.001)
        found, done, since = gradients(attend, q, k, v, g, deterministic=deterministic), torch.cuda.Event(), time.time()
        done.record()
        while not done.query() and time.time() < since + 20:
            time.sleep(0.001)
        alone = done.query()
        with torch.cuda.stream(aside):
            flag.fill_(1)
        torch.cuda.synchronize()
        return found, alone

    flag.fill_(1)
    hold[(1,)](started, flag, num_warps=1)  # what is loaded while programs wait may have to wait for these
    for _ in range(3):
        gradients(attend, q, k, v, g, deterministic=deterministic)
    (dq, *some), alone = run()
    assert alone
    assert all(map(torch.equal, some, wanted[1:]))
    most = 0.0 if deterministic else 2 * torch.finfo(q.dtype).eps * wanted[0].abs().max()
    assert (dq - wanted[0]).abs().max() <= most
