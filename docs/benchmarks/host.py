"""What the host does for a warm call: microseconds of Python and driver, the GPU being behind.

    python docs/benchmarks/host.py docs/benchmarks/raw/host_NAME.json [--before TREE] [--turns 2]

on a GPU that nobody else uses writes the raw results that table.py draws.  TREE is another checkout: both take turns,
each in a process of its own, and results have to be the same bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cells import rows

N, HEADS, SIZE = 4096, 16, 128
_EXAMPLES = (
    "mistral",
    "longformer",
    "bigbird",
    "sparse_transformer_strided",
    "deepspeed_fixed",
    "longnet_heads",
)
_WINDOW = "pattern p = past(1024)"
_GIVEN_WINDOW = "input w: int pattern p = causal & q - k < w"
_QUEUES, _CALLS, _PAUSE = 9, 40, 50_000_000  # runs of so many calls, after so many cycles of waiting
_FORWARD, _BOTH, _DECODING = "forward, no gradients", "forward and backward", "a step of decoding"


def is_host(report: dict) -> bool:
    return "host" in report


def tables(report: dict) -> Iterator[str]:
    """Lines of Markdown."""
    yield "Microseconds of the host for a warm call, the lowest median of the turns.  The stream waits meanwhile."
    yield ""
    trees = list(report["host"])
    body = []
    for name in report["host"][trees[-1]]:
        what, case = name.split(": ", 1)
        body.append([case, what, *(f"{report['host'][tree][name]['us']:.1f}" for tree in trees)])
    yield from rows(["call", "what", *trees], body)


# ---------------------------------------------------------------- one checkout


def measured() -> dict[str, dict[str, Any]]:
    """By case, the microseconds of a call and a digest of its results."""
    import torch

    import sparsec

    generator = torch.Generator("cuda").manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16, generator=generator)

    def digest(*tensors: torch.Tensor) -> list[int]:
        bits = [x.contiguous().view(torch.int16).flatten().long() for x in tensors]
        return [int((x * (torch.arange(len(x), device="cuda") * 2654435761 % 4294967291)).sum()) for x in bits]

    def microseconds(call: Callable[[], object]) -> list[float]:
        found = []
        for _ in range(5):
            call()
        for _ in range(_QUEUES):
            torch.cuda.synchronize()
            torch.cuda._sleep(_PAUSE)
            start = time.perf_counter()
            for _ in range(_CALLS):
                call()
            found.append(1e6 * (time.perf_counter() - start) / _CALLS)
        torch.cuda.synchronize()
        return found

    found: dict[str, dict[str, Any]] = {}

    def case(name: str, call: Callable[[], object], *results: torch.Tensor) -> None:
        times = microseconds(call)
        found[name] = {"us": statistics.median(times), "all": times, "digest": digest(*results)}
        print(name, round(found[name]["us"], 1), flush=True)

    q, k, v, g = (drawn(1, HEADS, N, SIZE) for _ in range(4))
    patterns = Path(sparsec.__file__).parents[1] / "examples"
    with torch.no_grad():
        for name in _EXAMPLES:
            own = sparsec.load(patterns / f"{name}.spat", heads=HEADS)
            case(f"{_FORWARD}: {name}", lambda own=own: own(q, k, v), own(q, k, v))
        window, given = sparsec.compile(_WINDOW), {"w": torch.tensor(1024, device="cuda", dtype=torch.int32)}
        own = sparsec.compile(_GIVEN_WINDOW)
        case(f"{_FORWARD}: past(1024)", lambda: window(q, k, v), window(q, k, v))
        case(f"{_FORWARD}: past(w), w an input", lambda: own(q, k, v, **given), own(q, k, v, **given))
        documents = torch.tensor([0, 1000, 1700, 3000, N], device="cuda", dtype=torch.int32)
        of = {"documents": documents}
        case(f"{_FORWARD}: past(1024), documents", lambda: window(q, k, v, **of), window(q, k, v, **of))
        row, cache = drawn(8, 32, SIZE), [drawn(8, 8, 32768, SIZE) for _ in range(2)]
        steps = row, *cache, torch.full((8,), 30000, device="cuda", dtype=torch.int32)
        for text in ("past(4096)", "causal"):
            own = sparsec.compile(f"pattern p = {text}")
            case(f"{_DECODING}: {text}", lambda own=own: own.decode(*steps), own.decode(*steps))
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]

    def both(**more: Any) -> list[torch.Tensor]:
        out = window(*leaves, **more)
        return [out.detach(), *torch.autograd.grad(out, leaves, g)]

    for name, more in (("", {}), (", documents", of)):
        case(f"forward, for gradients: past(1024){name}", lambda more=more: window(*leaves, **more))
        case(f"{_BOTH}: past(1024){name}", lambda more=more: both(**more), *both(**more))
    return found


# ---------------------------------------------------------------- both checkouts


def main() -> None:
    own = argparse.ArgumentParser()
    own.add_argument("out", type=Path)
    own.add_argument("--before", type=Path)
    own.add_argument("--turns", type=int, default=2)
    own.add_argument("--alone", action="store_true")  # one checkout, in this process
    given = own.parse_args()
    if given.alone:
        given.out.write_text(json.dumps(measured()))
        return
    import torch

    trees = {"before": given.before} if given.before else {}
    trees["now"] = Path(__file__).parents[2]
    turns: dict[str, list[dict]] = {name: [] for name in trees}
    for _ in range(given.turns):
        for name, tree in trees.items():
            turns[name].append(_in_a_process(tree.resolve()))
    digests = {
        case: {str(found[case]["digest"]) for each in turns.values() for found in each} for case in turns["now"][0]
    }
    if differing := [case for case, each in digests.items() if len(each) > 1]:
        raise SystemExit(f"results differ: {', '.join(differing)}")
    report = {
        "command": ["python", "host.py", *sys.argv[1:]],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__},
        "setting": {"n": N, "batch": 1, "heads": HEADS, "head_size": SIZE, "dtype": "bf16"},
        "host": {
            name: {
                case: {"us": min(found[case]["us"] for found in each), "all": [found[case]["all"] for found in each]}
                for case in each[0]
            }
            for name, each in turns.items()
        },
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(tables(report)))


def _in_a_process(tree: Path) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        paths = os.pathsep.join([str(tree), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(Path(__file__).resolve()), str(out), "--alone"]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": paths}, cwd=tree)
        return json.loads(out.read_text())


if __name__ == "__main__":
    main()
