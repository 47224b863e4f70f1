"""Programs whose tables are as large, long or wide as the language allows, under limits of time and memory.

    python hostile_tables.py SEED COUNT     prints what each took; an error, a wrong result or too much ends it

A process of its own: limits of memory hold for all that a process has.
"""

from __future__ import annotations

import importlib.util
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import torch

from sparsec import pipeline
from sparsec.analysis.blocks import blocks
from sparsec.analysis.cost import cost
from sparsec.ir import reference
from sparsec.source import Source

SECONDS = 20  # for each step of a program, of the processor: a quiet machine takes a few
MEMORY = 3 << 30  # bytes beyond what the libraries take

SIZES = (1, 2, 3, 16, 64, 1000, 100_000, 500_000_000, 2**31 - 1)
COUNTS = (1, 3, 64, 1000, 4096, 65_535, 65_536)
AROUND = (
    "{}",
    "{}",
    "causal & {}",
    "{} | past(20)",
    "causal & ({} | past(9))",
    "past(40) & ~{}",
    "{} & ~({} | past(3))",
)


def rows(draw: random.Random, folder: Path) -> str:
    """A file of rows of very different lengths: few or thousands, one of them with everything, some empty."""
    height = draw.choice((1, 2, 40, 3000, 20_000, 60_000))
    entries = [[draw.randrange(height)] if draw.random() < 0.7 else [] for _ in range(height)]
    for _ in range(draw.randrange(3)):
        entries[draw.randrange(height)] = range(draw.choice((50, height, 2 * height)))
    entries[0] = [*entries[0], draw.choice((0, 10**6, 2**31 - 1))]
    path = folder / f"{draw.randrange(10**9)}.json"
    path.write_text(str([list(row) for row in entries]))
    return path.name


def table(draw: random.Random, folder: Path) -> str:
    size, count, seed = draw.choice(SIZES), draw.choice(COUNTS), draw.choice((0, 7, 2**31 - 1))
    kinds = (
        lambda: f"random_keys({count}, {seed})",
        lambda: f"random_blocks({size}, {count}, {seed})",
        lambda: f"random_past_blocks({size}, {count}, {seed})",
        lambda: f'blocks({size}, "{rows(draw, folder)}")',
    )
    return draw.choice(kinds)()


def text(draw: random.Random, folder: Path) -> str:
    around = draw.choice(AROUND)
    return "pattern p = " + around.format(*(table(draw, folder) for _ in range(around.count("{}"))))


def measured(what: str, step: Callable[[], object]) -> object:
    """What a step gives, within its time."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    start = process_time()
    result = step()
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"  {what} {process_time() - start:.2f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    return result


def attention(operator: Callable, n_q: int, n: int, q_offset: int) -> list[torch.Tensor]:
    """Output and gradients."""
    make = torch.Generator().manual_seed(n)
    q, k, v = (torch.randn(1, 1, length, 16, generator=make).requires_grad_() for length in (n_q, n, n))
    out = operator(q, k, v, q_offset=q_offset)
    return [out, *torch.autograd.grad(out.square().sum(), (q, k, v))]


def dense(mask: np.ndarray) -> Callable:
    """Attention over a mask, with zeros for rows without a key."""

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, q_offset: int) -> torch.Tensor:
        kept = torch.from_numpy(mask)
        weights = (q @ k.mT / 4).masked_fill(~kept, -torch.inf).masked_fill(~kept.any(1)[:, None], 0).softmax(3)
        return weights.masked_fill(~kept, 0) @ v

    return attend


def loaded(made: pipeline.Compiled, path: Path) -> Callable:
    """The operator of a module: a file, since Triton reads its kernels there."""
    path.write_text(made.source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, made.function)


def check(program: str, folder: Path) -> None:
    made = measured("compile", lambda: pipeline.compile(Source(str(folder / "p.spat"), program)))
    [condition] = made.pattern.conditions
    operator = measured("load", lambda: loaded(made, folder / f"m{len(list(folder.iterdir()))}.py"))
    for n_q, n, q_offset in ((64, 64, 0), (1, 700, 699), (130, 300, 250)):
        found = measured("call", lambda q=n_q, k=n, o=q_offset: attention(operator, q, k, o))
        wanted = attention(dense(reference.mask(condition, n_q, n, q_offset)), n_q, n, q_offset)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    counted = measured("cost", lambda: cost(made.pattern, 500, complexity="", tile_sizes=(16, 64)))
    assert counted.pairs == reference.mask(condition, 500, 500).sum()
    measured("cost of many", lambda: cost(made.pattern, 1_000_000, complexity=""))
    measured("tiles", lambda: blocks(condition, 1000, (64, 128), range(300, 1100)))


def late(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def main(seed: int, count: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, late)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(seed, seed + count):
            program = text(random.Random(number), Path(folder))
            print(number, program, flush=True)
            check(program, Path(folder))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
