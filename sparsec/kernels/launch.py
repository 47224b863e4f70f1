"""Launches of Triton kernels, prepared once for each set of shapes, strides, dtype and device, and repeated.

A pass is a list of steps over named tensors.  Preparing one decides tile sizes, grids, descriptors and scalars; a call
then only allocates, fills in addresses, and launches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.device import TensorDescriptor
from sparsec.kernels.program import Program

Environment = dict[str, Any]  # tensors and numbers of one call, by name


class Meta(NamedTuple):
    """A tensor without its data."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, x: Tensor) -> Meta:
        return cls(tuple(x.shape), x.stride(), x.dtype, x.device)

    @classmethod
    def contiguous(cls, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Meta:
        strides = [1]
        for size in reversed(shape[1:]):
            strides.append(strides[-1] * max(size, 1))
        return cls(shape, tuple(reversed(strides)), dtype, device)


class Slot(NamedTuple):
    """A tensor or a number of the call, by its name there."""

    name: str


class Box(NamedTuple):
    """A tensor of the call that the tensor memory accelerator loads in blocks."""

    name: str
    shape: list[int]
    strides: list[int]
    block: list[int]


class Pass:
    """The steps of a forward or a backward pass, in order."""

    def __init__(self, program: Program, **inputs: Meta) -> None:
        self.program = program
        self.metas = dict(inputs)
        self.device = next(iter(inputs.values())).device
        self.steps: list[Callable[[Environment], object]] = []
        self.parts: dict[str, int] = {}  # where parts begin that have a name

    def empty(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Meta:
        """Room for a tensor, contiguous."""
        device = self.device
        self.steps.append(lambda env: env.__setitem__(name, torch.empty(shape, dtype=dtype, device=device)))
        self.metas[name] = Meta.contiguous(shape, dtype, device)
        return self.metas[name]

    def zeros(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Meta:
        made = self.empty(name, shape, dtype)
        self.steps.append(lambda env: env[name].zero_())
        return made

    def step(self, run: Callable[[Environment], object]) -> None:
        self.steps.append(run)

    def launch(
        self, kernel: Any, grid: tuple[int, int, int], values: Environment, options: dict[str, Any] | None = None
    ) -> None:
        """kernel[grid] with arguments bound by name: from `values`, where a Slot or a Box stands for a tensor of the
        call, and otherwise the tensor or the number of the call that has the argument's name.
        """
        self.steps.append(Launch(self, kernel, grid, values, options or {}))

    def begin(self, part: str) -> None:
        """From here on, steps belong to a part of that name."""
        self.parts[part] = len(self.steps)

    def only(self, part: str, env: Environment) -> None:
        """Runs the steps of one part."""
        later = [begin for begin in self.parts.values() if begin > self.parts[part]]
        for step in self.steps[self.parts[part] : min(later, default=len(self.steps))]:
            step(env)

    def __call__(self, env: Environment) -> Environment:
        for step in self.steps:
            step(env)
        return env


class Launch:
    """One launch of a kernel."""

    def __init__(
        self, owner: Pass, kernel: Any, grid: tuple[int, int, int], values: Environment, options: dict[str, Any]
    ) -> None:
        self.kernel, self.grid, self.options, self.device = kernel, grid, options, owner.device
        self.arguments: list[Any] = []
        self.tensors: list[tuple[int, str]] = []  # where they stand in `arguments`, and their names
        self.numbers: list[tuple[int, str]] = []
        self.boxes: list[tuple[int, Box]] = []
        self.kept: list[tuple[int, Tensor]] = []  # tensors that are the same at every call
        self.made: list[dict | None] = []  # fields of descriptors, without their tensors
        described = []
        for index, name in enumerate(kernel.arg_names):
            value = values.get(name, Slot(name))
            if isinstance(value, Slot):
                own = owner.metas.get(value.name)
                (self.numbers if own is None else self.tensors).append((index, value.name))
                described.append("number" if own is None else own.dtype)
            elif isinstance(value, Box):
                self.boxes.append((index, value))
                described.append((owner.metas[value.name].dtype, tuple(value.block)))
            elif isinstance(value, Tensor):
                self.kept.append((index, value))
                described.append(value.dtype)
            else:
                # Other numbers differ from call to call and decide nothing: kernels are not specialised on them.
                described.append(value if name.isupper() else "number")
            self.arguments.append(value)
        self.compiled = owner.program.compiled
        self.key = kernel, self.device, tuple(described), tuple(options.items())
        self.made = [None] * len(self.boxes)

    def __call__(self, env: Environment) -> None:
        arguments = self.arguments.copy()
        for index, name in self.numbers:
            arguments[index] = env[name]
        compiled = self.compiled.get(self.key)
        if compiled is None:
            self._first(arguments, env)
            return
        for place, (index, box) in enumerate(self.boxes):
            arguments[index] = self._descriptor(place, box, env[box.name])
        for index, name in self.tensors:
            arguments[index] = env[name].data_ptr()
        for index, tensor in self.kept:
            arguments[index] = tensor.data_ptr()
        with self._on_device():
            compiled[self.grid](*arguments)

    def _first(self, arguments: list[Any], env: Environment) -> None:
        """The first launch compiles the kernel; the interpreter runs it and compiles nothing."""
        for place, (index, box) in enumerate(self.boxes):
            arguments[index] = self._descriptor(place, box, env[box.name])
        for index, name in self.tensors:
            arguments[index] = env[name]
        with self._on_device():
            if compiled := self.kernel[self.grid](*arguments, **self.options):
                self.compiled[self.key] = compiled

    def _descriptor(self, place: int, box: Box, x: Tensor) -> Any:
        """TensorDescriptor(x, ...), whose checks cost microseconds and are made once."""
        fields = self.made[place]
        if fields is None:
            made = TensorDescriptor(x, box.shape, box.strides, box.block)
            self.made[place] = {**vars(made), "base": None}
            return made
        made = object.__new__(TensorDescriptor)
        made.__dict__.update(fields)
        made.base = x
        return made

    def _on_device(self) -> contextlib.AbstractContextManager:
        device = self.device
        if device.type == "cuda" and device.index != torch.cuda.current_device():
            return torch.cuda.device(device)
        return contextlib.nullcontext()
