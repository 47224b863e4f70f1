"""`sparsec bench`: an operator, proved right, then raced against its peers; all that is found, as plain data."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsec.bench import numbers, peers
from sparsec.bench.growth import Growth, room
from sparsec.bench.packed_peers import PACKED_PEERS
from sparsec.bench.race import FLUSH_BYTES, Racer, Tensors, first, queueing, race
from sparsec.bench.setting import DTYPES, Setting, input_bytes, inputs
from sparsec.cache.records import digest, environment, module_name
from sparsec.ir.nodes import Pattern
from sparsec.pipeline import Compiled
from sparsec.runtime.module import module
from sparsec.testing.verify import Case, device_name, verify

Data = Callable[[Pattern, int], tuple[Mapping[str, np.ndarray], dict[str, str]]]

_MOST_DIFFERENCE = 0.03  # of a peer from ours, relative: bf16 alone makes 0.003
_MOST_SECONDS = 8.0  # of a race
_MOST_CHECKED = 1 << 28  # numbers in k: the dense check draws random ones on the CPU, 100 million a second


def report(
    setting: Setting, device: torch.device, command: list[str], lengths: Sequence[int] = ()
) -> dict[str, object]:
    """What the runs have in common; `runs` is empty.  `lengths` as of `bench`."""
    ceilings = numbers.ceilings(setting, device)
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
    patterns: Iterable[Compiled],
    setting: Setting,
    device: torch.device,
    lengths: Sequence[int] = (),
    other: Callable[..., Any] | None = None,
    data: Data = lambda pattern, n: ({}, {}),
) -> Iterator[dict[str, object]]:
    """One run for each pattern and each of `lengths`, rising, instead of setting.n; also against `other`, the same
    pattern's function from elsewhere, whose results are compared bit for bit.

    `failed` holds a trace, `wrong` the errors and `skipped` the reason where there is nothing to time; `notes` says
    why a peer did not take part.  What would take too long, going by shorter lengths, is skipped.  `data` is that of a
    pattern's inputs at a length, arrays with the axes of their declarations, and what is told of it.
    """
    with _fresh_caches():
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))  # the compiler's own start is nobody's cost
        for made in patterns:
            growth = Growth()
            for n in sorted(set(lengths or (setting.n,))):
                run = _at(made, replace(setting, n=n), device, growth, other, data)
                growth.note(run)
                yield run
                if device.type == "cuda":
                    torch.cuda.empty_cache()


def _at(
    made: Compiled, setting: Setting, device: torch.device, growth: Growth, other: Callable[..., Any] | None, data: Data
) -> dict[str, object]:
    run = {**asdict(setting), **_described(made)}
    if reason := growth.too_much("ours", setting.n, room(device, input_bytes(setting))):
        return {**run, "skipped": reason}
    given, told = data(made.pattern, setting.n)
    run |= {"given": told} if told else {}
    try:
        return {**run, **_run(made, setting, device, growth, other, given)}
    except Exception:
        return {**run, "failed": traceback.format_exc()}


def _described(made: Compiled) -> dict[str, object]:
    pattern = made.pattern
    return {"pattern": pattern.name, "text": pattern.text, "parameters": dict(pattern.parameters)}


def _run(
    made: Compiled,
    setting: Setting,
    device: torch.device,
    growth: Growth,
    other: Callable[..., Any] | None,
    given: Mapping[str, np.ndarray],
) -> dict[str, object]:
    torch._dynamo.reset()  # masks share their code: a compiler that saw them all would take them for one that changes
    tensors = inputs(setting, device, given)
    generated = module(made.source, module_name(made.function, digest(made.source.encode())))
    function = getattr(generated, made.function)
    ours = Racer("ours", _about(function, tensors))
    facts: dict[str, dict] = {"ours": {"compile_s": dict(made.seconds), **asdict(first(ours, tensors))}}
    found = _checked(function, made, setting, device, growth)
    if tensors.documents is not None:
        found = _check_documents(found, ours, function, tensors)
    if "wrong" in found:
        return found
    racers, notes, masked = [ours], {}, _with_choices(generated, tensors)
    if other is not None:
        racers.append(racer := Racer("file", _about(other, tensors)))
        facts["file"] = {**asdict(first(racer, tensors)), "same_bits": _same_bits(ours, racer, tensors)}
    for name in setting.against:
        if reason := growth.too_much(name, setting.n, room(device, input_bytes(setting))):
            notes[name] = reason
            continue
        try:
            racer, facts[name] = _peer(name, made, masked, ours)
            racers.append(racer)
        except Exception as error:
            notes[name] = f"{type(error).__name__}: {error}"[:2000]
    pause = race(racers, tensors, setting.repeats, _MOST_SECONDS)
    pairs = numbers.pairs(made, setting)
    for racer in racers:
        facts[racer.name] |= numbers.times(racer, device) | {"inference_us": queueing(racer, tensors)}
    facts["ours"] |= numbers.shares(ours, pairs, setting, device)
    steps = None if made.pattern.inputs else numbers.predicted(made, setting, device)  # data decides them
    counted = {"pairs": pairs, "predicted_steps": steps, "pause_ms": pause}
    return {**found, **counted, "notes": notes, "racers": facts}


def _checked(
    attend: Callable[..., Any], made: Compiled, setting: Setting, device: torch.device, growth: Growth
) -> dict[str, object]:
    """`errors` beside their bounds, `wrong` where one is larger; `unchecked` says why long lengths go without."""
    size = setting.kv_heads * setting.n * setting.head_size
    if growth.checked and size > _MOST_CHECKED:
        return {"unchecked": f"checked at n = {growth.checked:,}; at n = {setting.n:,} the dense check takes minutes"}
    case = Case(setting.n, setting.n, setting.heads, setting.kv_heads, setting.head_size, DTYPES[setting.dtype])
    errors = verify(attend, made.pattern, case, device).comparisons
    found: dict[str, object] = {"errors": {each.name: [each.error, each.bound] for each in errors}}
    if wrong := [str(each) for each in errors if not each.holds]:
        found["wrong"] = wrong
    return found


def _about(function: Callable[..., Any], tensors: Tensors) -> Callable[..., Any]:
    """An operator, told where documents end if there are some, and the pattern's inputs."""
    return partial(function, **tensors.keywords) if tensors.keywords else function


