"""Times of patterns on a CPU against dense attention, forward and backward: `python docs/benchmarks/cpu.py OUT.json`.

float32 and heads of 64.  Everything runs on two cores, the first two that this process may use.  On one thread what
counts is the process's own time, which other processes take little of; on two it is the time that passes.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import sparsec

HERE = Path(__file__).parent
ROUNDS = 5
N, LONG = 4096, 16_384
DOCUMENTS = " | ".join(f"q in {a}..{a + 64} & k in {a}..{a + 64}" for a in range(0, N, 64))
TILES = " & ".join(f"abs(k // {a} % 4 - q // {a} % 4) <= 1" for a in (1024, 256, 64))
AGAINST_FULL = {
    "clamped neighbourhood, 64 x 64, 7 x 7": (HERE / "patterns/clamped.spat").read_text(),
    "sliding tiles, 4 x 4 x 4 of 64, 3 x 3 x 3": f"pattern p = {TILES}",
    "64 documents as ranges": f"pattern p = causal & ({DOCUMENTS})",
}
MOST = {
    "clamped neighbourhood, 64 x 64, 7 x 7": 0.25,
    "sliding tiles, 4 x 4 x 4 of 64, 3 x 3 x 3": 0.6,
    "64 documents as ranges": 0.15,
}
BUSY = "import os; os.sched_setaffinity(0, {%d})\nwhile True: pass"

Run = Callable[[], None]


def run_of(attend: Callable[..., torch.Tensor], n: int, heads: int) -> Run:
    """One call, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, g = (torch.randn(1, heads, n, 64, generator=generator) for _ in range(4))
    inputs = [x.requires_grad_() for x in (q, k, v)]

    def run() -> None:
        torch.autograd.grad(attend(*inputs), inputs, g)

    return run


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """torch's own."""
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def times(runs: dict[str, Run], clock: Callable[[], float], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each, in turns; a first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            found[name].append(clock() - start)
    return {name: each[1:] for name, each in found.items()}


@contextmanager
def busy(core: int) -> Iterator[None]:
    """Another process that never rests on one of the cores."""
    other = subprocess.Popen([sys.executable, "-c", BUSY % core])
    try:
        time.sleep(0.5)
        yield
    finally:
        other.kill()
        other.wait()


def measured(cores: list[int]) -> Iterator[dict]:
    """The rows: what was compared, with what, seconds of both and the ratio of the least."""
    torch.set_num_threads(1)
    full = run_of(sparsec.compile("pattern p = full"), N, 1)
    runs = {name: run_of(sparsec.compile(text), N, 1) for name, text in AGAINST_FULL.items()}
    found = times({"full": full, **runs}, time.process_time)
    for name in runs:
        yield row(name, "full", found[name], found["full"], MOST[name])
    past = run_of(sparsec.compile("pattern p = past(512)"), LONG, 4)
    one = times({"ours": past}, time.process_time)["ours"]
    dense = times({"dense": run_of(causal, LONG, 4)}, time.process_time, 1)["dense"]
    yield row("past(512), one thread", "causal SDPA", one, dense, 0.1)
    torch.set_num_threads(2)
    two = times({"ours": past}, time.perf_counter)["ours"]
    dense = times({"dense": run_of(causal, LONG, 4)}, time.perf_counter, 1)["dense"]
    yield row("past(512), two threads", "causal SDPA", two, dense, 0.1)
    with busy(cores[1]):
        beside = times({"ours": past}, time.perf_counter, 2 * ROUNDS)["ours"]
    yield row("past(512), two threads, another process on one of two cores", "one thread", beside, one, 1.5)


def row(name: str, against: str, ours: list[float], theirs: list[float], most: float) -> dict:
    """A row of the report."""
    numbers = {"seconds": ours, "its_seconds": theirs, "ratio": min(ours) / min(theirs), "most": most}
    return {"what": name, "against": against, **numbers, "worst": max(ours) / min(theirs)}


def main(out: str) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)
    rows = []
    for each in measured(cores):
        rows.append(each)
        print(f"{each['what']}: {each['ratio']:.3f} of {each['against']} (at most {each['most']})", flush=True)
    said = {"platform": platform.platform(), "torch": torch.__version__, "rounds": ROUNDS, "rows": rows}
    Path(out).write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
