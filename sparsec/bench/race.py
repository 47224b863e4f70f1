"""Operators side by side: their runs take turns in one process, so that all see the same state of the machine.

On a GPU the times are those between two events on the stream.  Before each the L2 cache is flushed and the stream is
held up for longer than Python needs to queue the call, so that gaps between launches are the GPU's own; what Python
needs is reported apart.  On a CPU they are wall clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

FLUSH_BYTES = 256 << 20  # more than any L2 cache holds
Value = TypeVar("Value")

_WARM_ROUNDS, _FEWEST_ROUNDS = 3, 5
FEWEST_TURNS = _WARM_ROUNDS + _FEWEST_ROUNDS
_LEAST_PAUSE = 0.5  # ms
_QUEUES, _QUEUED, _QUEUE_PAUSE = 7, 40, 30  # runs of so many calls, after a pause of so many ms
_CYCLES = 2_000_000  # of a pause of 1 ms or a little more: GPUs run at 2 GHz at most


@dataclass(frozen=True)
class Tensors:
    """q, g [B, H, n, D]; k, v [B, H_kv, n, D]; q, k and v want gradients; cu_seqlens of packed documents; inputs."""

    q: Tensor
    k: Tensor
    v: Tensor
    g: Tensor
    documents: Tensor | None = None
    given: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.q.device

    @property
    def keywords(self) -> dict[str, Tensor]:
        """What a call of the operator is told besides q, k and v."""
        return dict(self.given) if self.documents is None else {**self.given, "documents": self.documents}


# An attention of (q, k, v), facts about its setting up, and whether it computes the same pattern.
Peer = tuple[Callable[[Tensor, Tensor, Tensor], Tensor], dict[str, object], bool]


@dataclass
class Racer:
    """An operator of (q, k, v), and what its runs took: ms by pass, of the device and of Python alone."""

    name: str
    attend: Callable[..., Any]
    ms: dict[str, list[float]] = field(default_factory=lambda: {"forward": [], "backward": []})
    host_ms: dict[str, list[float]] = field(default_factory=lambda: {"forward": [], "backward": []})

    def forward(self, t: Tensors) -> Tensor:
        return self.attend(t.q, t.k, t.v)

    def backward(self, t: Tensors, out: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(out, (t.q, t.k, t.v), t.g)


@dataclass(frozen=True)
class First:
    """Seconds of the first call of each pass, compilation included, and bytes beyond the inputs at the worst moment,
    results included; None on a CPU.
    """

    first_forward_s: float
    first_backward_s: float
    peak_bytes: int | None


def first(racer: Racer, tensors: Tensors) -> First:
    """The first call, timed; then a second one, measured for its memory: compilers try out kernels in the first."""
    start = time.perf_counter()
    out = racer.forward(tensors)
    synchronize(tensors.device)
    middle = time.perf_counter()
    racer.backward(tensors, out)
    synchronize(tensors.device)
    end = time.perf_counter()
    del out
    peak = memory(lambda: racer.backward(tensors, racer.forward(tensors)), tensors.device)
    return First(middle - start, end - middle, peak)


def memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call takes beyond what is there before it, at its worst moment."""
    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def queueing(racer: Racer, tensors: Tensors) -> float | None:
    """Microseconds that Python needs to queue a warm call without gradients, of many in a row; None on a CPU."""
    if tensors.device.type != "cuda":
        return None
    found = []
    with torch.no_grad():
        for _ in range(_QUEUES):
            racer.forward(tensors)
            synchronize(tensors.device)
            torch.cuda._sleep(_QUEUE_PAUSE * _CYCLES)  # the queue has room for all calls, and none of them waits
            start = time.perf_counter()
            for _ in range(_QUEUED):
                racer.forward(tensors)
            found.append((time.perf_counter() - start) / _QUEUED)
            synchronize(tensors.device)
    return 1e6 * statistics.median(found)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def race(racers: list[Racer], tensors: Tensors, repeats: int, most_seconds: float) -> float:
    """Up to `repeats` runs of each by turns, fewer where they would take longer than that, but 5.

    The racers keep the times; returns the pause before each run, in ms.
    """
    clock = Clock(tensors.device)
    for racer in racers * _WARM_ROUNDS:
        _turn(racer, tensors, clock)
    clock.calibrate(max(racer.host_ms[kind][-1] for racer in racers for kind in racer.host_ms))
    for racer in racers:
        racer.ms = {"forward": [], "backward": []}
        racer.host_ms = {"forward": [], "backward": []}
    start = time.perf_counter()
    for done in range(repeats):
        if done >= _FEWEST_ROUNDS and (time.perf_counter() - start) * (done + 1) / done > most_seconds:
            break
        for racer in racers:
            _turn(racer, tensors, clock)
    return clock.pause_ms


def _turn(racer: Racer, tensors: Tensors, clock: Clock) -> None:
    out = None
    for kind in racer.ms:
        run = partial(racer.forward, tensors) if kind == "forward" else partial(racer.backward, tensors, out)
        out, ms, host_ms = clock(run)
        racer.ms[kind].append(ms)
        racer.host_ms[kind].append(host_ms)


class Clock:
    """Times of calls on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.pause_ms = device, 0.0
        self.gpu = device.type == "cuda"
        self.flushed = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device) if self.gpu else None

    def calibrate(self, host_ms: float) -> None:
        """Pause for twice what Python needs, as warm calls have shown."""
        if self.gpu:
            self.pause_ms = max(_LEAST_PAUSE, 2 * host_ms)

    def __call__(self, run: Callable[[], Value]) -> tuple[Value, float, float]:
        """A call's result, its ms, and those of Python alone."""
        if self.flushed is None:
            result, host_ms = _timed(run)
            return result, host_ms, host_ms
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flushed.zero_()
        torch.cuda._sleep(int(self.pause_ms * _CYCLES))
        begin.record()
        result, host_ms = _timed(run)
        end.record()
        synchronize(self.device)
        return result, begin.elapsed_time(end), host_ms


def _timed(run: Callable[[], Value]) -> tuple[Value, float]:
    """A call's result, and the ms that it took Python."""
    start = time.perf_counter()
    result = run()
    return result, 1000 * (time.perf_counter() - start)


def spread(times: list[float]) -> dict[str, Any]:
    """Median, least, most, and all of them in their order."""
    return {"median": statistics.median(times), "min": min(times), "max": max(times), "all": times}
