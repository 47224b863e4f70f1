"""Programs of the Hopper tier's forward kernel in Python, without a GPU: a thread for each group of warps.

What says which tiles and steps there are, and what keeps groups in step, runs as it is written.  Products, softmax and
stores only note what they are about, and nothing is loaded but where from.
"""

from __future__ import annotations

import threading
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

from sparsec.kernels.hopper.forward import block_kernel as hopper_block_kernel
from sparsec.kernels.hopper.forward import block_load as hopper_block_load
from sparsec.kernels.hopper.forward import block_plan as hopper_block_plan
from sparsec.kernels.hopper.forward import kernel as hopper_forward_kernel
from sparsec.kernels.hopper.forward import load as hopper_load
from sparsec.kernels.hopper.forward import plan as hopper_plan
from sparsec.kernels.hopper.forward import tiles as hopper_tiles
from sparsec.kernels.machine import sync as hopper_sync
from sparsec.kernels.tiles.dropout import Dropping
from sparsec.kernels.tiles.regions import Lists, Rules

KEYS, ROWS = 128, 64  # ROWS: of a tile that a group has
STAGES, SLOTS = 2, 4
PATIENCE = 20  # seconds that a group of warps waits for another


class Stored(NamedTuple):
    """What a group stores of a tile."""

    group: int
    batch: int
    head: int
    row: int  # of Q, the first of the group
    steps: list[tuple[Any, Any]]  # where the keys of a product of queries come from, and the values that it meets
    queries: list[Any]  # where those of each step come from
    part: int = -1  # of a tile that programs split, which share


class Memory:
    """A pointer to integers, and what shared memory holds of them."""

    def __init__(self, numbers: Any, at: int = 0) -> None:
        self.numbers, self.at = numbers, at

    def __add__(self, more: int) -> Memory:
        return Memory(self.numbers, self.at + more)


class Cell:
    """A place in shared memory, or a barrier."""

    content: Any = 1 << 20  # as it is before anything is written
    bytes_due = 0
    complete = 0  # phases

    def store(self, content: Any) -> None:
        self.content = content

    def load(self, layout: Any) -> Any:
        return self.content


class Cells:
    """Several of them; unlike on a GPU, there is nothing before the first and behind the last."""

    def __init__(self, count: int) -> None:
        self.cells = [Cell() for _ in range(count)]

    def index(self, number: int) -> Cell:
        assert 0 <= number < len(self.cells), f"place {number} of {len(self.cells)}"
        return self.cells[number]


