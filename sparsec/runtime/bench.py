"""`sparsec bench`: an operator, proved right, then raced against its peers; everything found, as plain data for JSON.

Work is counted over kept pairs: 4 * D operations a pair and head forward, 10 * D backward.  The floor of a pass is
the larger of its operations over the rate of the matrix units and its bytes over the bandwidth of the memory, each
input read once and each output written once, with ceilings measured by large products and copies.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import torch

from sparsec.analysis.count import pattern_count
from sparsec.analysis.numbers import Uncounted
from sparsec.pipeline import Compiled
from sparsec.plan.predict import cost
from sparsec.runtime import peers
from sparsec.runtime.bench_growth import Growth, room
from sparsec.runtime.index import digest, environment, module_name
from sparsec.runtime.module import module
from sparsec.runtime.race import FLUSH_BYTES, Racer, Tensors, first, race, spread
from sparsec.runtime.verify import Case, device_name, verify

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PASSES = {"forward": 4, "backward": 10}  # operations a pair and head, in units of D
_CEILINGS = {("H200", "fp16"): (790e12, 4.3e12), ("H200", "bf16"): (790e12, 4.3e12)}  # a second: operations, bytes
_MOST_DIFFERENCE = 0.03  # of a peer from ours, relative: bf16 alone makes 0.003
_MOST_SECONDS = 8.0  # of a race
_MOST_CHECKED = 1 << 28  # numbers in k: the dense check draws random ones on the CPU, 100 million a second


@dataclass(frozen=True)
class Setting:
    """Shapes and dtype of every call, how often it runs, and against whom."""

    n: int = 32768
    batch: int = 1
    heads: int = 16
    kv_heads: int = 16
    head_size: int = 128
    dtype: str = "bf16"
    repeats: int = 15
    against: tuple[str, ...] = ("flex", "sdpa")


CPU = Setting(n=1024, heads=2, kv_heads=2, head_size=32, dtype="fp32", repeats=5, against=("sdpa",))


def report(
    setting: Setting, device: torch.device, command: list[str], lengths: Sequence[int] = ()
) -> dict[str, object]:
    """What the runs have in common; `runs` is empty.  `lengths` as of `bench`."""
    ceilings = _ceilings(setting, device)
    return {
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(device),
        "driver": _driver() if device.type == "cuda" else None,
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda, "all": list(environment())},
        "platform": platform.platform(),
        "setting": asdict(setting),
        "lengths": list(lengths or (setting.n,)),
        "flushed_bytes": FLUSH_BYTES if device.type == "cuda" else 0,
        "ceilings": ceilings and {"flops": ceilings[0], "bytes": ceilings[1]},
        "runs": [],
    }


def bench(
    patterns: Iterable[Compiled], setting: Setting, device: torch.device, lengths: Sequence[int] = ()
) -> Iterator[dict[str, object]]:
    """One run for each pattern and each of `lengths`, rising, instead of setting.n.

    `failed` holds a trace, `wrong` the errors and `skipped` the reason where there is nothing to time; `notes` says
    why a peer did not take part.  What would take too long, going by shorter lengths, is skipped.
    """
    with _fresh_caches():
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))  # the compiler's own start is nobody's cost
        for made in patterns:
            growth = Growth()
            for n in sorted(set(lengths or (setting.n,))):
                run = _at(made, replace(setting, n=n), device, growth)
                growth.note(run)
                yield run
                if device.type == "cuda":
                    torch.cuda.empty_cache()


def _at(made: Compiled, setting: Setting, device: torch.device, growth: Growth) -> dict[str, object]:
    run = {**asdict(setting), **_described(made)}
    if reason := growth.too_much("ours", setting.n, room(device, _input_bytes(setting))):
        return {**run, "skipped": reason}
    try:
        return {**run, **_run(made, setting, device, growth)}
    except Exception:
        return {**run, "failed": traceback.format_exc()}


def _described(made: Compiled) -> dict[str, object]:
    pattern = made.pattern
    return {"pattern": pattern.name, "text": pattern.text, "parameters": dict(pattern.parameters)}


def _run(made: Compiled, setting: Setting, device: torch.device, growth: Growth) -> dict[str, object]:
    torch._dynamo.reset()  # masks share their code: a compiler that saw them all would take them for one that changes
    tensors = inputs(setting, device)
    generated = module(made.source, module_name(made.function, digest(made.source.encode())))
    ours = Racer("ours", getattr(generated, made.function))
    facts: dict[str, dict] = {"ours": {"compile_s": dict(made.seconds), **asdict(first(ours, tensors))}}
    found = _checked(ours, made, setting, device, growth)
    if "wrong" in found:
        return found
    racers, notes = [ours], {}
    for name in setting.against:
        if reason := growth.too_much(name, setting.n, room(device, _input_bytes(setting))):
            notes[name] = reason
            continue
        try:
            racer, facts[name] = _peer(name, made, tensors, ours)
            racers.append(racer)
        except Exception as error:
            notes[name] = f"{type(error).__name__}: {error}"[:2000]
    pause = race(racers, tensors, setting.repeats, _MOST_SECONDS)
    pairs = _pairs(made, setting)
    for racer in racers:
        facts[racer.name] |= _times(racer, device)
    facts["ours"] |= _shares(ours, pairs, setting, device)
    numbers = {"pairs": pairs, "predicted_steps": _predicted(made, setting), "pause_ms": pause}
    return {**found, **numbers, "notes": notes, "racers": facts}


def _checked(ours: Racer, made: Compiled, setting: Setting, device: torch.device, growth: Growth) -> dict[str, object]:
    """`errors` beside their bounds, `wrong` where one is larger; `unchecked` says why long lengths go without."""
    numbers = setting.kv_heads * setting.n * setting.head_size
    if growth.checked and numbers > _MOST_CHECKED:
        return {"unchecked": f"checked at n = {growth.checked:,}; at n = {setting.n:,} the dense check takes minutes"}
    case = Case(setting.n, setting.n, setting.heads, setting.kv_heads, setting.head_size, DTYPES[setting.dtype])
    errors = verify(ours.attend, made.pattern, case, device)
    found: dict[str, object] = {"errors": {each.name: [each.error, each.bound] for each in errors}}
    if wrong := [str(each) for each in errors if not each.holds]:
        found["wrong"] = wrong
    return found


def inputs(setting: Setting, device: torch.device) -> Tensors:
    """Random q, k, v and gradient of out, the same ones every time."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = (setting.heads, setting.kv_heads, setting.kv_heads, setting.heads)
    q, k, v, g = (
        torch.randn(
            (setting.batch, heads, setting.n, setting.head_size),
            generator=generator,
            device=device,
            dtype=DTYPES[setting.dtype],
        )
        for heads in shapes
    )
    return Tensors(*(x.requires_grad_() for x in (q, k, v)), g)


