"""Warm calls without a GPU: CPU tensors taken for a GPU's, and launches that end in a function of the test."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from torch import Tensor

from sparsec.kernels.launches import direct, launch, scratch, whole_call
from sparsec.kernels.launches.direct import Known
from sparsec.kernels.launches.launch import Launch, Pass
from sparsec.kernels.native import native
from sparsec.kernels.operator import packed
from sparsec.kernels.operator.known_call import KnownCall
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.program.inputs import checked_inputs
from sparsec.kernels.sequences.positions import Positions
from sparsec.kernels.sequences.table import sequence_table
from sparsec.kernels.weights.sinks import checked_sinks
from sparsec.runtime import offline_compile


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        *((name, ctypes.c_uint) for name in ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared")),
        ("stream", ctypes.c_void_p),
    ]


class Launched(NamedTuple):
    """What the driver was asked for."""

    function: int
    grid: tuple[int, int, int]
    threads: int
    shared: int
    stream: int
    parameters: list[int]  # addresses


_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(Config), ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p
)


class KernelNode(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS."""

    _fields_ = [
        ("function", ctypes.c_void_p),
        *((name, ctypes.c_uint) for name in ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("parameters", "extra")),
        *((name, ctypes.c_void_p) for name in ("kernel", "context")),
    ]


_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED


class Graphs:
    """Stands for the driver's graphs of kernels: `asked` has its calls, of launches the parameters and the stream."""

    def __init__(self, most: int) -> None:
        """`most`: parameters of 8 bytes of each kernel."""
        self.most, self.asked, self.nodes, self.capturing, self.fails = most, [], [], False, ""
        self.mode = 0  # of the thread: what CUDA forbids while others capture
        self.behind: list[list[int]] = []  # of each node, in order: those that it waits for, from 1 on
        self.strict: list[str] = []  # what was asked for in a mode that would end their captures
        void, size, p = ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER
        self.functions = [
            self._function("capturing", self._capturing, void, p(ctypes.c_int)),
            self._function("make", self._make, p(void), ctypes.c_uint),
            self._function("add", self._add, p(void), void, p(void), size, p(KernelNode)),
            self._function("instantiate", self._instantiate, p(void), void, ctypes.c_ulonglong),
            self._function("set", self._set, void, void, p(KernelNode)),
            self._function("launch", self._launch, void, void),
            self._function("free graph", lambda graph: None, void),
            self._function("free executable", lambda made: None, void),
            self._function("exchange mode", self._exchange, p(ctypes.c_int)),
        ]

    def _function(self, name: str, run: Callable[..., object], *kinds: Any) -> Any:
        def called(*arguments: Any) -> int:
            if name not in ("capturing", "exchange mode"):
                self.asked.append(name)
                if self.mode != _RELAXED:
                    self.strict.append(name)
            if self.fails == name:
                return 1
            run(*arguments)
            return 0

        return ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(called)

    def _capturing(self, stream: int, found: Any) -> None:
        found[0] = int(self.capturing)

    def _exchange(self, mode: Any) -> None:
        self.mode, mode[0] = mode[0], self.mode

    def _read(self, node: Any) -> list[int]:
        return [ctypes.c_uint64.from_address(x).value for x in node.contents.parameters[: self.most]]

    def _make(self, graph: Any, flags: int) -> None:
        self.nodes.append([])
        graph[0] = len(self.nodes)

    def _add(self, made: Any, graph: int, before: Any, count: int, node: Any) -> None:
        nodes = self.nodes[graph - 1]
        self.behind.append([before[i] for i in range(count)])
        nodes.append(self._read(node))
        made[0] = len(nodes)

    def _instantiate(self, made: Any, graph: int, flags: int) -> None:
        made[0] = graph

    def _set(self, made: int, place: int, node: Any) -> None:
        self.nodes[made - 1][place - 1] = self._read(node)

    def _launch(self, made: int, stream: int) -> None:
        self.asked[-1] = [list(each) for each in self.nodes[made - 1]], stream or 0


_MOVE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_DESCRIBE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p))
_KEPT: list[tuple] = []  # functions of drivers: graphs of chains that a failed test holds are freed later