class Tensor:
    """Scores, weights or sums of a group: those steps that they are about."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)

    def __getitem__(self, place: Any) -> Tensor:
        return self

    def __mul__(self, other: Any) -> Tensor:
        return self

    def to(self, dtype: Any) -> Tensor:
        return self


class Box(NamedTuple):
    """A tensor in global memory."""

    name: str
    block_type: Any = SimpleNamespace(nbytes=1)


class Program:
    """One program of a launch of `programs`."""

    def __init__(self, number: int, programs: int, work: hopper_plan.HopperWork, keys: Any, **sizes: Any) -> None:
        """`keys`: the tiles that a tile visits, as generated modules answer it, but in Python."""
        self.changed = threading.Condition()
        self.arrivals: dict[int, list[tuple[str, int]]] = {}
        self.stored: list[Stored] = []
        self.errors: list[BaseException] = []
        self.gl, self.groups = _language(number, programs), sizes.get("GROUPS", 2)
        slots = sizes.get("SLOTS", 2)  # of queries
        words = _number(hopper_tiles.SEQUENCE_WORDS if work.TILES is not None else hopper_tiles.TILE_WORDS)
        no_layouts = None, None, None
        self.plan = hopper_plan.HopperPlan(
            work,
            Rules(_nothing, None, keys, None),
            Lists(),
            hopper_plan.HopperSizes(
                sizes["GROUP"], sizes.get("SPLIT", False), work.TILES is not None, words,
                sizes.get("LONGEST_FIRST", False), ROWS * self.groups, KEYS, 64, 64, ROWS, self.groups, STAGES,
                slots, *no_layouts,
            ),
            Dropping(),
            1.0,
        )  # fmt: skip
        counts = slots * self.groups, STAGES, STAGES, 0, 0, STAGES, SLOTS * words, slots, STAGES
        self.shared = hopper_plan.HopperShared(*map(Cells, counts))
        self.shared.q.dtype = None  # type: ignore[attr-defined]
        self.loads: list[tuple[Any, str]] = [(hopper_load.hopper_load, "QKV")]
        self.attend = hopper_forward_kernel._hopper_attend
        self.instead: dict[str, Any] = {}

    def run(self) -> list[Stored]:
        """What it stores.  AssertionError where a group waits for ever, or reads what is not there."""
        boxes = [*map(Box, "QKV")]
        arguments = [
            (load, (*(box for box in boxes if box.name in names), self.shared, self.plan)) for load, names in self.loads
        ]
        arguments += [(self.attend, (i, None, self.shared, self.plan)) for i in range(self.groups)]
        threads = [threading.Thread(target=self._guarded, args=each, daemon=True) for each in arguments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * PATIENCE)
        if self.errors:
            raise self.errors[0]
        return self.stored

    def _guarded(self, function: Any, arguments: tuple[Any, ...]) -> None:
        try:
            self.in_python(function)(*arguments)
        except BaseException as error:  # told by `run`; the others stop waiting
            with self.changed:
                self.errors.append(error)
                self.changed.notify_all()

    def in_python(self, function: Any) -> Any:
        """A device function with what it calls in Python, or in this program's stead."""
        own = getattr(function, "fn", function)
        return FunctionType(own.__code__, _Names(self, own.__globals__), own.__name__, own.__defaults__)

    def replaced(self, name: str, value: Any) -> Any:
        """What a name of a device function stands for here."""
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

    # ------------------------------------------------------------ barriers and copies

    def _until(self, holds: Any, what: str) -> None:
        with self.changed:
            in_time = self.changed.wait_for(lambda: self.errors or holds(), PATIENCE)
            assert in_time and not self.errors, f"waits for ever: {what}"

    def _expect(self, barrier: Cell, nbytes: int) -> None:
        assert not barrier.bytes_due, "a barrier is expected to complete twice"
        barrier.bytes_due = nbytes

    def _arrive(self, barrier: Cell, count: int) -> None:
        with self.changed:
            barrier.complete += 1
            self.changed.notify_all()

    def _wait(self, barrier: Cell, phase: int, pred: bool = True) -> None:
        if pred:
            self._until(lambda: barrier.complete & 1 != phase, "a copy")

    def _load_box(self, box: Box, place: list[int], barrier: Cell, to: Cell) -> None:
        with self.changed:
            to.content = (box.name, *place)
            barrier.bytes_due -= box.block_type.nbytes
            barrier.complete += barrier.bytes_due == 0
            self.changed.notify_all()

    def _named_barrier(self, number: int, what: Any) -> None:
        """All groups arrive, and the loading warp waits for them."""
        what = _number(what)
        meets = what.startswith("bar.sync")
        groups = 1 if what in (_number(hopper_sync.MEET_STORER), _number(hopper_sync.ARRIVE_STORER)) else self.groups
        with self.changed:
            here = self.arrivals.setdefault(number, [])
            name = threading.current_thread().name
            assert name not in dict(here), "arrives twice before the others do"
            if not meets:
                here.append((name, groups))
                self.changed.notify_all()
        if meets:
            self._until(lambda: len(here) >= groups, f"barrier {number}")
            assert [count for _, count in here] == [groups] * groups, "arrivals do not fit"
            here.clear()

    # ------------------------------------------------------------ what groups do

    def _no_words(self, plan: Any) -> None:
        pass

    def _no_sums(self, plan: Any) -> tuple[Any, Any]:
        return Tensor(), Tensor()

    def _stored_matrix(self, shared: Cells, place: int) -> Cell:
        return shared.index(place)

    def _scores_of(self, shared: Any, slot: int, stage: int, plan: Any) -> tuple[Any, ...]:
        cells = shared.q.index(slot), shared.k.index(stage)
        return cells, [cell.content for cell in cells]

    def _next_weights(self, s: Any, m_i: Any, l_i: Any, said: int, turn: int, *_: Any) -> tuple[Any, ...]:
        cells, contents = s
        assert [cell.content for cell in cells] == contents, "overwritten while a product reads it"
        return Tensor(tuple(contents)), Tensor(), m_i, l_i

    def _warpgroup_mma(self, p: Tensor, values: Cell, acc: Tensor, use_acc: bool, is_async: bool) -> Tensor:
        found = Tensor(*(acc.steps if use_acc else ()), *((step, values.content) for step in p.steps))
        found.reads = values, values.content  # type: ignore[attr-defined]
        return found

    def _warpgroup_mma_wait(self, count: int, deps: list[Any]) -> Any:
        if isinstance(deps[0], tuple):
            return deps[0]
        values, content = deps[0].reads
        assert values.content == content, "overwritten while a product reads it"
        return deps[0]

    def _next_number(self, counter: Memory) -> int:
        counter.numbers[counter.at] += 1
        return counter.numbers[counter.at] - 1

    def _rescaled(self, acc: Tensor, alpha: Tensor) -> Tensor:
        return acc

    def _clear_values(self, *_: Any) -> None:
        pass

    def _hopper_store_sums(self, *_: Any) -> None:
        pass

    def _store_wait(self, count: int) -> None:
        pass

    def _hopper_store(self, acc: Tensor, turn: int, results: Any, shared: Any, plan: Any, group: int) -> None:
        self._hopper_store_from(acc, turn, Cell(), results, shared, plan, group)

    def _hopper_store_from(
        self, acc: Tensor, turn: int, own: Cell, results: Any, shared: Any, plan: Any, group: int
    ) -> None:
        own.content = "results"
        row = self.in_python(hopper_tiles.row_of_group)(shared, turn, plan, group)
        word = self.in_python(hopper_tiles.tile_word)
        batch = word(shared, turn, plan, _number(hopper_tiles.TILE_BATCH))
        head = word(shared, turn, plan, _number(hopper_tiles.TILE_HEAD))
        steps = [(keys, values) for (_, keys), values in acc.steps]
        part = word(shared, turn, plan, _number(hopper_tiles.TILE_PART)) if plan.sizes.SPLIT else -1
        with self.changed:
            self.stored.append(Stored(group, batch, head, row, steps, [queries for (queries, _), _ in acc.steps], part))


