"""Prepared passes as one function in C, without a GPU: what reaches kernels, what comes back, what is left behind."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from support.no_gpu import Graphs, Launched, driver, scratch_memory
from torch import Tensor

from sparsec.kernels.launches import launch, whole_call
from sparsec.kernels.launches.direct import Known
from sparsec.kernels.launches.launch import Launch, Meta, Pass
from sparsec.kernels.launches.scratch import like_of
from sparsec.kernels.program.program import Program

NAMES = ["Q", "K", "V", "OUT", "LSE", "X", "t"]  # of what a kernel takes


def prepared(*, extra: bool = False, launches: int = 1) -> Pass:
    """A pass of kernels that take all there is: a result, another one, scratch room and a number."""
    run = Pass(Program((), 16, 1 << 30), **{name: Meta.of(torch.empty(2, 8)) for name in "QKV"})
    run.empty("OUT", (2, 8), torch.float32)
    run.empty("LSE", (2,), torch.float32)
    run.scratch("X", (5,), torch.int32)
    if extra:
        run.step(lambda env: None)
    values = {name: launch.Slot(name) for name in NAMES}
    for _ in range(launches):
        run.launch(SimpleNamespace(arg_names=NAMES), (1, 1, 1), values)
    lines = tuple((8 * place, name, "d" if name == "t" else "q") for place, name in enumerate(NAMES))
    for step in run.steps:
        if isinstance(step, Launch):
            places = tuple(8 * place for place in range(len(NAMES)))
            step.known = Known(1, (1, 1, 1), 128, 0, bytes(8 * len(NAMES)), places, lines)
    run.direct = run._bound()
    return run


def bound(run: Pass, *names: str) -> Any:
    given = {"Q": 0, "K": 1, "V": 2}
    return whole_call.whole_call(run, given, {"t": 0.5}, {name: like_of(run.metas[name]) for name in names})


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    """The parameters of launches, on a stream of the test."""
    seen: list[list[int]] = []

    def told(own: Launched) -> int:
        assert own.stream == 7
        seen.append([ctypes.c_uint64.from_address(at).value for at in own.parameters])
        return 0

    monkeypatch.setattr(launch, "current_stream", lambda index: 7)
    monkeypatch.setattr(whole_call, "current_stream", lambda index: 7)
    with driver(told, most=len(NAMES)):
        yield seen


def tensors() -> list[Tensor]:
    return [torch.empty(2, 8) for _ in range(3)]


@pytest.mark.parametrize("names", [("OUT",), ("OUT", "LSE"), ("LSE", "OUT")])
def test_kernels_get_what_a_call_gives(launched: list[list[int]], names: tuple[str, ...]) -> None:
    """And what is made: results are those that were asked for, other room is scratch room, with the rest of it."""
    with scratch_memory() as rooms:
        call = bound(prepared(), *names)
        for q, k, v in (tensors(), tensors()):
            made = call(q, k, v)
            results = dict(zip(names, (made,) if len(names) == 1 else made, strict=True))
            found = dict(zip(NAMES, launched.pop(), strict=True))
            assert [found[name] for name in "QKV"] == [x.data_ptr() for x in (q, k, v)]
            assert {name: found[name] for name in names} == {name: x.data_ptr() for name, x in results.items()}
            assert results["OUT"].shape == (2, 8) if "OUT" in names else True
            assert found["t"] == 0x3FE0_0000_0000_0000  # 0.5
            room, size = list(rooms.items())[-1]
            inside = [found[name] for name in ("X", "LSE") if name not in names]
            assert all(room <= begin < room + size for begin in inside)
            assert len({*inside}) == len(inside)


def test_what_kernels_cannot_read_is_left_to_others(launched: list[list[int]]) -> None:
    with scratch_memory():
        call = bound(prepared(), "OUT")
        q, k, v = tensors()
        for place in range(3):
            given = [q, k, v]
            given[place] = torch.empty(17)[1:].view(2, 8)
            assert call(*given) is None
        assert not launched
        with pytest.raises(TypeError):
            call(q, k)
        with pytest.raises(AttributeError):
            call(q, k, "no tensor")


def test_a_pass_that_does_more_is_none() -> None:
    with driver(lambda own: 0), scratch_memory():
        assert bound(prepared(extra=True), "OUT") is None
        cleared = prepared()
        cleared.zeros("Z", (2,), torch.int32)
        assert bound(cleared, "OUT") is None
        unknown = prepared()
        unknown.direct = None
        assert bound(unknown, "OUT") is None
        with patch.object(whole_call, "take", None):
            assert bound(prepared(), "OUT") is None


def test_scratch_room_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a launch fails, too; where there is no memory, nothing is launched."""
    seen: list[Any] = []
    monkeypatch.setattr(launch, "take", True)
    monkeypatch.setattr(whole_call, "current_stream", lambda index: 7)

    def take(size: int, stream: int) -> int:
        seen.append(("taken", size, stream))
        return 4096

    monkeypatch.setattr(whole_call, "give_back", lambda address: seen.append(address))
    monkeypatch.setattr(whole_call, "take", take)
    with driver(lambda own: seen.append("launched") or 7):
        with pytest.raises(RuntimeError, match="error 7"):
            bound(prepared(), "OUT")(*tensors())
        assert seen == [("taken", 512, 7), "launched", 4096]

        def full(size: int, stream: int) -> int:
            raise torch.OutOfMemoryError

        seen.clear()
        monkeypatch.setattr(whole_call, "take", full)
        with pytest.raises(torch.OutOfMemoryError):
            bound(prepared(), "OUT")(*tensors())
        assert not seen


@pytest.mark.parametrize("code", [0, 7])
def test_nothing_is_held(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Neither tensors nor numbers, whether a call goes well or not."""
    monkeypatch.setattr(launch, "take", True)
    monkeypatch.setattr(whole_call, "current_stream", lambda index: 1 << 40)
    monkeypatch.setattr(whole_call, "take", lambda size, stream: 1 << 41)
    monkeypatch.setattr(whole_call, "give_back", lambda address: None)
    graphs = Graphs(1)
    graphs.fails = "make" if code else ""
    with driver(lambda own: code, graphs=graphs):
        call, own = bound(prepared(launches=3), "OUT", "LSE"), tensors()

        def calls(count: int) -> int:
            for _ in range(count):
                with pytest.raises(RuntimeError) if code else nullcontext():
                    assert len(call(*own)) == 2
                with pytest.raises(TypeError):
                    call()
            graphs.asked.clear()
            gc.collect()
            return sys.getallocatedblocks()

        calls(20)
        counts = [sys.getrefcount(x) for x in (*own, call)]
        before = calls(20)
        assert calls(200) - before < 100
        assert [sys.getrefcount(x) for x in (*own, call)] == counts
        made = [] if code else [*call(*own)]
        assert all(sys.getrefcount(x) == 3 for x in made)  # the list, the loop, and the question
