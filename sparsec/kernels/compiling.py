"""Kernels that a pass needs, compiled before it first runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from sparsec.kernels.device import triton
from sparsec.kernels.direct import attach, current


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
        with contextlib.suppress(Exception):
            found = [kernel for kernel in made if kernel is not None]
            list(threads.map(lambda kernel: _load(kernel, device), found))


def _load(kernel: Any, device: torch.device) -> Any:
    """Has a compiled kernel loaded, as `run` does when it is first asked for: on the thread's own current device."""
    with current(device):
        attach(device)
        return getattr(kernel, "kernel", kernel).run