def _peer(name: str, made: Compiled, tensors: Tensors, ours: Racer) -> tuple[Racer, dict[str, object]]:
    """A peer that has run once and, where it has the same pattern, has been compared with ours."""
    attend, facts, same = peers.PEERS[name](made.pattern, tensors)
    racer = Racer(name, attend)
    facts |= asdict(first(racer, tensors)) | {"same_pattern": same}
    if same:
        facts["difference"] = _difference(racer, ours, tensors)
        if not facts["difference"] <= _MOST_DIFFERENCE:
            raise ArithmeticError(f"its results differ from ours by {facts['difference']:.1e}, relatively")
    return racer, facts


def _difference(left: Racer, right: Racer, tensors: Tensors) -> float:
    """The largest relative difference, by norms, of out and the gradients."""
    worst = 0.0
    both = [(out := racer.forward(tensors), *racer.backward(tensors, out)) for racer in (left, right)]
    for one, other in zip(*both, strict=True):
        norm = other.float().norm().item()
        worst = max(worst, (one.float() - other.float()).norm().item() / (norm or 1.0))
    return worst


# ---------------------------------------------------------------- numbers


def _pairs(made: Compiled, setting: Setting) -> int | None:
    """Kept pairs of all heads and batches; None where they can't be counted in reasonable time."""
    try:
        count = pattern_count(made.pattern, setting.n)
    except Uncounted:
        return None
    return setting.batch * count * (1 if made.pattern.heads else setting.heads)


