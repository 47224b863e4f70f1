"""Times of decoding steps on a GPU: milliseconds of a captured step, and the bytes of keys and values that it reads.

    python docs/benchmarks/decode.py docs/benchmarks/raw/steps/decode_NAME.json [--repeats 15]

bfloat16, 32 query heads over 8 key heads of size 128.  `ms` is of a graph of one step; 256 MiB are written before each
repeat, so that no key is in the L2 cache, but what was written has to leave it.  `layer_ms` is of a layer in a graph of
8, as models have it: each has a cache of its own, and what is in the L2 cache are keys of the layer before.  Both again
with the `work` that layers share, which the graph makes first.  `graph` has microseconds of a step among 100 in one
graph, where keys may be in the cache.  `floor_ms` is of a graph of one kernel that does next to nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor

import sparsec

HEADS, KV_HEADS, SIZE, N, PAGE = 32, 8, 128, 32768, 16
_PEAK = {"H100": 3.35, "H200": 4.8}  # TB/s, of NVIDIA's data sheets (SXM)
_EQUAL = {
    "past(4096)": 4096,
    "causal": N,
    "causal & (past(128) | stride(128))": 128 + N // 128 - 1,
}  # by text, how many keys a row reads
_STEPS = 100
_LAYERS = 8


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def flat(lengths: list[int]) -> tuple[Tensor, ...]:
    """q, k, v and lengths of a cache with a row for each sequence."""
    q, shape = drawn(len(lengths), HEADS, SIZE), (len(lengths), KV_HEADS, max(lengths), SIZE)
    return q, drawn(*shape), drawn(*shape), torch.tensor(lengths, device="cuda", dtype=torch.int32)


def paged(lengths: list[int]) -> tuple[Tensor, ...]:
    """The same with shuffled pages, and their table."""
    counts = [-(-n // PAGE) for n in lengths]
    table = torch.zeros(len(lengths), max(counts), dtype=torch.int32)
    numbers = torch.randperm(sum(counts), dtype=torch.int32).split(counts)
    for row, own in enumerate(numbers):
        table[row, : len(own)] = own
    q, shape = drawn(len(lengths), HEADS, SIZE), (sum(counts), PAGE, KV_HEADS, SIZE)
    return q, drawn(*shape), drawn(*shape), torch.tensor(lengths, device="cuda", dtype=torch.int32), table.cuda()


def captured(call: Callable[[], object], times: int = 1) -> torch.cuda.CUDAGraph:
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            call()
    return graph


def milliseconds(graph: torch.cuda.CUDAGraph, repeats: int, flush: bool = True) -> list[float]:
    other = torch.empty(1 << 28, device="cuda", dtype=torch.int8)
    found = []
    for _ in range(repeats + 2):
        if flush:
            other.fill_(1)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end))
    return found[2:]


def cases(repeats: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind, made in (("flat", flat), ("pages of 16", paged)):
        layers = [made([N] * 8) for _ in range(_LAYERS)]
        for text, keys in _EQUAL.items():
            yield f"{text}, B 8, {kind}", timed(text, layers, repeats, 8 * keys)
        del layers
    for n in (4096, 65536, 1 << 20):
        attend, tensors = sparsec.compile("pattern p = sinks(4) | past(512)"), flat([n])
        graph = captured(lambda attend=attend, tensors=tensors: attend.decode(*tensors), _STEPS)
        found = [1e3 * x / _STEPS for x in milliseconds(graph, repeats, flush=False)]
        yield f"sinks(4) | past(512), B 1, n {n:,}", {"us in a graph": statistics.median(found), "all": found}
    generator = torch.Generator().manual_seed(0)
    lengths = [int(1024 * 32 ** float(x)) for x in torch.rand(64, generator=generator)]
    layers = [paged(lengths) for _ in range(_LAYERS)]
    yield "causal, B 64, 1,024 to 32,768 keys, pages of 16", timed("causal", layers, repeats, sum(lengths))


def timed(text: str, layers: list[tuple[Tensor, ...]], repeats: int, keys: int) -> dict[str, Any]:
    """Of a step that reads so many keys: of the card's bandwidth, the share is what keys and values alone take."""
    attend, lengths = sparsec.compile(f"pattern p = {text}"), layers[0][3]

    def steps(some: list[tuple[Tensor, ...]], shared: bool) -> None:
        work = attend.work(lengths) if shared else None
        for q, k, v, _, *pages in some:
            attend.decode(q, k, v, lengths, *pages, work=work)

    size = 2 * keys * KV_HEADS * SIZE * 2
    peak = next((x for name, x in _PEAK.items() if name in torch.cuda.get_device_name()), None)
    found: dict[str, Any] = {"bytes": size}
    for shared, end in ((False, ""), (True, " with work")):
        for name, some in (("ms", layers[:1]), ("layer_ms", layers)):
            graph = captured(lambda some=some, shared=shared: steps(some, shared))
            own = [x / len(some) for x in milliseconds(graph, repeats)]
            ms = statistics.median(own)
            share = size / (ms * 1e-3) / (peak * 1e12) if peak else None
            found[name + end] = {"median": ms, "least": min(own), "share of bandwidth": share, "all": own}
    return found


def short(x: Any) -> str:
    if isinstance(x, dict):
        share = x["share of bandwidth"]
        return f"{x['median']:.4f}" + (f" ({share:.0%})" if share else "")
    return f"{x:.4g}" if isinstance(x, float) else str(x)


def main() -> None:
    own = argparse.ArgumentParser()
    own.add_argument("out", type=Path)
    own.add_argument("--repeats", type=int, default=15)
    given = own.parse_args()
    torch.manual_seed(0)
    report: dict[str, Any] = {"card": torch.cuda.get_device_name(), "torch": torch.__version__}
    report |= {"triton": triton.__version__, "about": __doc__, "steps": {}}
    one = torch.zeros(8, device="cuda")
    report["floor_ms"] = statistics.median(milliseconds(captured(lambda: one.add_(1)), given.repeats))
    with torch.no_grad():
        for name, found in cases(given.repeats):
            report["steps"][name] = found
            print(name, *(f"{key} {short(x)}" for key, x in found.items() if key != "all"), sep=", ", flush=True)
            given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
