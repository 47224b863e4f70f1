"""Launches of Triton kernels, prepared once for each set of shapes, strides, dtype and device, and repeated.

A pass is a list of steps over named tensors.  Preparing one decides tile sizes, grids, descriptors and scalars; a call
then only allocates, fills in addresses, and launches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from sparsec.kernels.launches.compiling import compile_side_by_side, launched
from sparsec.kernels.launches.direct import (
    STREAM,
    Box,
    Known,
    at_hand,
    attach,
    chain,
    current,
    current_stream,
    hooked,
    known_launch,
)
from sparsec.kernels.launches.scratch import SCRATCH, Room, Scratch, ScratchPart, give_back, lay_scratch, take
from sparsec.kernels.program.program import Program

Environment = dict[str, Any]  # tensors and numbers of one call, by name
_T = TypeVar("_T")
_MOST_PASSES = 128  # of a program that are kept prepared


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


class Tables(tuple[Tensor, ...]):
    """Tensors that are the same at every call, as one argument."""


class Slots(tuple[str, ...]):
    """Tensors of the call, by their names there, as one argument."""


class Pass:
    """The steps of a forward or a backward pass, in order."""

    def __init__(self, program: Program, **inputs: Meta) -> None:
        self.program = program
        self.metas = dict(inputs)
        self.device = next(iter(inputs.values())).device
        self.steps: list[Callable[[Environment], object]] = []
        self.scratch_room: dict[str, int] = {}  # bytes of what kernels alone read and write, by name
        self.parts: dict[str, int] = {}  # where parts begin that have a name
        self.rows_of_query = 1  # heads that stand side by side in Q
        self.compiled = False
        self.room = 0  # bytes of scratch room in all
        self.direct: list[Callable[[Environment], object]] | None = None

    @property
    def packed(self) -> bool:
        """Whether it is about several sequences, which a table SEQUENCES names."""
        return "SEQUENCES" in self.metas

    def empty(
        self, name: str, shape: tuple[int, ...], dtype: torch.dtype, strides: tuple[int, ...] | None = None
    ) -> Meta:
        """Room for a tensor, contiguous without `strides`."""
        return self._room(name, shape, dtype, strides)

    def zeros(
        self, name: str, shape: tuple[int, ...], dtype: torch.dtype, strides: tuple[int, ...] | None = None
    ) -> Meta:
        """As `empty`, filled with zeros before the launches that follow."""
        return self._room(name, shape, dtype, strides, zero=True)

    def scratch(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Room for what kernels of this pass leave for others of it, contiguous.

        All of it is one piece of memory where launches are known: to ask for several takes the host longer.  Kernels
        that follow one another may leave things under one name.
        """
        made = self.metas[name] = Meta.contiguous(shape, dtype, self.device)
        self.steps.append(Scratch(name, shape, made.strides, dtype, self.device))
        self.scratch_room[name] = max(self.scratch_room.get(name, 0), math.prod(shape) * dtype.itemsize)

    def part(self, name: str, whole: str, index: int) -> None:
        """Gives a name to a part of scratch room, along its first dimension."""
        meta = self.metas[whole]
        self.metas[name] = Meta.contiguous(meta.shape[1:], meta.dtype, self.device)
        self.steps.append(ScratchPart(name, whole, index, index * meta.strides[0] * meta.dtype.itemsize))

    def _room(
        self, name: str, shape: tuple[int, ...], dtype: torch.dtype, strides: tuple[int, ...] | None, zero: bool = False
    ) -> Meta:
        made = Meta.contiguous(shape, dtype, self.device)
        made = self.metas[name] = made if strides is None else made._replace(strides=strides)
        self.steps.append(Room(name, shape, made.strides, dtype, self.device, zero))
        return made

    def step(self, run: Callable[[Environment], object]) -> None:
        self.steps.append(run)

    def launch(
        self, kernel: Any, grid: tuple[int, int, int], values: Environment, options: dict[str, Any] | None = None
    ) -> None:
        """kernel[grid] with arguments bound by name from `values`, None where there is none.

        A Slot or a Box stands for a tensor or a number of the call.
        """
        self.steps.append(Launch(self, kernel, grid, values, options or {}))

    def begin(self, part: str) -> None:
        """From here on, steps belong to a part of that name."""
        self.parts[part] = len(self.steps)

    def only(self, part: str, env: Environment) -> None:
        """Runs the steps of one part, after all have been run `one_by_one`."""
        later = [begin for begin in self.parts.values() if begin > self.parts[part]]
        for step in self.steps[self.parts[part] : min(later, default=len(self.steps))]:
            step(env)

    def __call__(self, env: Environment) -> Environment:
        if self.direct is None or hooked():
            return self.one_by_one(env)
        if not at_hand(self.device):
            with current(self.device):
                attach(self.device)
                return self(env)
        stream = env[STREAM] = current_stream(self.device.index)
        address = env[SCRATCH] = take(self.room, stream) if self.room else 0
        try:
            for step in self.direct:
                step(env)
        finally:
            if address:
                give_back(address)
        return env

    def one_by_one(self, env: Environment) -> Environment:
        """Runs the steps, each launch by Triton: as long as one is not known, or where a hook wants to see them all."""
        if not self.compiled:
            self.compiled = True
            launches = [step for step in self.steps if isinstance(step, Launch)]
            compile_side_by_side(launches, self.program.compiled, self.device)
        for step in self.steps:
            step(env)
        self.direct = self.direct or self._bound()
        return env

    def _bound(self) -> list[Callable[[Environment], object]] | None:
        """The steps with launches in chains; None as long as one of these is not known, or torch gives no memory."""
        known = [step.known for step in self.steps if isinstance(step, Launch)]
        if not known or None in known or (self.scratch_room and take is None):
            return None
        self.room, within = lay_scratch(self.scratch_room, self.steps)
        steps: list[Callable[[Environment], object]] = []
        launches: list[Known] = []
        made: set[str] = set()
        for step in self.steps:
            if isinstance(step, Launch):
                launches.append(step.known._replace(beside=step.beside))  # type: ignore[union-attr]
            elif not isinstance(step, Scratch | ScratchPart):
                early = isinstance(step, Room) and step.name not in made  # room may be made before launches
                if launches and not early:
                    steps.append(chain(launches, within))
                    launches = []
                steps.append(step.quick if isinstance(step, Room) else step)
                made.add(getattr(step, "name", ""))
        return [*steps, chain(launches, within)] if launches else steps