@contextmanager
def driver(
    launched: Callable[[Launched], int], most: int = 64, graphs: Graphs | None = None
) -> Iterator[SimpleNamespace]:
    """Launches in C call `launched`, which returns a code of CUDA's.  A tensor map is moved by writing the address.

    `most`: parameters of a launch that are looked at; `graphs`: the driver has these.  Yields what stands for the
    compiled module.
    """

    def launch_kernel(config, function, parameters, extra) -> int:
        own = config.contents
        grid = own.grid_x, own.grid_y, own.grid_z
        return launched(Launched(function, grid, own.block_x, own.shared, own.stream or 0, parameters[:most]))

    def move(at: int, address: int) -> int:
        ctypes.c_uint64.from_address(at).value = address or 0
        return 0

    def describe(code: int, said) -> int:
        said[0] = b"error %d" % code
        return 0

    module = native.compiled_text()
    functions = _LAUNCH(launch_kernel), _MOVE(move), _DESCRIBE(describe), *(graphs.functions if graphs else ())
    _KEPT.append(functions)
    module.use(*(ctypes.cast(each, ctypes.c_void_p).value for each in functions))
    made = SimpleNamespace(Chain=module.Chain, Known=module.Known, bytes_of_map=module.bytes_of_map)
    with patch.object(direct, "native", lambda: made):
        yield made


@contextmanager
def scratch_memory() -> Iterator[dict[int, int]]:
    """The CPU's memory for scratch room: yields how many bytes there are, by address, until they are given back."""
    room: dict[int, ctypes.Array] = {}
    sizes: dict[int, int] = {}

    def take(size: int, stream: int) -> int:
        made = ctypes.create_string_buffer(size)
        room[address := ctypes.addressof(made)] = made
        sizes[address] = size
        return address

    with ExitStack() as stack:
        for each in (launch, whole_call):
            stack.enter_context(patch.object(each, "take", take))
            stack.enter_context(patch.object(each, "give_back", room.pop))
        yield sizes


def call_of(attend: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None, **given: Any) -> Call:
    """The arguments of an operator as its passes on a GPU take them."""
    program, positions, inputs = attend._operator.program, *_told(given)
    table = None if positions.plain else packed._longer(sequence_table(program, positions, q, k))
    first = k.shape[2] - q.shape[2] if positions.q_offset is None else positions.q_offset
    call = Call(q, k, v, q.shape[3] ** -0.5, 0 if table is not None else first, table=table)
    return call._replace(inputs=checked_inputs(program.inputs, inputs, q, k), sinks=checked_sinks(sinks, q))


def remember(
    attend: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None = None, deterministic: bool = True, **given: Any
) -> KnownCall:
    """Has an operator remember a call, as it does on a GPU."""
    repeated, (positions, inputs) = attend._operator.repeated, _told(given)
    said = None, *positions, sinks, deterministic
    signature = repeated.signature(q, k, v, said, inputs)
    call = call_of(attend, q, k, v, sinks, **given)._replace(deterministic=deterministic)
    repeated.remember(signature, said, inputs, call)
    return repeated.known[signature]


def _told(given: dict[str, Any]) -> tuple[Positions, dict[str, Any]]:
    """What a call says about positions, and its inputs."""
    positions = Positions(**{name: x for name, x in given.items() if name in Positions._fields})
    return positions, {name: x for name, x in given.items() if name not in Positions._fields}


@contextmanager
def warm_calls(launched: Callable[[Launched], int] = lambda own: 0) -> Iterator[None]:
    """The CPU is taken for an H100, and every launch for one that is known.

    Its function has for an address the number of its parameters, all of 8 bytes, so that `launched` may read them.
    """

    def known(self: Launch) -> Known:
        """A launch that takes what the call gives, in any order."""
        given = [*self.tensors, *self.numbers, *((place, box.name) for place, box in self.boxes)]
        given += [(0, name) for _, names in self.several for name in names]
        lines = tuple((8 * place, name, "q") for place, (_, name) in enumerate(given))
        return Known(len(given), self.grid, 128, 0, bytes(8 * len(given)), tuple(range(0, 8 * len(given), 8)), lines)

    def one_by_one(self: Pass, env: dict) -> dict:
        for step in self.steps:
            if isinstance(step, Launch):
                step.known = known(step)
            else:
                step(env)
                if isinstance(step, scratch.Room):
                    env[step.name].zero_()
        self.direct = self._bound()
        return env

    with (
        driver(launched),
        offline_compile._properties(offline_compile.TARGETS["sm_90"]),
        patch.object(Pass, "one_by_one", one_by_one),
        patch.object(launch, "current_stream", lambda device: 0),
        patch.object(whole_call, "current_stream", lambda device: 0),
        patch.object(scratch, "_empty", scratch._zeros),  # which no launch fills
        scratch_memory(),
    ):
        yield
