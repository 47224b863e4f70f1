"""What `sparsec cost` predicts for a CPU, beside the time that this CPU takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from support.generated import attend_of, pattern_of

from sparsec.ir import nodes
from sparsec.plan.build import build, contiguous
from sparsec.plan.cpu_cost import cpu_cost

N, HEADS, ROUNDS = 2048, 4, 8
WITHIN = 1.5

# One of each source of tiles: ranges, hulls, lists, residue classes, gathered keys, tables, and two layouts at once.
PATTERNS = (
    "causal",
    "past(256)",
    "same_block(100)",
    "causal & stride(8)",
    "causal & (same_block(128) | k % 128 >= 120)",
    "past(64) | random_blocks(64, 3, 1)",
    "abs(k // 64 - max(3, min(q // 64, 28))) <= 3 & abs(k % 64 - max(3, min(q % 64, 60))) <= 3",
    "abs(q // 64 - k // 64) <= 6 & abs(q % 64 - k % 64) <= 6",
    "abs(k // 512 - max(1, min(q // 512, 2))) <= 1 & abs(k // 64 % 8 - max(1, min(q // 64 % 8, 6))) <= 1",
)


def timer(text: str) -> Callable[[], float]:
    """Seconds of this process for one call, forward and backward."""
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    q, k, v = (torch.randn(1, HEADS, N, 64, requires_grad=True) for _ in "qkv")
    g = torch.randn(1, HEADS, N, 64)

    def seconds() -> float:
        start = time.process_time()
        torch.autograd.grad(attend(q, k, v), (q, k, v), g)
        return time.process_time() - start

    return seconds


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_times_beside_dense_are_predicted():
    """The best of a few times of the process, of which other processes take none; more of them until all are near."""
    dense = cpu_cost(contiguous(nodes.TRUE), N)
    said = {text: dense / cpu_cost(build(pattern_of(f"pattern p = {text}")).groups[0].at(N), N) for text in PATTERNS}
    timers = {text: timer(text) for text in ("full", *PATTERNS)}
    least = {text: float("inf") for text in timers}
    for _ in range(ROUNDS):
        for text, seconds in timers.items():
            least[text] = min(least[text], seconds())
        off = {text: said[text] * least[text] / least["full"] for text in PATTERNS}
        if all(1 / WITHIN <= each <= WITHIN for each in off.values()):
            break
    else:
        raise AssertionError({text: round(each, 2) for text, each in off.items()})