class BlockProgram(Program):
    """One program of a launch of the kernel whose steps come from a list."""

    def __init__(
        self, number: int, programs: int, work: hopper_plan.HopperWork, steps: Any, share_every: int, **sizes: Any
    ) -> None:
        """`steps`: of a tile of queries, as `sparsec.kernels.hopper.block_steps` lists them."""
        super().__init__(number, programs, work, None, **sizes)
        lists = (Memory(x.flatten().tolist()) for x in steps)
        own = self.plan.sizes._replace(TWIN=sizes.get("TWIN", False))
        self.plan = self.plan._replace(lists=hopper_block_plan.BlockLists(*lists, share_every), sizes=own)
        keys, values = _number(hopper_block_plan.KEY_STAGES), _number(hopper_block_plan.VALUE_STAGES)
        counts = 4, keys, values, 0, 12, SLOTS * _number(hopper_tiles.TILE_WORDS), 2, 3 * keys, 3 * values
        self.shared = hopper_block_plan.BlockShared(*map(Cells, counts))  # type: ignore[assignment]
        self.shared.q.dtype = None  # type: ignore[attr-defined]
        own_load = hopper_block_load
        self.loads = [(own_load.hopper_load_key_blocks, "QK"), (own_load.hopper_load_value_blocks, "V")]
        self.attend = hopper_block_kernel._attend_blocks
        self.instead = {"_load_pair": self._pair, "_mask_blocks": lambda s, *_: s}

    def _pair(self, x: Box, tile: Any, one: int, two: int, full: Cell, to: Cell, plan: Any) -> None:
        with self.changed:
            to.content = (x.name, tile.batch, tile.kv_head, one, two)
            full.complete += 1
            self.changed.notify_all()


class _Names(dict):
    """The names that a device function sees, each replaced when it is first looked up."""

    def __init__(self, program: Program, names: dict[str, Any]) -> None:
        super().__init__(__builtins__=names["__builtins__"])
        self.program, self.names = program, names

    def __missing__(self, name: str) -> Any:
        self[name] = self.program.replaced(name, self.names[name])
        return self[name]


def _number(x: Any) -> Any:
    """A constant of Triton's as it is."""
    return getattr(x, "value", x)


def _nothing(*_: Any) -> None:
    raise AssertionError("masks are not made here")


def _language(number: int, programs: int) -> Any:
    """What tiles, steps and walks need of Gluon and of Triton's language, of integers."""
    return SimpleNamespace(
        program_id=lambda axis: number,
        num_programs=lambda axis: programs,
        where=lambda test, then, other: then if test else other,
        load=lambda place, mask=True, other=0: place.numbers[place.at] if mask else other,
        store=lambda place, number: place.numbers.__setitem__(place.at, number),
        maximum=max,
        minimum=min,
        max=lambda x, axis: x,
        cdiv=lambda x, y: -(-x // y),
        static_range=range,
        constexpr=_number,
        to_tensor=lambda x: x,
        int32=None,
        float32=None,
        zeros=lambda *_: Tensor(),
        full=lambda shape, value, *_: value,
        convert_layout=lambda x, *_, **__: x,
        BlockedLayout=lambda *_: None,
    )
