"""Known calls whose launches are one graph to the driver: results are those of launches one by one."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.caches import cached, decoder_of, random_sequences
from support.generated import pattern_of
from torch import Tensor

import sparsec
from sparsec.kernels.launches.launch import Launch
from sparsec.kernels.operator.repeated import Repeated

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

N, HEADS = 1000, 4
TEXT = "pattern p = causal & (past(48) | stride(16 * (1 + h % 2)))"
FORMS = ["heads", "documents", "step"]


class Through(torch.overrides.TorchFunctionMode):
    """Looks at functions and changes nothing: calls go through torch's dispatcher."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        return function(*arguments, **(keywords or {}))


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def drawn(seed: int, device: str = "cuda") -> list[Tensor]:
    generator = torch.Generator("cpu").manual_seed(seed)
    return [torch.randn(1, HEADS, N, 64, generator=generator).to(device, torch.bfloat16) for _ in range(3)]


def call_of(form: str, device: str = "cuda") -> tuple[Callable[..., Tensor], list[list[Tensor]], list[Tensor]]:
    """A known call of several launches, tensors to call it with, and its results, of launches through Triton."""
    attend: Any
    if form == "step":
        decoder = decoder_of(pattern_of("pattern p = causal"))
        caches, sets = [], []
        for seed in range(4):
            own = random_sequences([5000, 300 + seed], dtype=torch.bfloat16, head_size=64, device=device, seed=seed)
            caches.append(cached(own, "flat"))
            sets.append([own.q[:, 0].contiguous(), *(caches[-1][name] for name in ("k", "v", "lengths"))])
        attend = lambda q, k, v, lengths: decoder(q, k, v, lengths, None, None, None, None, False)  # noqa: E731
        wanted = [decoder(*own, None, None, None, torch.empty_like(own[0]), False) for own in sets]
    else:
        sets = [drawn(seed, device) for seed in range(4)]
        documents = torch.tensor([0, 300, 301, N], dtype=torch.int32, device=device)
        own = sparsec.compile(TEXT if form == "heads" else "pattern p = past(100) | sinks(4)", heads=HEADS)
        more = {"documents": documents} if form == "documents" else {}
        attend = lambda *tensors: own(*tensors, **more)  # noqa: E731
        with Through():
            wanted = [attend(*each) for each in sets]
    for _ in range(6):
        attend(*sets[0])
    last = decoder.last.step.run if form == "step" else own._operator.repeated.last.forward
    assert sum(isinstance(step, Launch) for step in last.steps) > 1
    return attend, sets, wanted


def assert_equal(found: list[Tensor], wanted: list[Tensor]) -> None:
    torch.cuda.synchronize()
    assert [torch.equal(x, y) for x, y in zip(found, wanted, strict=True)] == [True] * len(wanted)


@pytest.mark.parametrize("form", FORMS)
def test_launches_that_wait_keep_their_addresses(form: str) -> None:
    """The graph gets others while it stands in the queue many times."""
    attend, sets, wanted = call_of(form)
    torch.cuda._sleep(200_000_000)
    found = [attend(*sets[turn % 4]) for turn in range(200)]
    assert_equal(found, [wanted[turn % 4] for turn in range(200)])


@pytest.mark.parametrize("form", FORMS)
def test_streams_take_turns(form: str) -> None:
    """Also more streams than have graphs; a stream that waits does not hold others up."""
    attend, sets, wanted = call_of(form)
    streams = [torch.cuda.current_stream(), *(torch.cuda.Stream() for _ in range(6))]
    torch.cuda.synchronize()
    found = []
    for turn in range(70):
        with torch.cuda.stream(streams[turn % 7]):
            found.append(attend(*sets[turn % 4]))
    assert_equal(found, [wanted[turn % 4] for turn in range(70)])
    with torch.cuda.stream(streams[1]):
        torch.cuda._sleep(2_000_000_000)
        held = attend(*sets[0])
    with torch.cuda.stream(streams[2]):
        free = attend(*sets[1])
    streams[2].synchronize()
    assert not streams[1].query()
    assert_equal([held, free], wanted[:2])


