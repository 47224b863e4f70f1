"""How long the compiler thinks: `python tests/support/thinking.py` for all examples and the texts of users' cases.

For each, CPU seconds of `sparsec cost` as a process of its own, and from text to finished plan in a warm process that
has not met the text.  The best of several runs; `--runs`, `--only NAME`, and `--pieces` for a profile of the plan.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from field_cases import texts

ROOT = Path(__file__).parents[2]
HEADS = 8
_WARM = "pattern warm(w = 100) = past(w) | stride(64) | sinks(4)"


def programs() -> dict[str, tuple[str, Path]]:
    """Text and folder of each example and of each users' case, by name."""
    examples = {path.stem: (path.read_text(), path.parent) for path in sorted((ROOT / "examples").glob("*.spat"))}
    return examples | {name: (text, ROOT) for name, text in texts().items()}


def options(text: str) -> list[str]:
    """What a command needs to be told of a text."""
    return [*(["--heads", str(HEADS)] if by_head(text) else []), *(["--layer", "1"] if "layer" in text else [])]


def by_head(text: str) -> bool:
    """Whether a text depends on the heads."""
    from sparsec.diagnostics import SparsecError
    from sparsec.lower.file import lower
    from sparsec.source import Source
    from sparsec.syntax.parse import parse

    try:
        lower(parse(Source("", text)), layer=1 if "layer" in text else None)
    except SparsecError as error:
        return any(found.code == "SP0401" for found in error.diagnostics)
    return False


def cost(text: str, folder: Path) -> float:
    """CPU seconds of the command."""
    with tempfile.NamedTemporaryFile("w", suffix=".spat", dir=folder) as file:
        file.write(text)
        file.flush()
        before = _spent()
        command = [sys.executable, "-m", "sparsec", "cost", file.name, *options(text)]
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plan(text: str, folder: Path, pieces: bool = False) -> float:
    """CPU seconds from text to plan, in a fork that has planned something else."""
    with get_context("fork").Pool(1) as pool:
        return pool.apply(_plan, (text, folder, pieces))


def _plan(text: str, folder: Path, pieces: bool) -> float:
    from sparsec.diagnostics import SparsecError
    from sparsec.lower.file import lower
    from sparsec.plan.build import build
    from sparsec.source import Source
    from sparsec.syntax.parse import parse

    def planned(text: str) -> None:
        build(lower(parse(Source("", text)), heads=HEADS, layer=1 if "layer" in text else None))

    os.chdir(folder)
    planned(_WARM)
    profile = cProfile.Profile() if pieces else contextlib.nullcontext()
    start = time.process_time()
    with profile, contextlib.suppress(SparsecError):
        planned(text)
    seconds = time.process_time() - start
    if isinstance(profile, cProfile.Profile):
        said = io.StringIO()
        pstats.Stats(profile, stream=said).sort_stats("cumulative").print_stats(40)
        print(said.getvalue())
    return seconds


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=3)
    asked.add_argument("--only", default="")
    asked.add_argument("--pieces", action="store_true")
    chosen = asked.parse_args()
    print(f"{'cost':>8} {'plan':>8}  CPU seconds, the best of {chosen.runs}")
    for name, (text, folder) in programs().items():
        if chosen.only in name:
            costs = min(cost(text, folder) for _ in range(chosen.runs))
            plans = min(plan(text, folder) for _ in range(chosen.runs))
            print(f"{costs:8.2f} {plans:8.3f}  {name}", flush=True)
            if chosen.pieces:
                plan(text, folder, pieces=True)


if __name__ == "__main__":
    main()
