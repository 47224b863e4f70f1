"""Kernels that a pass needs, compiled before it first runs, and loaded one by one.

Triton 3.6 compiles a launcher for each signature, as a module of C, and all of these modules have one name.  Where a
process imports one of them again, Python writes its function into the module that has the name at that time, which may
be the one that another thread is about to read: that thread's kernel would be launched by the launcher of another.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import torch

from sparsec.kernels.launches.direct import attach, current
from sparsec.kernels.machine.device import triton

_loading = threading.RLock()  # held wherever a kernel may be loaded


def compile_side_by_side(launches: Sequence[Any], compiled: Mapping[Any, Any], device: torch.device) -> None:
    """Compiles what is not compiled yet, in threads; what fails is compiled again by its launch, which raises.

    `compiled`: what is, by the keys of launches.
    """
    new = list({launch.key: launch for launch in launches if launch.key not in compiled}.values())
    if len(new) < 2 or not isinstance(new[0].kernel, triton.runtime.JITFunction):  # one, or the interpreter's
        return
    made: list[Any] = []
    with ThreadPoolExecutor(min(len(new), os.cpu_count() or 1)) as threads, current(device):
        with contextlib.suppress(RuntimeError), triton.AsyncCompileMode(threads, ignore_errors=True):
            made += [launch.compile() for launch in new]  # RuntimeError: the caller compiles side by side already
        promised = [kernel.kernel if hasattr(kernel, "future") else kernel for kernel in made]
        with contextlib.suppress(Exception):
            attach(device)
            load([kernel for kernel in promised if kernel is not None], threads)


def load(kernels: Sequence[Any], threads: Executor) -> None:
    """Has compiled kernels loaded, as `run` does when it is first asked for.

    C is compiled in threads, to launchers of which none is used; then all is found in Triton's cache.
    """
    make_launcher = triton.runtime.driver.active.launcher_cls
    with _loading:
        list(threads.map(lambda kernel: make_launcher(kernel.src, kernel.metadata), kernels))
        for kernel in kernels:
            kernel.run  # noqa: B018


def launched(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> Any:
    """kernel[grid](...) by Triton, which compiles and loads the kernel where that is not done; what it compiled."""
    with _loading:
        return kernel[grid](*arguments, **options)