@pytest.mark.parametrize("form", FORMS)
def test_a_graph_of_the_caller(form: str) -> None:
    """Captured after calls were known, replayed between calls, its memory written anew."""
    attend, sets, wanted = call_of(form)
    own = [x.clone() for x in sets[0]]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attend(*own)
        again = attend(*own)
    for turn in range(8):
        for x, y in zip(own, sets[turn % 4], strict=True):
            x.copy_(y)
        graph.replay()
        eager = attend(*sets[(turn + 1) % 4])
        assert_equal([out, again, eager], [wanted[turn % 4], wanted[turn % 4], wanted[(turn + 1) % 4]])


def test_a_graph_is_made_while_another_thread_captures() -> None:
    """In the strictest mode: what is captured is not disturbed."""
    attend, sets, wanted = call_of("heads")
    other = torch.randn(64, 64, device="cuda")
    wanted_product = other * 2
    wanted_product += 1
    side, found, failed = torch.cuda.Stream(), [], []
    with torch.cuda.stream(side):
        room = [torch.empty_like(sets[0][0]) for _ in range(20)]
    del room  # later calls on that stream ask CUDA for no memory
    torch.cuda.synchronize()
    inside, done = threading.Event(), threading.Event()

    def beside() -> None:
        try:
            inside.wait(20)
            with torch.no_grad(), torch.cuda.stream(side):
                found.extend(attend(*sets[turn % 4]) for turn in range(8))  # the stream is new: a graph is made
        except Exception as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=beside)
    thread.start()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream()):  # torch.cuda.graph would give the room back to CUDA
        graph.capture_begin(capture_error_mode="global")
        product = other * 2
        inside.set()
        ended = done.wait(20)
        product += 1
        graph.capture_end()
    thread.join()
    assert ended
    assert not failed
    graph.replay()
    assert_equal([*found, product], [*(wanted[turn % 4] for turn in range(8)), wanted_product])


@pytest.mark.parametrize("form", FORMS)
def test_threads(form: str) -> None:
    """On one stream, and each on its own."""
    attend, sets, wanted = call_of(form)
    failed: list[Any] = []

    def work(number: int, stream: torch.cuda.Stream) -> None:
        try:
            with torch.no_grad(), torch.cuda.stream(stream):
                turns = [(number + turn) % 4 for turn in range(50)]
                found = [attend(*sets[turn]) for turn in turns]
                stream.synchronize()
                failed.extend(
                    turn for turn, out in zip(turns, found, strict=True) if not torch.equal(out, wanted[turn])
                )
        except Exception as error:
            failed.append(error)

    for shared in (True, False):
        streams = [torch.cuda.current_stream() if shared else torch.cuda.Stream() for _ in range(6)]
        torch.cuda.synchronize()
        threads = [threading.Thread(target=work, args=each) for each in enumerate(streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed


@pytest.mark.parametrize("form", FORMS)
def test_memory_that_is_freed_between(form: str) -> None:
    attend, sets, wanted = call_of(form)
    for turn in range(12):
        own = [x.clone() for x in sets[turn % 4]]
        out = attend(*own)
        del own
        if turn % 3 == 0:
            gc.collect()
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        assert_equal([out], [wanted[turn % 4]])


def test_an_operator_that_is_dropped_while_it_runs() -> None:
    attend, sets, wanted = call_of("heads")
    torch.cuda._sleep(500_000_000)
    found = [attend(*sets[turn % 4]) for turn in range(20)]
    for known in [x for x in gc.get_objects() if type(x) is Repeated]:
        known.program.passes.clear()
        known.forget()
    del attend, known
    gc.collect()
    assert_equal(found, [wanted[turn % 4] for turn in range(20)])


@pytest.mark.parametrize("form", FORMS)
def test_calls_hold_no_memory(form: str) -> None:
    attend, sets, _ = call_of(form)

    def used() -> tuple[int, int]:
        for turn in range(200):
            attend(*sets[turn % 4])
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]

    used()
    found = [used() for _ in range(40)]
    assert len({own for own, _ in found}) == 1
    # Others may use the device, too: they take memory now and then, a leak takes some in every turn.
    assert min(before - after for (_, before), (_, after) in pairwise(found)) < 1 << 20


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("form", FORMS)
def test_another_device(form: str) -> None:
    """Calls on two devices in turns, the current one the first."""
    first, second = call_of(form), call_of(form, "cuda:1")
    found, wanted = [], []
    for turn in range(24):
        attend, sets, right = (first, second)[turn % 2]
        found.append(attend(*sets[turn % 4]))
        wanted.append(right[turn % 4])
    torch.cuda.synchronize("cuda:1")
    assert_equal(found, wanted)
