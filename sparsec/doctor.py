"""What sparsec finds of what it needs on this machine; each look catches whatever goes wrong in it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from sparsec.diagnostics import SparsecError
from sparsec.diagnostics.needs import TORCH
from sparsec.kernels.hopper.rules import HEAD_SIZES, NEEDS_DRIVER, NEEDS_GLUON, wanted_tier

_LIBRARIES = ("islpy", "lark", "sympy", "jinja2", "numpy")
_TEXT = "pattern self_test = 0 <= q - k < 24 | k < 3 & k <= q"
_LONGEST = 203  # keys in the self-test


@dataclass(frozen=True)
class Look:
    """What was found of one thing: well, worth a note because something goes without it, or broken; and the cure."""

    name: str
    found: str
    state: Literal["ok", "note", "broken"] = "ok"
    cure: str = ""


def looks() -> Iterator[Look]:
    """All there is to say, one by one, the slowest last."""
    yield Look("python", f"{platform.python_version()}, {platform.platform()}")
    yield Look("sparsec", _version("sparsec"))
    yield _guarded("torch", _torch, "`pip install --force-reinstall torch`")
    for name in _LIBRARIES:
        yield _guarded(name, _library, f"`pip install --force-reinstall {name}`")
    gpu = _has_gpu()
    yield _guarded("triton", lambda name: _triton(name, gpu), "`pip install --force-reinstall triton`")
    yield _guarded("gpu", _gpus, "bring torch and the driver of the GPU together: torch's own notes say how")
    yield _guarded("hopper", _hopper, "set SPARSEC_TIER to plain, which leaves these kernels out, or not at all")
    yield _guarded("compiler", lambda name: _compiler(name, gpu), "install gcc")
    yield _guarded("cache", _cache, "set SPARSEC_CACHE to a folder of your own")
    yield _guarded("self-test", _self_test, "mend what is broken above; else report this to the maintainers of sparsec")


def _guarded(name: str, look: Callable[[str], Look], cure: str) -> Look:
    """Libraries fail in all ways: absent, half removed, built for another machine."""
    try:
        return look(name)
    except SparsecError as error:
        first = error.diagnostics[0]
        return Look(name, first.fill(first.message), "broken", first.fill(first.help) or first.cure)
    except Exception as error:
        return Look(name, f"{type(error).__name__}: {_line(error)}", "broken", cure)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "run from a checkout"


def _library(name: str) -> Look:
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        return Look(name, f"not installed ({_line(error)})", "broken", f"`pip install {error.name or name}`")
    return Look(name, str(getattr(module, "__version__", None) or _version(name)))


def _torch(name: str) -> Look:
    """check, show, cost, diff, fmt and compile do without."""
    found = _library(name)
    if found.state == "ok" or importlib.util.find_spec(name):
        return found
    return Look(name, "not installed; operators, verify, bench and tune need it, other commands do not", "note", TORCH)


def _has_gpu() -> bool:
    try:
        return import_module("torch").cuda.is_available()
    except Exception:  # said where torch is looked at
        return False


def _triton(name: str, gpu: bool) -> Look:
    found = _library(name)
    if found.state == "ok" or gpu:
        return found
    return Look(name, "not installed; only a GPU needs it", "note", "`pip install triton` to write device code here")


def _gpus(name: str) -> Look:
    try:
        cuda = import_module("torch").cuda
    except Exception:  # said where torch is looked at
        return Look(name, "not known without torch")
    if cuda.is_available():
        return Look(name, "; ".join(_gpu(cuda.get_device_properties(i)) for i in range(cuda.device_count())))
    if shutil.which("nvidia-smi"):
        cure = "install a build of torch for CUDA, and the driver that it asks for"
        return Look(name, "there is a driver, and torch can't use it; patterns run on the CPU", "note", cure)
    return Look(name, "none; patterns run on the CPU")


def _hopper(name: str) -> Look:
    """The tier of kernels that Hopper GPUs have besides."""
    try:
        cuda = import_module("torch").cuda
    except Exception:  # said where torch is looked at
        return Look(name, "not known without torch")
    if not cuda.is_available():
        return Look(name, "kernels for Hopper GPUs are left out: no GPU")
    if wanted_tier() == "plain":
        return Look(name, "kernels for Hopper GPUs are left out: SPARSEC_TIER is plain")
    lacking = import_module("sparsec.kernels.hopper.tier").machine_lacks(import_module("torch").device("cuda", 0))
    if not lacking:
        found = f"kernels for Hopper GPUs are used where they are faster, for 16-bit types and {HEAD_SIZES}"
        return Look(name, f"{found}; `sparsec cost --gpu h100` says it of a pattern")
    cure = _HOPPER_CURES.get(lacking, "")
    return Look(name, f"kernels for Hopper GPUs are left out: they need {lacking}", "note" if cure else "ok", cure)


_HOPPER_CURES = {
    NEEDS_DRIVER: "install a newer driver of NVIDIA: 525 is the first one for CUDA 12",
    NEEDS_GLUON: "`pip install triton==3.6.*`, or a later one up to 3.9",
}


def _gpu(found) -> str:
    capability = f"{found.major}.{found.minor}"
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, compute capability {capability}"


def _compiler(name: str, gpu: bool) -> Look:
    """Triton compiles its launcher with $CC, else with gcc or clang."""
    wanted = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    path = next(filter(None, map(shutil.which, wanted)), None)
    if path:
        return Look(name, path)
    cure = "correct CC, or unset it" if os.environ.get("CC") else "install gcc or clang"
    return Look(name, f"no {' or '.join(wanted)}; Triton needs it on a GPU", "broken" if gpu else "note", cure)


def _cache(name: str) -> Look:
    """A cache that can't be used costs time, nothing else."""
    from sparsec.cache.files import Cache, Unusable, folder
    from sparsec.cache.prune import info

    try:
        store = Cache(folder())
        held = info(store)
        store.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store.root):
            pass
    except Unusable as error:
        diagnostic = error.diagnostic
        return Look(name, diagnostic.fill(diagnostic.message), "note", diagnostic.cure)
    except OSError as error:
        found = f"{store.root} can't be written to: {(error.strerror or 'unknown').lower()}"
        return Look(name, found, "note", "make it writable, or set SPARSEC_CACHE to a folder that is")
    entries = f"{held.records:,} records, {held.modules:,} modules, {held.bytes:,} bytes"
    return Look(name, f"{held.folder}, writable, {entries}")


def _self_test(name: str) -> Look:
    """A small pattern, compiled, run forward and backward, and compared with dense attention."""
    if importlib.util.find_spec("torch") is None:
        return Look(name, "not done: it needs torch", "note", TORCH)
    from sparsec import pipeline
    from sparsec.cache.records import digest, module_name
    from sparsec.runtime.module import module
    from sparsec.source import Source
    from sparsec.testing.verify import best_device, cases, device_name, verify

    made = pipeline.compile(Source("<self-test>", _TEXT))
    generated = module(made.source, module_name(made.function, digest(made.source.encode())))
    attend, device = getattr(generated, made.function), best_device()
    tried = cases(None, _LONGEST, device)
    found = [verify(attend, made.pattern, case, device) for case in tried]
    wrong = [str(each) for one in found for each in one.comparisons if not each.holds]
    if wrong:
        cure = "do not use this machine's results; report this to the maintainers of sparsec"
        return Look(name, f"not dense attention on {device_name(device)}: {wrong[0]}", "broken", cure)
    return Look(name, f"{len(tried)} calls on {device_name(device)} equal dense attention, forward and backward")