def _with_choices(generated: ModuleType, tensors: Tensors) -> Tensors:
    """The tensors with what the operator chooses by them, for peers whose mask has to be told."""
    if not any(own.choice for own in generated._PROGRAM.inputs):
        return tensors
    reals = {own.name: tensors.given[own.name] for own in generated._PROGRAM.choice_inputs}
    choices = generated._OPERATOR.choices(tensors.q, tensors.k, **reals)
    return replace(tensors, given={**tensors.given, **choices})


def _check_documents(
    found: dict[str, Any], ours: Racer, attend: Callable[..., Any], tensors: Tensors
) -> dict[str, object]:
    """Packed documents beside each alone, by the same operator: the largest relative difference of any result."""
    assert tensors.documents is not None
    bound, worst = 4 * torch.finfo(tensors.q.dtype).eps, 0.0
    together = (out := ours.forward(tensors), *ours.backward(tensors, out))
    for start, stop in pairwise(tensors.documents.tolist()):
        rows = (x[:, :, start:stop].detach() for x in (tensors.q, tensors.k, tensors.v))
        q, k, v = (x.clone().requires_grad_() for x in rows)
        own = Tensors(q, k, v, tensors.g[:, :, start:stop])
        racer = Racer("alone", attend)
        alone = (out := racer.forward(own), *racer.backward(own, out))
        for one, other in zip(together, alone, strict=True):
            worst = max(worst, _relative(one[:, :, start:stop], other))
    found.setdefault("errors", {})["documents"] = [worst, bound]
    return found if worst <= bound else found | {"wrong": [f"documents packed and alone differ by {worst:.1e}"]}


def _peer(name: str, made: Compiled, tensors: Tensors, ours: Racer) -> tuple[Racer, dict[str, object]]:
    """A peer that has run once and, where it has the same pattern, has been compared with ours."""
    known = peers.PEERS if tensors.documents is None else PACKED_PEERS
    if name not in known:
        raise NotImplementedError(f"of these, none is {name}: {', '.join(known)}")
    attend, facts, same = known[name](made.pattern, tensors)
    racer = Racer(name, attend)
    facts |= asdict(first(racer, tensors)) | {"same_pattern": same}
    if same:
        facts["difference"] = difference = _difference(racer, ours, tensors)
        if not difference <= _MOST_DIFFERENCE:
            raise ArithmeticError(f"its results differ from ours by {difference:.1e}, relatively")
    return racer, facts


def _same_bits(left: Racer, right: Racer, tensors: Tensors) -> dict[str, bool]:
    """Whether out, the log-sum-exp and the gradients are equal, bit for bit."""
    found = []
    for racer in (left, right):
        out, lse = racer.attend(tensors.q, tensors.k, tensors.v, return_lse=True)
        found.append((out, lse, *racer.backward(tensors, out)))
    integers = {2: torch.int16, 4: torch.int32}
    bits = ([x.detach().view(integers[x.itemsize]) for x in each] for each in found)
    alike = (torch.equal(one, two) for one, two in zip(*bits, strict=True))
    return dict(zip(("out", "lse", "dq", "dk", "dv"), alike, strict=True))


def _difference(left: Racer, right: Racer, tensors: Tensors) -> float:
    """The largest relative difference, by norms, of out and the gradients."""
    worst = 0.0
    both = [(out := racer.forward(tensors), *racer.backward(tensors, out)) for racer in (left, right)]
    for one, other in zip(*both, strict=True):
        worst = max(worst, _relative(one, other))
    return worst


def _relative(one: Tensor, other: Tensor) -> float:
    """The norm of the difference, as a share of the other's."""
    return (one.float() - other.float()).norm().item() / (other.float().norm().item() or 1.0)


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
