"""Programs of the Hopper tier's backward kernel in Python, without a GPU: a thread for each of its warps that differ.

What says which tiles and steps there are, and what keeps warps in step, runs as it is written.  A product notes what it
reads of shared memory, and fails where that has changed before it is waited for.
"""

from __future__ import annotations

import random
import threading
import time
from types import FunctionType, SimpleNamespace
from typing import Any

from sparsec.kernels.hopper.backward import kernel as hopper_backward_kernel
from sparsec.kernels.hopper.backward import load as hopper_backward_load
from sparsec.kernels.hopper.backward import plan as hopper_backward_plan
from sparsec.kernels.hopper.backward import store as hopper_backward_store
from sparsec.kernels.hopper.resources import BACKWARD_TILES
from sparsec.kernels.machine import sync as hopper_sync
from support.hopper_on_cpu import Memory, _language, _number

PATIENCE = 20  # seconds that a thread waits for another
KEYS = 128


class Work:
    """What the programs of a launch share: lists, counters, and what they store."""

    def __init__(self, tiles: Any, steps: Any, sums: int, rows: int) -> None:
        self.changed = threading.Condition()
        self.tiles, self.steps = Memory(tiles), Memory(steps)
        self.tickets = 0
        self.visits = [0] * (2 * sums * rows)
        self.added: dict[int, list[Any]] = {}  # by place in SUMS, what was stored or added there
        self.queries: list[Any] = []  # of dq: where it was stored, and of what it is made
        self.keys: list[Any] = []
        self.errors: list[BaseException] = []

    def until(self, holds: Any, what: str) -> None:
        with self.changed:
            in_time = self.changed.wait_for(lambda: self.errors or holds(), PATIENCE)
            assert in_time and not self.errors, f"waits for ever: {what}"


class _Cell:
    """A place in shared memory, or a part of it; or a barrier."""

    def __init__(self, count: int = 1, parts: int = 1) -> None:
        self.content: list[Any] = [None] * parts
        self.count, self.arrived, self.due, self.complete = count, 0, 0, 0
        self.dtype = self.layout = None


