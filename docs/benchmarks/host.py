"""What the host does for a warm call: microseconds of Python and driver, the GPU being behind.

Calls come with two sets of tensors in turns, and results are kept until the next one is there, as by layers of a model:
addresses are others at every call.

    python docs/benchmarks/host.py docs/benchmarks/raw/host_NAME.json [--before TREE] [--rounds 12] [--seconds 600]

on a GPU that nobody else uses writes the raw results that table.py draws.  TREE is another checkout: both have a
process of their own, which take turns at every case, and results have to be the same bit for bit.  A second process of
TREE is the control: by how much two medians of one and the same code differ is noise.  `--rounds 0` compares results.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
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
_QUEUES, _CALLS, _PAUSE = 3, 40, 40_000_000  # runs of so many calls, after so many cycles of waiting
_FORWARD, _BOTH, _DECODING = "forward, no gradients", "forward and backward", "a step of decoding"
_FOR_GRADIENTS, _TORCH = "forward, for gradients", "torch itself"
_BEFORE, _CONTROL, _NOW = "before", "before, again", "now"


def is_host(report: dict) -> bool:
    return "host" in report


def tables(report: dict) -> Iterator[str]:
    """Lines of Markdown."""
    trees = list(report["host"])
    yield "Microseconds of the host for a warm call, the median of all runs of 40 calls and the least; the stream waits"
    yield "meanwhile.  The last column has how many launches a call makes, and what these take, the part in C."
    yield ""
    body = []
    for name in report["host"][trees[-1]]:
        what, case = name.split(": ", 1)
        times = [report["host"][tree][name] for tree in trees]
        parts = times[-1].get("parts")
        launches = f"{parts['launches']}: {parts['us']:.1f}" if parts else ""
        body.append([case, what, *(f"{each['us']:.1f}, {each['least']:.1f}" for each in times), launches])
    yield from rows(["call", "what", *trees, "launches"], body)


# ---------------------------------------------------------------- one checkout


Case = tuple[Callable[[], object], Callable[[], list[Any]], Callable[[], Any]]


class InTurns:
    """A call with several sets of tensors, one after the other; the last result is kept."""

    def __init__(self, call: Callable[..., Any], sets: list[Any]) -> None:
        self.call, self.sets, self.turn, self.kept = call, sets, 0, None

    def __call__(self) -> None:
        self.turn += 1
        self.kept = self.call(*self.sets[self.turn % len(self.sets)])


def cases() -> dict[str, Callable[[], Case]]:
    """By name, what makes a case: the call, its results, and the prepared pass and its environment, if it has these."""
    import torch

    import sparsec

    generator = torch.Generator("cuda").manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16, generator=generator)

    g, *qkv = (drawn(1, HEADS, N, SIZE) for _ in range(4))
    sets = [qkv, [x.clone() for x in qkv]]
    row, cache = drawn(8, 32, SIZE), [drawn(8, 8, 32768, SIZE) for _ in range(2)]
    leaves = [[x.clone().requires_grad_() for x in qkv] for _ in range(2)]
    patterns = Path(sparsec.__file__).parents[1] / "examples"
    lengths = torch.full((8,), 30000, device="cuda", dtype=torch.int32)
    steps = [(row, *cache, lengths), (row.clone(), *(x.clone() for x in cache), lengths)]
    documents = torch.tensor([0, 1000, 1700, 3000, N], device="cuda", dtype=torch.int32)
    given: dict[str, tuple[str, dict[str, torch.Tensor]]] = {
        "past(1024)": (_WINDOW, {}),
        "past(1024), documents": (_WINDOW, {"documents": documents}),
        "past(w), w an input": (_GIVEN_WINDOW, {"w": torch.tensor(1024, device="cuda", dtype=torch.int32)}),
    }

    def forward(own: Any, more: dict[str, torch.Tensor]) -> Case:
        def known() -> Any:
            last = own._operator.repeated.last
            data = last.data(more, g.dtype) if set(more) - {"documents"} else []
            given = None, None, None, more.get("documents"), None, None, None
            return last.forward, [last.environment(*each, given, data) for each in sets]

        return InTurns(lambda *each: own(*each, **more), sets), lambda: [own(*qkv, **more)], known

    def step(own: Any) -> Case:
        def known() -> Any:
            last = own._decoder.last
            names, scale = ("Q", "K", "V", "LENGTHS"), {"scale_log2": last.scale_log2}
            made = [dict(zip(names, each, strict=True), OUT=torch.empty_like(row)) for each in steps]
            return last.run, [each | scale for each in made]

        return InTurns(own.decode, steps), lambda: [own.decode(*steps[0])], known

    def training(own: Any, more: dict[str, torch.Tensor], backward: bool) -> Case:
        def both(*each: torch.Tensor) -> list[torch.Tensor]:
            out = own(*each, **more)
            return [out.detach(), *torch.autograd.grad(out, each, g)] if backward else [out.detach()]

        call = InTurns(both if backward else lambda *each: own(*each, **more), leaves)
        return call, lambda: both(*leaves[0]), lambda: None

    class Nothing(torch.autograd.Function):
        """Saves as much as a call, and makes tensors that nobody fills."""

        @staticmethod
        def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
            out, lse = torch.empty_like(q), torch.empty(q.shape[:3], device="cuda")
            ctx.save_for_backward(q, k, v, out, lse)
            return out, lse

        @staticmethod
        def backward(ctx: Any, g: Any, dlse: Any) -> Any:
            return tuple(torch.empty_like(x) for x in ctx.saved_tensors[:3])

    def nothing(backward: bool) -> Case:
        def both(*each: torch.Tensor) -> Any:
            out = Nothing.apply(*each)[0]
            return torch.autograd.grad(out, each, g) if backward else out

        return InTurns(both, leaves), list, lambda: None

    made: dict[str, Callable[[], Case]] = {}
    for name, (text, more) in given.items():
        made[f"{_FORWARD}: {name}"] = lambda text=text, more=more: forward(sparsec.compile(text), more)
        for what, backward in ((_FOR_GRADIENTS, False), (_BOTH, True)):
            made[f"{what}: {name}"] = lambda text=text, more=more, backward=backward: training(
                sparsec.compile(text), more, backward
            )
    for name in _EXAMPLES:
        made[f"{_FORWARD}: {name}"] = lambda name=name: forward(
            sparsec.load(patterns / f"{name}.spat", heads=HEADS), {}
        )
    for text in ("past(4096)", "causal"):
        made[f"{_DECODING}: {text}"] = lambda text=text: step(sparsec.compile(f"pattern p = {text}"))
    for what, backward in ((_FOR_GRADIENTS, False), (_BOTH, True)):
        made[f"{what}: {_TORCH}, a function that does nothing"] = lambda backward=backward: nothing(backward)
    return made


def serve() -> None:
    """Answers each name of a case that comes in with the microseconds of calls, the first time with more."""
    import torch

    made, begun, asked = cases(), {}, Counter[str]()
    for line in sys.stdin:
        name = line.strip()
        answer: dict[str, Any] = {}
        with torch.set_grad_enabled(name.startswith((_FOR_GRADIENTS, _BOTH))):
            if name not in begun:
                call, results, known = begun[name] = made[name]()
                for _ in range(5):
                    call()
                answer["digest"] = digest(results())
            call, _, known = begun[name]
            answer["all"] = microseconds(call)
            asked[name] += 1
            answer["parts"] = launches(known) if asked[name] in (2, 3) else None  # the first one is not kept
        print("=", json.dumps(answer), flush=True)


def digest(tensors: list[Any]) -> list[int]:
    import torch

    bits = [x.contiguous().view(torch.int16).flatten().long() for x in tensors]
    return [int((x * (torch.arange(len(x), device="cuda") * 2654435761 % 4294967291)).sum()) for x in bits]


def microseconds(call: Callable[[], object]) -> list[float]:
    import torch

    found = []
    for _ in range(_QUEUES):
        torch.cuda.synchronize()
        torch.cuda._sleep(_PAUSE)
        call()
        start = time.perf_counter()
        for _ in range(_CALLS):
            call()
        found.append(1e6 * (time.perf_counter() - start) / _CALLS)
    torch.cuda.synchronize()
    return found


def launches(known: Callable[[], Any]) -> dict[str, Any] | None:
    """How many launches the prepared pass of a call has, and the microseconds of the driver for them: the part in C."""
    try:
        run, environments = known()
        chains = [step for step in run.direct if type(step).__name__ == "Chain"]
        count = sum(type(step).__name__ == "Launch" for step in run.steps)
    except (
        AttributeError,
        TypeError,
    ):  # another checkout has other names, and calls with gradients are not taken apart
        return None
    for env in environments:
        run(env)

    def call(env: dict[str, Any]) -> None:
        for chain in chains:
            chain(env)

    return {"launches": count, "all": microseconds(InTurns(call, [(env,) for env in environments]))}


# ---------------------------------------------------------------- both checkouts


class Served:
    """A process that serves a checkout."""

    def __init__(self, tree: Path) -> None:
        paths = os.pathsep.join([str(tree), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(Path(__file__).resolve()), "-", "--serve"]
        own = os.environ | {"PYTHONPATH": paths}
        self.process = subprocess.Popen(
            command, env=own, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.found: dict[str, dict[str, Any]] = {}

    def ask(self, name: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()

    def listen(self, name: str, keep: bool) -> None:
        """Takes the answer; times of a first round, with which all processes are busy, are not kept."""
        assert self.process.stdout
        line = next((line for line in self.process.stdout if line.startswith("=")), None)
        if line is None:
            raise SystemExit(f"{name}: the process ended")
        answer = json.loads(line[1:])
        own = self.found.setdefault(name, {"all": [], "digest": answer.get("digest")})
        if keep:
            own["all"] += answer["all"]
            if answer["parts"]:
                own.setdefault("parts", answer["parts"] | {"all": []})["all"] += answer["parts"]["all"]

    def report(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name, own in self.found.items():
            found[name] = {"us": statistics.median(own["all"]), "least": min(own["all"]), "all": own["all"]}
            if "parts" in own:
                parts = own["parts"]
                found[name]["parts"] = {"launches": parts["launches"], "us": statistics.median(parts["all"])}
        return found


def main() -> None:
    own = argparse.ArgumentParser()
    own.add_argument("out", type=Path)
    own.add_argument("--before", type=Path)
    own.add_argument("--rounds", type=int, default=12)
    own.add_argument("--seconds", type=float, default=600.0)  # no round begins later
    own.add_argument("--only", default="")  # cases of whose names this expression matches a part
    own.add_argument("--serve", action="store_true")  # one checkout, in this process
    given = own.parse_args()
    if given.serve:
        serve()
        return
    import torch

    started = time.monotonic()
    here = Path(__file__).parents[2]
    trees = {_BEFORE: given.before, _CONTROL: given.before, _NOW: here} if given.before else {_NOW: here}
    served = {name: Served(tree.resolve()) for name, tree in trees.items()}
    names = [name for name in cases() if re.search(given.only, name)]
    for number in range(given.rounds + 1):
        if number > 1 and time.monotonic() - started > given.seconds:
            break
        for name in names:
            turn = list(served.values())
            turn = turn[number % len(turn) :] + turn[: number % len(turn)]
            if number == 0:  # side by side: kernels are compiled
                for each in turn:
                    each.ask(name)
                for each in turn:
                    each.listen(name, keep=False)
            else:
                for each in turn:
                    each.ask(name)
                    each.listen(name, keep=True)
        print(f"round {number}, {time.monotonic() - started:.0f} s", flush=True)
        if number == 0:
            _compare(served, names)
        else:
            _write(given.out, served, torch)
    if given.rounds:
        print("\n".join(tables(json.loads(given.out.read_text()))))


def _compare(served: dict[str, Served], names: list[str]) -> None:
    """SystemExit where results of the checkouts differ."""
    differing = [name for name in names if len({str(each.found[name]["digest"]) for each in served.values()}) > 1]
    if differing:
        raise SystemExit(f"results differ: {', '.join(differing)}")
    print(f"{len(names)} cases have the same results", flush=True)


def _write(out: Path, served: dict[str, Served], torch: Any) -> None:
    report = {
        "command": ["python", "host.py", *sys.argv[1:]],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__},
        "setting": {"n": N, "batch": 1, "heads": HEADS, "head_size": SIZE, "dtype": "bf16"},
        "host": {name: each.report() for name, each in served.items()},
    }
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
