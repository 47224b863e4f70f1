"""Launches without Triton's Python, which costs the host more than the launch.

Where the parameters of a kernel lie in memory follows from its signature; they are laid out once for each launch, and a
call fills in the stream, addresses and a few numbers, in C (`native.native`).  A tensor map is made once, and
moved to the address of the call.  What Triton hands a kernel is that of Triton 3.6; with others, and where there is
nothing to compile C with, Triton launches.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.machine.device import TensorDescriptor, triton
from sparsec.kernels.machine.gluon import GluonDescriptor
from sparsec.kernels.native.native import native

_LAYOUT = "iiiKKppOOOOOO"  # what the launchers of Triton 3.6 take before the arguments of a kernel
_MAP_BYTES = 128
_FORMS = {"i1": "b", "u1": "b", "fp32": "f", "f32": "f", "fp64": "d"}
_FORMS |= {f"i{8 * size}": form for size, form in zip((1, 2, 4, 8), "bhiq", strict=True)}
_FORMS |= {f"u{8 * size}": form for size, form in zip((1, 2, 4, 8), "BHIQ", strict=True)}
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


class Known(NamedTuple):
    """A launch of a compiled kernel, its parameters in memory but for those that a call gives."""

    function: int
    grid: tuple[int, int, int]
    threads: int
    shared: int  # bytes
    parameters: bytes
    places: tuple[int, ...]  # where each parameter begins
    given: tuple[tuple[int, str, str], ...]  # of what a call gives: where it goes, its name there, as what
    beside: bool = False  # it need not wait for the launch before it, but for what that one waits for


class _Parameters:
    """Parameters of a kernel as they are laid out."""

    def __init__(self) -> None:
        self.memory = bytearray()
        self.places: list[int] = []
        self.given: list[tuple[int, str, str]] = []

    def put(self, kind: Any, value: Any, name: Any) -> None:
        """A parameter of a type of Triton's, or several: with its value, or the name of what a call gives."""
        if isinstance(kind, tuple):
            names = name if isinstance(name, tuple) else [name] * len(kind)
            for each in zip(kind, value, names, strict=True):
                self.put(*each)
        elif kind != "constexpr":
            form = "Q" if kind[0] == "*" else _FORMS[kind]
            place = self._room(struct.calcsize(form))
            if name is None:
                struct.pack_into(form, self.memory, place, value or 0)
            else:
                self.given.append((place, name, form.lower()))

    def put_map(self, made: bytes, name: str) -> None:
        """A tensor map, which a call moves."""
        place = self._room(_MAP_BYTES)
        self.memory[place:] = made
        self.given.append((place, name, "m"))

    def _room(self, size: int) -> int:
        place = -(-len(self.memory) // size) * size
        self.memory.extend(bytes(place + size - len(self.memory)))
        self.places.append(place)
        return place


def known_launch(
    compiled: Any,
    grid: tuple[int, int, int],
    arguments: Sequence[Any],
    names: Mapping[int, str | tuple[str, ...]],
    boxes: Mapping[int, tuple[Box, Any]],
) -> Known | None:
    """The launch of a kernel on a grid.  `names` of what calls give, by its place among the `arguments`, and so boxes,
    each with what a kernel gets for its tensor now.

    None where Triton's launcher is not the known one, the kernel asks for scratch memory, or C can't be compiled.
    """
    nvidia, run, metadata = _nvidia(), compiled.run, compiled.metadata
    if nvidia is None or type(run) is not nvidia.CudaLauncher or native() is None:
        return None
    if run.global_scratch_size or run.profile_scratch_size or run.launch_cooperative_grid or run.launch_pdl:
        return None
    fields = list(getattr(metadata, "tensordesc_meta", None) or ())
    if metadata.num_ctas != 1 or len(fields) != len(boxes):
        return None
    laid = _Parameters()
    for index, (kind, value) in enumerate(zip(compiled.src.signature.values(), arguments, strict=True)):
        if index in boxes:
            box, descriptor = boxes[index]
            made, *numbers = nvidia.make_tensordesc_arg(descriptor, fields.pop(0))
            laid.put_map(native().bytes_of_map(made), box.name)  # type: ignore[union-attr]
            sizes = ["i32"] * len(box.shape) + ["i64"] * len(box.strides)
            laid.put(tuple(sizes), numbers, None)
        else:
            laid.put(kind, value, names.get(index))
    laid.put(("*i8", "*i8"), (None, None), None)  # scratch memory, which it does not ask for
    threads = 32 * metadata.num_warps
    given, places = tuple(laid.given), tuple(laid.places)
    return Known(compiled.function, grid, threads, metadata.shared, bytes(laid.memory), places, given)


def chain(launches: Iterable[Known], within: Mapping[str, tuple[str, int]]) -> Any:
    """The step that launches all of these.

    `within`: of names that stand for a part of another tensor of the call, the name of that and the byte it begins at.
    """
    names: dict[str, int] = {}
    lines = []
    for each in launches:
        given = []
        for place, name, kind in each.given:
            whole, offset = within.get(name, (name, 0))
            given.append((place, names.setdefault(whole, len(names)), offset, kind.encode()))
        lines.append((*each[:5], each.places, tuple(given), each.beside))
    return native().Chain((*names, STREAM), lines)  # type: ignore[union-attr]


def bound(*known: Any) -> Callable[..., Any]:
    """A chain as a function of the tensors of a call (`sparsec.kernels.native.calls`)."""
    return native().Known(*known)  # type: ignore[union-attr]


def hooked() -> bool:
    """Whether a hook of Triton wants to see launches."""
    runtime = triton.knobs.runtime
    return bool(runtime.launch_enter_hook.calls or runtime.launch_exit_hook.calls)


# The stream of a call, as a launcher takes it, on the device with an index.
current_stream: Any = getattr(torch._C, "_cuda_getCurrentRawStream", None)


def _nvidia() -> Any:
    """Triton's driver for NVIDIA, where its launchers have the known layout."""
    module = getattr(getattr(triton, "backends", None), "nvidia", None)
    driver = getattr(module, "driver", None)
    return driver if getattr(driver, "_BASE_ARGS_FORMAT", "") == _LAYOUT else None


def at_hand(device: torch.device) -> bool:
    """Whether launches of this thread go to the device as it is, or there is none to choose."""
    index = device.index
    return index is None or (index in _thread.attached and torch._C._cuda_getDevice() == index)


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
    if device.type == "cuda" and device.index not in _thread.attached:
        torch.cuda.mem_get_info(device)
        _thread.attached |= {device.index}


class _Thread(threading.local):
    """What is known of this thread."""

    attached: frozenset[int] = frozenset()  # devices whose context it has


_thread = _Thread()
