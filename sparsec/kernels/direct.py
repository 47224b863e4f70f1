"""Triton's launcher in C called directly, without the Python around it that costs the host more than the launch.

`compiled[grid](...)` expands tensor descriptors, asks for hooks and looks for scratch memory anew each time.  Here the
arguments are laid out once for each launch; a call fills in the stream and addresses.  A descriptor is made again
only where its address changed.  The layout is that of Triton 3.6; for others `direct` is None and Triton launches.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.device import TensorDescriptor, triton
from sparsec.kernels.hopper import GluonDescriptor

_LAYOUT = "iiiKKppOOOOOO"  # grid, stream, function, cooperative, dependent, scratch memory, metadata, hooks
_STREAM = 3
STREAM = "stream"  # of a call, by its name there


class Box(NamedTuple):
    """A tensor of the call that the tensor memory accelerator loads in blocks."""

    name: str
    shape: list[int]
    strides: list[int]
    block: list[int]
    layout: Any = None  # of blocks in shared memory, for kernels in Gluon

    def descriptor(self, x: Tensor) -> Any:
        """What a kernel gets for the tensor."""
        if self.layout is not None:
            return GluonDescriptor(x, self.shape, self.strides, self.block, self.layout)
        return TensorDescriptor(x, self.shape, self.strides, self.block)


class Direct:
    """A launch of a compiled kernel: what the call gives, by its places in `arguments`."""

    def __init__(self, launch: Any, arguments: list[Any]) -> None:
        self.launch, self.arguments = launch, arguments
        self.numbers: list[tuple[int, str]] = []
        self.tensors: list[tuple[int, str]] = []
        self.boxes: list[tuple[int, _Map]] = []
        self.several: list[tuple[int, tuple[str, ...]]] = []

    def __call__(self, env: dict[str, Any]) -> None:
        """Launches on the stream of the call."""
        arguments = self.arguments.copy()
        arguments[_STREAM] = env[STREAM]
        for place, name in self.numbers:
            arguments[place] = env[name]
        for place, name in self.tensors:
            arguments[place] = env[name].data_ptr()
        for place, names in self.several:
            arguments[place] = tuple(env[name].data_ptr() for name in names)
        for place, box in self.boxes:
            arguments[place] = box(env)
        self.launch(*arguments)


def hooked() -> bool:
    """Whether a hook of Triton wants to see launches."""
    runtime = triton.knobs.runtime
    return bool(runtime.launch_enter_hook.calls or runtime.launch_exit_hook.calls)


def current_stream(device: torch.device) -> int:
    """The stream of a call, as a launcher takes it."""
    return torch._C._cuda_getCurrentRawStream(device.index)


class _Map:
    """The tensor map of a box, kept with the address that it was made for, as one value: other threads may launch."""

    def __init__(self, box: Box, fields: Any) -> None:
        self.box, self.fields = box, fields
        self.last: tuple[int, Any] = (-1, None)

    def __call__(self, env: dict[str, Any]) -> Any:
        tensor = env[self.box.name]
        address, made = self.last
        if address != tensor.data_ptr():
            made = _nvidia().make_tensordesc_arg(self.box.descriptor(tensor), self.fields)[0]
            self.last = tensor.data_ptr(), made
        return made


def direct(
    compiled: Any,
    grid: tuple[int, int, int],
    arguments: list[Any],
    numbers: list[tuple[int, str]],
    tensors: list[tuple[int, str]],
    boxes: list[tuple[int, Box]],
    several: Sequence[tuple[int, tuple[str, ...]]],
) -> Direct | None:
    """The launch of a kernel on a grid.  The four lists say which `arguments` each call gives, and their names in it.

    None where Triton's launcher is not the known one, or the kernel asks for scratch memory.
    """
    nvidia, run = _nvidia(), compiled.run
    fields = list(getattr(compiled.metadata, "tensordesc_meta", None) or ())
    if nvidia is None or type(run) is not nvidia.CudaLauncher or len(fields) != len(boxes):
        return None
    if run.global_scratch_size or run.profile_scratch_size:
        return None
    launch = run.launch
    if boxes:
        cells = dict(zip(launch.__code__.co_freevars, launch.__closure__ or (), strict=True))
        launch = cells["launcher"].cell_contents
    flags = run.launch_cooperative_grid, run.launch_pdl
    out = [*grid, 0, compiled.function, *flags, None, None, compiled.packed_metadata, None, None, None]
    places, described = [], dict(boxes)
    for index, value in enumerate(arguments):
        places.append(len(out))
        box = described.get(index)
        out += [None, *box.shape, *box.strides] if box else [value]
    made = Direct(launch, out)
    made.numbers = [(places[index], name) for index, name in numbers]
    made.tensors = [(places[index], name) for index, name in tensors]
    made.several = [(places[index], names) for index, names in several]
    made.boxes = [(places[index], _Map(box, each)) for (index, box), each in zip(boxes, fields, strict=True)]
    return made


def _nvidia() -> Any:
    """Triton's driver for NVIDIA, where its launchers have the known layout."""
    module = getattr(getattr(triton, "backends", None), "nvidia", None)
    driver = getattr(module, "driver", None)
    return driver if getattr(driver, "_BASE_ARGS_FORMAT", "") == _LAYOUT else None


def current(device: torch.device) -> contextlib.AbstractContextManager:
    """The device made current, where it is not."""
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        return torch.cuda.device(device)
    return _NOTHING


_NOTHING = contextlib.nullcontext()


def attach(device: torch.device) -> None:
    """Gives this thread the device's context, which Triton expects where another thread has loaded the kernel.

    Threads of autograd have none before they call CUDA's runtime.
    """
    if device.type == "cuda" and device.index not in _attached.__dict__:
        torch.cuda.mem_get_info(device)
        _attached.__dict__[device.index] = True


_attached = threading.local()