class _View:
    """Of a cell: all of it, or one of its parts."""

    dtype = None

    def __init__(self, cell: _Cell, part: int | None = None) -> None:
        self.cell, self.part = cell, part

    def reshape(self, *_: Any) -> _View:
        return self

    permute = reshape

    def slice(self, first: int, size: int, axis: int = 0) -> _View:
        if len(self.cell.content) == 1 or axis == 1:
            return self
        return _View(self.cell, first // size)

    def store(self, content: Any) -> None:
        for part in range(len(self.cell.content)) if self.part is None else [self.part]:
            self.cell.content[part] = content

    def load(self, *_: Any) -> Any:
        found = self.read()
        return found if isinstance(found, int) else _Value((found,))

    def read(self) -> Any:
        if len(self.cell.content) == 1:
            return self.cell.content[0]
        return tuple(self.cell.content) if self.part is None else self.cell.content[self.part]


class _Cells:
    def __init__(self, number: int, count: int = 1, parts: int = 1) -> None:
        self.cells = [_Cell(count, parts) for _ in range(number)]

    def index(self, place: int) -> _View:
        assert 0 <= place < len(self.cells), place
        return _View(self.cells[place])


class _Value:
    """Numbers of a group: of what they are made, and what products that make them still read."""

    type = SimpleNamespace(layout=None)

    def __init__(self, made: Any = (), reads: Any = (), shape: Any = (64, 64)) -> None:
        self.made, self.reads, self.shape = made, reads, shape

    def __getitem__(self, _: Any) -> _Value:
        return self

    def _with(self, other: Any) -> _Value:
        return _Value((*self.made, *getattr(other, "made", ())), shape=self.shape)

    __mul__ = __add__ = __sub__ = _with

    def to(self, _: Any) -> _Value:
        return self


class Box:
    """A tensor in global memory."""

    dtype = layout = None

    def __init__(self, name: str) -> None:
        self.name, self.block_type = name, SimpleNamespace(nbytes=1, shape=None)


class Program:
    """One program of a launch."""

    def __init__(self, work: Work, size: int, kv_heads: int, group: int, **numbers: int) -> None:
        self.work, tiles = work, BACKWARD_TILES[size]
        self.gl = _language(0, 1)
        for name in ("NVMMADistributedLayout", "DotOperandLayout", "SliceLayout"):
            setattr(self.gl, name, lambda *_: None)
        self.gl.zeros = lambda *_: _Value()
        plan = hopper_backward_plan
        given = dict.fromkeys(plan.BackwardWork._fields, 0) | numbers
        given |= {"TILES": work.tiles, "STEPS": work.steps, "VISITS": 0, "TICKETS": 0, "DK_PARTS": 0}
        given |= {"heads": kv_heads * group, "kv_heads": kv_heads, "scale": 1.0}
        by_rows = tiles.queries == 128
        sizes = plan.BackwardSizes(
            group, tiles.queries, 2, 2 * tiles.queries, KEYS, 64, 64 * by_rows, 0 if by_rows else size // 2, 1, size,
            size, tiles.stages, False, False, True,
        )  # fmt: skip
        self.plan = plan.BackwardPlan(plan.BackwardWork(**given), None, sizes)
        stages = tiles.stages
        self.shared = plan.BackwardShared(
            k=_Cells(1), v=_Cells(1), q=_Cells(stages), do=_Cells(stages), stats=_Cells(stages),
            ds=_Cells(2, parts=2), slots=_Cells(2), kv_full=_Cells(1).index(0), kv_empty=_Cells(1, 2).index(0),
            full=_Cells(stages), slot_empty=_Cells(2), sum_full=_Cells(2),
            ticket=_Cells(2), ticket_full=_Cells(2), ticket_empty=_Cells(2, 4),
        )  # fmt: skip
        self.arrivals: dict[int, int] = {}
        self.instead = {
            "fence_async_shared": _nothing, "store_wait": _nothing, "stores_complete": _nothing,
            "warpgroup_mma_init": lambda x: x, "seen_as": lambda slot, *_: slot, "_as_runs": lambda x: x,
            "_from_runs": lambda x, like: x, "step_weights": lambda s, *_: (s, s),
            "gradients_of_scores": lambda sloped, dp, delta, *_: sloped * (dp - delta),
        }  # fmt: skip

    def threads(self) -> list[threading.Thread]:
        q, k, v, do, stats, sums, dq, dk, dv = map(Box, ("Q", "K", "V", "DO", "STATS", "SUMS", "DQ", "DK", "DV"))
        shared, plan, group = self.shared, self.plan, hopper_backward_kernel._hopper_backward_group
        store = hopper_backward_store.hopper_backward_store
        calls = [(group, (each, dq, dk, shared, plan)) for each in range(2)]
        calls += [(hopper_backward_load.hopper_backward_load, (q, do, k, v, stats, shared, plan))]
        calls += [(store, (each, sums, dq, dk, dv, shared, plan)) for each in range(2)]
        return [threading.Thread(target=self._guarded, args=each, daemon=True) for each in calls]

    def _guarded(self, function: Any, arguments: tuple[Any, ...]) -> None:
        try:
            self.in_python(function)(*arguments)
        except BaseException as error:  # the others stop waiting
            with self.work.changed:
                self.work.errors.append(error)
                self.work.changed.notify_all()

    def in_python(self, function: Any) -> Any:
        own = getattr(function, "fn", function)
        return FunctionType(own.__code__, _Names(self, own.__globals__), own.__name__, own.__defaults__)

    def replaced(self, name: str, value: Any) -> Any:
        own = self.instead.get(name) or getattr(self, f"_{name}", None)
        if own is not None:
            return own
        if name in ("gl", "tl"):
            return self.gl
        if name == "mbarrier":
            return SimpleNamespace(expect=self._expect, wait=self._wait, arrive=self._arrive)
        if hasattr(value, "fn") and not isinstance(value, type):
            return self.in_python(value)
        return _number(value)

    # ------------------------------------------------------------ barriers, counters and copies

    def _expect(self, barrier: _View, nbytes: int) -> None:
        barrier.cell.due += nbytes

    def _arrive(self, barrier: _View, count: int) -> None:
        with self.work.changed:
            cell = barrier.cell
            cell.arrived += count
            assert cell.arrived <= cell.count
            if cell.arrived == cell.count:
                cell.arrived, cell.complete = 0, cell.complete + 1
            self.work.changed.notify_all()

    def _wait(self, barrier: _View, phase: int, pred: bool = True) -> None:
        if pred:
            self.work.until(lambda: barrier.cell.complete & 1 != phase, "an mbarrier")

    def _named_barrier(self, number: int, what: Any) -> None:
        what = _number(what)
        needed = 2 if what in map(_number, (hopper_sync.ARRIVE_ALL, hopper_sync.MEET_ALL)) else 1
        with self.work.changed:
            if not what.startswith("bar.sync"):
                self.arrivals[number] = self.arrivals.get(number, 0) + 1
                assert self.arrivals[number] <= needed, f"arrives twice at {number}"
                self.work.changed.notify_all()
                return
        self.work.until(lambda: self.arrivals.get(number) == needed, f"barrier {number}")
        self.arrivals[number] = 0

    def _next_number(self, _: Any) -> int:
        with self.work.changed:
            self.work.tickets += 1
            return self.work.tickets - 1

    def _await_count(self, place: int, least: int) -> None:
        self.work.until(lambda: self.work.visits[place] >= least, "its turn")

    def _count_up(self, place: int) -> None:
        with self.work.changed:
            self.work.visits[place] += 1
            self.work.changed.notify_all()

    def _load_box(self, box: Box, place: list[int], barrier: _View, to: _View) -> None:
        _pause()
        with self.work.changed:
            found = (box.name, *place)
            if box.name == "SUMS":
                found = tuple(self.work.added.get(place[0], ()))
            to.store(found)
            barrier.cell.due -= 1
            if not barrier.cell.due:
                self._arrive(barrier, 1)

    def _store_box(self, box: Box, place: list[int], slot: _View) -> None:
        content = slot.read()
        if box.name == "SUMS":
            assert place[0] not in self.work.added, "stored twice"
            self.work.added[place[0]] = [content.made]
        else:
            with self.work.changed:
                (self.work.queries if box.name == "DQ" else self.work.keys).append((box.name, *place, content.made))
        _pause()

    def _add_box(self, box: Box, place: list[int], slot: _View) -> None:
        content = slot.read()
        self.work.added[place[0]].append(content.made)
        _pause()

    def _store_part_of_keys(self, x: _Value, _: Any, tile: Any, plan: Any, group: int) -> None:
        with self.work.changed:
            self.work.keys.append(("part", tile.batch, tile.kv_head, tile.number, group, x.made))

    # ------------------------------------------------------------ products

    def _warpgroup_mma(self, a: Any, b: Any, acc: _Value, use_acc: bool = True, is_async: bool = False) -> _Value:
        operands = [(x, x.read()) for x in (a, b) if isinstance(x, _View)]
        own = tuple(x.made if isinstance(x, _Value) else x.read() for x in (a, b))
        reads = (*(acc.reads if use_acc else ()), *operands)
        _pause()
        return _Value((*(acc.made if use_acc else ()), own), reads, acc.shape)

    def _warpgroup_mma_wait(self, count: int, deps: list[_Value]) -> Any:
        _pause()
        for value in deps:
            for view, content in value.reads:
                assert view.read() == content, "overwritten while a product reads it"
            value.reads = ()
        return deps[0] if len(deps) == 1 else tuple(deps)


class _Names(dict):
    def __init__(self, program: Program, names: dict[str, Any]) -> None:
        super().__init__(__builtins__=names["__builtins__"])
        self.program, self.names = program, names

    def __missing__(self, name: str) -> Any:
        self[name] = self.program.replaced(name, self.names[name])
        return self[name]


def _nothing(*_: Any) -> None: ...


def _pause() -> None:
    if random.random() < 0.3:
        time.sleep(random.random() * 1e-3)
