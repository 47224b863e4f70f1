"""Times of decoding steps on a GPU: milliseconds of a captured step, and the bytes of keys and values that it reads.

    python docs/benchmarks/decode.py docs/benchmarks/raw/steps/decode_NAME.json [--repeats 15]

bfloat16, 32 query heads over 8 key heads of size 128; 256 MiB are written before each repeat, so that no key is in the
L2 cache.  `graph` has microseconds of a step among 100 in one graph, where keys may be in the cache.
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
        tensors = made([N] * 8)
        for text, keys in _EQUAL.items():
            yield f"{text}, B 8, {kind}", timed(text, tensors, repeats, 8 * keys)
    generator = torch.Generator().manual_seed(0)
    lengths = [int(1024 * 32 ** float(x)) for x in torch.rand(64, generator=generator)]
    tensors = paged(lengths)
    yield "causal, B 64, 1,024 to 32,768 keys, pages of 16", timed("causal", tensors, repeats, sum(lengths))
    for n in (4096, 65536, 1 << 20):
        attend, tensors = sparsec.compile("pattern p = sinks(4) | past(512)"), flat([n])
        graph = captured(lambda attend=attend, tensors=tensors: attend.decode(*tensors), _STEPS)
        found = [1e3 * x / _STEPS for x in milliseconds(graph, repeats, flush=False)]
        yield f"sinks(4) | past(512), B 1, n {n:,}", {"us in a graph": statistics.median(found), "all": found}


def timed(text: str, tensors: tuple[Tensor, ...], repeats: int, keys: int) -> dict[str, Any]:
    """Of a step that reads so many keys: of the card's bandwidth, the share is what keys and values alone take."""
    attend = sparsec.compile(f"pattern p = {text}")
    found = milliseconds(captured(lambda: attend.decode(*tensors)), repeats)
    size, ms = 2 * keys * KV_HEADS * SIZE * 2, statistics.median(found)
    peak = next((x for name, x in _PEAK.items() if name in torch.cuda.get_device_name()), None)
    share = size / (ms * 1e-3) / (peak * 1e12) if peak else None
    return {"ms": ms, "least": min(found), "bytes": size, "share of bandwidth": share, "all": found}


def main() -> None:
    own = argparse.ArgumentParser()
    own.add_argument("out", type=Path)
    own.add_argument("--repeats", type=int, default=15)
    given = own.parse_args()
    torch.manual_seed(0)
    report: dict[str, Any] = {"card": torch.cuda.get_device_name(), "torch": torch.__version__}
    report |= {"triton": triton.__version__, "about": __doc__, "steps": {}}
    with torch.no_grad():
        for name, found in cases(given.repeats):
            report["steps"][name] = found
            print(name, {key: x for key, x in found.items() if key != "all"}, flush=True)
            given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