def remember(program: Any, key: tuple, made: _T) -> _T:
    """Keeps what is prepared, a pass or several, under its key; the oldest gives way."""
    while len(program.passes) >= _MOST_PASSES:
        program.passes.pop(next(iter(program.passes)), None)
    program.passes[key] = made
    return made


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
        self.tables: list[tuple[int, Tables]] = []
        self.several: list[tuple[int, Slots]] = []
        self.dtypes: dict[int, torch.dtype] = {}  # of all tensors, by their places
        described = []
        for index, name in enumerate(kernel.arg_names):
            value = values.get(name)
            if isinstance(value, Slot):
                own = owner.metas.get(value.name)
                (self.numbers if own is None else self.tensors).append((index, value.name))
                if own is not None:
                    self.dtypes[index] = own.dtype
                described.append("number" if own is None else own.dtype)
            elif isinstance(value, Box):
                self.boxes.append((index, value))
                self.dtypes[index] = owner.metas[value.name].dtype
                described.append((self.dtypes[index], tuple(value.block)))
            elif isinstance(value, Tensor):
                self.kept.append((index, value))
                self.dtypes[index] = value.dtype
                described.append(value.dtype)
            elif isinstance(value, Slots):
                self.several.append((index, value))
                own_dtypes = tuple(owner.metas[each].dtype for each in value)
                described.append(own_dtypes)
                value = tuple(torch.empty(0, dtype=dtype) for dtype in own_dtypes)  # to compile for
            elif isinstance(value, Tables):
                self.tables.append((index, value))
                described.append(tuple(each.dtype for each in value))
                value = tuple(value)
            else:
                # Other numbers differ from call to call and decide nothing: kernels are not specialised on them.
                described.append(value if name.isupper() or value is None else "number")
            self.arguments.append(value)
        self.compiled = owner.program.compiled
        self.name = values.get("NAME", "")
        self.key = self.name, kernel, self.device, tuple(described), tuple(options.items())
        self.known: Known | None = None
        self.beside = False  # whether it may run beside the launch before it, once what that one waits for is done
        self.prepared = False

    def __call__(self, env: Environment) -> None:
        with current(self.device):
            attach(self.device)
            compiled = self.compiled.get(self.key)
            arguments = self.arguments.copy()
            for index, name in self.numbers:
                arguments[index] = env[name]
            for index, name in self.tensors:  # Triton looks at tensors where it compiles; later an address will do
                arguments[index] = env[name] if compiled is None else env[name].data_ptr()
            for index, slots in self.several:
                tensors = (env[each] for each in slots)
                arguments[index] = tuple(tensors if compiled is None else (x.data_ptr() for x in tensors))
            for index, box in self.boxes:
                arguments[index] = box.descriptor(env[box.name])
            if compiled is not None:
                compiled[self.grid](*arguments)
            elif compiled := launched(self.kernel, self.grid, *arguments, **self.options):
                self.compiled[self.key] = compiled  # the interpreter compiles nothing
            if compiled and not self.prepared:
                self.prepared = True
                self.known = self._known(compiled, arguments)

    def _known(self, compiled: Any, arguments: list[Any]) -> Known | None:
        """The launch, from the arguments of a call."""
        for index, tensor in self.kept:
            arguments[index] = tensor.data_ptr()
        for index, tables in self.tables:
            arguments[index] = tuple(table.data_ptr() for table in tables)
        names: dict[int, str | tuple[str, ...]] = dict((*self.numbers, *self.tensors, *self.several))
        boxes = {index: (box, arguments[index]) for index, box in self.boxes}
        return known_launch(compiled, self.grid, arguments, names, boxes)

    def compile(self) -> Any:
        """The kernel as the launch will find it, or a promise of it inside of triton.AsyncCompileMode."""
        arguments = self.arguments.copy()
        for index, _ in self.numbers:
            arguments[index] = 1.0
        for index, dtype in self.dtypes.items():
            arguments[index] = dtype
        for index, box in self.boxes:
            arguments[index] = box.descriptor(torch.empty(0, dtype=self.dtypes[index]))
        return self.kernel.warmup(*arguments, grid=self.grid, **self.options)
