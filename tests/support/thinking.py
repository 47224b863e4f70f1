"""How long the compiler thinks: `python tests/support/thinking.py` for all examples and the texts of users' cases.

For each, CPU seconds of `sparsec cost` as a process of its own, and from text to finished plan in a warm process that
has not met the text: the best of some runs.  A machine on which others work tells up to twice as much.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import os
import pstats
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from field_cases import texts

from sparsec.diagnostics import SparsecError
from sparsec.ir.nodes import Pattern
from sparsec.lower.file import lower
from sparsec.plan.build import build
from sparsec.source import Source
from sparsec.syntax.parse import parse

EXAMPLES = Path(__file__).parents[2] / "examples"
HEADS, LAYER = 8, 1
_WARM = "pattern warm(w = 100) = past(w) | stride(64) | sinks(4)"


@contextlib.contextmanager
def programs() -> Iterator[list[Path]]:
    """A file of each example and of each users' case."""
    with TemporaryDirectory() as folder:
        cases = [Path(folder, f"{name}.spat") for name in texts()]
        for path, text in zip(cases, texts().values(), strict=True):
            path.write_text(text)
        yield [*sorted(EXAMPLES.glob("*.spat")), *cases]


def patterns(path: Path) -> list[str]:
    """The names of what a file declares as patterns."""
    return [each.name for each in parse(Source("", path.read_text())).definitions if each.kind == "pattern"]


def cost(path: Path, pattern: str) -> float:
    """CPU seconds of the command."""
    before = _spent()
    command = [sys.executable, "-m", "sparsec", "cost", str(path), "-p", pattern, *_options(path.read_text(), pattern)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return _spent() - before


def _options(text: str, pattern: str) -> list[str]:
    """What the command has to be told of a text."""
    layer = LAYER if "layer" in text else None
    told = [] if layer is None else ["--layer", str(layer)]
    try:
        lower(parse(Source("", text)), pattern=pattern, layer=layer)
    except SparsecError:  # it depends on the heads
        told += ["--heads", str(HEADS)]
    return told


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plan(path: Path, pattern: str, pieces: bool = False) -> float:
    """CPU seconds from text to plan, in a fork that has planned something else; with `pieces` it prints a profile."""
    with get_context("fork").Pool(1) as pool:
        return pool.apply(_plan, (path, pattern, pieces))


def _plan(path: Path, pattern: str, pieces: bool) -> float:
    os.chdir(path.parent)
    build(_lowered(_WARM, None))
    profile = cProfile.Profile()
    start = time.process_time()
    with profile if pieces else contextlib.nullcontext():
        build(_lowered(path.read_text(), pattern))
    seconds = time.process_time() - start
    if pieces:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(40)
    return seconds


def _lowered(text: str, pattern: str | None) -> Pattern:
    return lower(parse(Source("", text)), pattern=pattern, heads=HEADS, layer=LAYER if "layer" in text else None)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=3)
    asked.add_argument("--only", default="", help="files whose names have this in them")
    asked.add_argument("--pieces", action="store_true", help="a profile of each plan, too")
    chosen = asked.parse_args()
    print(f"{'cost':>8} {'plan':>8}  CPU seconds, the best of {chosen.runs}")
    with programs() as paths:
        for path in (path for path in paths if chosen.only in path.stem):
            for name in patterns(path):
                costs, plans = (min(ask(path, name) for _ in range(chosen.runs)) for ask in (cost, plan))
                print(f"{costs:8.2f} {plans:8.3f}  {path.stem}: {name}", flush=True)
                if chosen.pieces:
                    plan(path, name, pieces=True)


if __name__ == "__main__":
    main()