def _predicted(made: Compiled, setting: Setting) -> float:
    """The planner's own unit of all heads and batches: tiles of 64 x 64 that forward and backward visit."""
    total = 0.0
    for heads in made.plan.parts:
        choice = next(each for each in reversed(heads.choices) if each.least_n <= setting.n)
        total += (len(heads.heads) or setting.heads) * cost(choice.parts, setting.n)
    return setting.batch * total


def _times(racer: Racer, device: torch.device) -> dict[str, object]:
    """The device's times and, for a GPU, what Python needs to queue a warm call, in microseconds."""
    found: dict[str, object] = {"ms": {kind: spread(times) for kind, times in racer.ms.items()}}
    if device.type == "cuda":
        found["host_us"] = {kind: 1000 * statistics.median(times) for kind, times in racer.host_ms.items()}
    return found


def _shares(racer: Racer, pairs: int | None, setting: Setting, device: torch.device) -> dict[str, object]:
    """TFLOP/s over kept pairs, the floor in ms with what sets it, and the floor as a share of the median."""
    found: dict[str, dict] = {"tflops": {}, "floor_ms": {}, "floor_by": {}, "floor_share": {}}
    ceilings = _ceilings(setting, device)
    for kind, times in racer.ms.items():
        ms = spread(times)["median"]
        flops = None if pairs is None else PASSES[kind] * setting.head_size * pairs
        if flops is not None:
            found["tflops"][kind] = flops / ms / 1e9
        if flops is not None and ceilings:
            by = {"arithmetic": flops / ceilings[0], "bytes": _bytes(kind, setting) / ceilings[1]}
            found["floor_by"][kind] = max(by, key=by.get)
            found["floor_ms"][kind] = 1000 * max(by.values())
            found["floor_share"][kind] = found["floor_ms"][kind] / ms
    return found


def _bytes(kind: str, setting: Setting) -> int:
    """Forward q, k, v, out and the log-sum-exp; backward these, the gradient of out, and those of q, k and v."""
    query, key = _sizes(setting)
    lse = 4 * setting.batch * setting.heads * setting.n
    return lse + (2 * query + 2 * key if kind == "forward" else 4 * query + 4 * key)


def _sizes(setting: Setting) -> tuple[int, int]:
    """Bytes of q and of k."""
    key_head = setting.batch * setting.n * setting.head_size * DTYPES[setting.dtype].itemsize
    return setting.heads * key_head, setting.kv_heads * key_head


def _input_bytes(setting: Setting) -> int:
    """Bytes of q, k, v and the gradient of out."""
    query, key = _sizes(setting)
    return 2 * query + 2 * key


def _ceilings(setting: Setting, device: torch.device) -> tuple[float, float] | None:
    name = device_name(device)
    return next((rates for (gpu, dtype), rates in _CEILINGS.items() if gpu in name and dtype == setting.dtype), None)


def _driver() -> str | None:
    """Driver and power limit, as the driver's own tool prints them."""
    with suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    return None


@contextmanager
def _fresh_caches() -> Iterator[None]:
    """Nothing compiled by an earlier process is found, so that first calls are first calls."""
    names = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="sparsec-bench-", ignore_cleanup_errors=True) as folder:
        os.environ |= {name: os.path.join(folder, name.lower()) for name in names}
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def defaults(device: torch.device, **given: object) -> Setting:
    """The setting for a device, with what is given and not None; as many key heads as query heads unless given."""
    chosen = {name: value for name, value in given.items() if value is not None}
    if "heads" in chosen:
        chosen.setdefault("kv_heads", chosen["heads"])
    return replace(Setting() if device.type == "cuda" else CPU, **chosen)
