"""What the host does before a launch, without a GPU."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from support.no_gpu import Graphs, Launched, driver, scratch_memory

from sparsec.kernels.launches import direct, launch
from sparsec.kernels.launches.direct import Box, Known
from sparsec.kernels.launches.launch import Launch, Meta, Pass
from sparsec.kernels.launches.prepare import tma_box
from sparsec.kernels.machine.memory import as_readable, dense_strides, empty_as
from sparsec.kernels.operator.repeated import joined
from sparsec.kernels.passes.rows import class_stats
from sparsec.kernels.program.program import Program, cdiv

EMPTY = Program(groups=(), min_tile=16, most_positions=1 << 30)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_descriptor_sees_residue_classes(transposed: bool) -> None:
    """As a view that has them for a dimension of their own."""
    x = torch.empty(2, 96, 3, 16).transpose(1, 2) if transposed else torch.empty(2, 3, 96, 16)
    view = x.unflatten(2, (-1, 16)).transpose(2, 3)
    found = tma_box("Q", Meta.of(x), 16, 4)
    assert (found.shape, found.strides, found.block) == ([*view.shape], [*view.stride()], [1, 1, 1, 4, 16])
    plain = tma_box("Q", Meta.of(x), 1, 4)
    assert (plain.shape, plain.strides, plain.block) == ([*x.shape], [*x.stride()], [1, 1, 4, 16])


@pytest.mark.parametrize("numbers", [2, 3])  # of each row: with dropout a word more
@pytest.mark.parametrize(("n_q", "length"), [(16 * 128, 128), (16 * 128 + 1, 256), (16 * 128 - 1, 128), (5, 128)])
def test_rows_that_are_not_there_weigh_nothing(n_q: int, length: int, numbers: int) -> None:
    run = Pass(EMPTY, Q=Meta.of(torch.empty(2, 3, n_q, 16)))
    class_stats(run, run.metas["Q"], 16, numbers)
    rows = run({})["STATS_16"]
    assert rows.shape == (numbers * 2 * 3 * 16, length)
    if n_q < 16 * length:  # else every row is written
        lse, others = rows[: 2 * 3 * 16], rows[2 * 3 * 16 :]
        assert (lse == torch.inf).all()
        assert (others == 0).all()


def test_sizes_are_rounded_up() -> None:
    assert [cdiv(x, 16) for x in (0, 1, 16, 17)] == [0, 1, 1, 2]


@pytest.mark.parametrize("shape", [(2, 3, 5, 16), (1, 1), (4, 0, 3), (7,)])
def test_metas_are_those_of_the_tensors(shape: tuple[int, ...]) -> None:
    run = Pass(EMPTY, Q=Meta.of(torch.empty(2, 5, 3, 16).transpose(1, 2)))
    run.empty("X", shape, torch.float16)
    assert Meta.of(run({})["X"]) == run.metas["X"]


transposed = st.permutations(range(3)).map(lambda order: [*order, 3])
sizes = st.tuples(*[st.integers(1, 5)] * 3, st.sampled_from([8, 16]))


@given(sizes, transposed, st.integers(0, 2), st.integers(0, 8))
def test_results_lie_like_torch_would_have_them(shape, order, expanded: int, more: int) -> None:
    """As `torch.empty_like` of a tensor with gaps; an expanded tensor has no order."""
    wide = torch.empty([shape[dim] for dim in order[:3]] + [shape[3] + more])
    x = wide[..., : shape[3]].permute([order.index(dim) for dim in range(4)])
    found = dense_strides(tuple(x.shape), x.stride())
    expected = torch.empty_like(x).stride()
    for dim in range(4):
        assert found[dim] == expected[dim] or shape[dim] == 1
    y = x.narrow(expanded, 0, 1).expand(x.shape)
    assert dense_strides(tuple(y.shape), y.stride()) == torch.empty(y.shape).stride() or shape[expanded] == 1
    result = empty_as(x)
    assert as_readable(result) is result  # kernels take what they return


def test_rows_far_apart_lie_in_the_usual_order() -> None:
    """Kernels count elements of a tile in 32 bits, also of results."""
    near, far = ((256, 1, 2, 1 << exponent) for exponent in (14, 15))
    for shape, usual in ((near, False), (far, True)):
        strides = (shape[3], shape[3], shape[0] * shape[3], 1)  # [n, B, H, D]
        found = dense_strides(shape, strides)
        assert (found == Meta.contiguous(shape, torch.float16, torch.device("cpu")).strides) == usual


def test_parts_of_a_pass() -> None:
    run, seen = Pass(EMPTY, Q=Meta.of(torch.empty(1))), []
    for part in ("", "dq", "dkdv"):
        if part:
            run.begin(part)
        run.step(lambda env, part=part: seen.append(part))
    run.only("dq", {})
    run.only("dkdv", {})
    assert seen == ["dq", "dkdv"]


def known(names: str, grid: tuple[int, int, int] = (1, 1, 1)) -> Known:
    """A launch that takes the addresses of these tensors."""
    places = tuple(8 * place for place in range(len(names)))
    given = tuple((place, name, "q") for place, name in zip(places, names, strict=True))
    return Known(1, grid, 128, 0, bytes(8 * len(names)), places, given)


def numbers(launched: Launched, count: int) -> list[int]:
    """The parameters of a launch, 64 bits each."""
    return [ctypes.c_uint64.from_address(at).value for at in launched.parameters[:count]]


@pytest.fixture
def no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "current_stream", lambda device: 7)


def passing(steps: Callable[[Pass], object]) -> Pass:
    """A pass of these steps, its launches known."""
    run = Pass(EMPTY, Q=Meta.of(torch.empty(1)))
    steps(run)
    for step in run.steps:
        if isinstance(step, Launch):
            step.known = known("".join(name for _, name in step.tensors))
    run.direct = run._bound()
    return run


def launching(run: Pass, names: str) -> None:
    run.launch(SimpleNamespace(arg_names=[*names]), (1, 1, 1), {name: launch.Slot(name) for name in names})


def test_scratch_room_of_known_launches_is_one_tensor(no_stream: None) -> None:
    """Of the size of the largest, where kernels that follow one another leave things under one name."""

    def steps(run: Pass) -> None:
        for name, size in (("X", 3), ("Y", 1000), ("X", 500), ("Z", 1)):
            run.scratch(name, (size,), torch.int32)
        run.scratch("T", (4, 3), torch.int32)
        run.part("P", "T", 2)
        launching(run, "XYZTP")

    seen: list[list[int]] = []
    with driver(lambda launched: seen.append(numbers(launched, 5)) or 0), scratch_memory() as rooms:
        run = passing(steps)
        run({})
    assert run.metas["Y"] == Meta.contiguous((1000,), torch.int32, torch.device("cpu"))
    ((room, size),) = rooms.items()
    ((*begins, part),) = seen
    assert part == begins[3] + 2 * 3 * 4
    spans = sorted(zip(begins, (2000, 4000, 4, 48), strict=True))
    assert all(begin % 4 == 0 and begin >= room for begin, _ in spans)
    ends = [begin + size for begin, size in spans]
    stops = [*(begin for begin, _ in spans[1:]), room + size]
    assert all(end <= stop for end, stop in zip(ends, stops, strict=True))


def test_scratch_room_is_given_back_where_a_launch_fails(no_stream: None) -> None:
    given_back: list[int] = []

    def steps(run: Pass) -> None:
        run.scratch("X", (3,), torch.int32)
        launching(run, "X")

    with driver(lambda launched: 7), scratch_memory() as rooms, patch.object(launch, "give_back", given_back.append):
        run = passing(steps)
        with pytest.raises(RuntimeError, match="error 7"):
            run({})
    assert given_back == [*rooms]
    with driver(lambda launched: 0), patch.object(launch, "take", None):
        assert passing(steps).direct is None  # a torch that gives no such memory: Triton launches


def test_launches_follow_what_they_need(no_stream: None) -> None:
    """Room is made before, also with zeros; a step of torch waits for the launches before it, and so does room that is
    made again under a name.
    """
    seen: list[Any] = []

    def steps(run: Pass) -> None:
        run.empty("X", (2,), torch.float32)
        launching(run, "X")
        run.zeros("Y", (2,), torch.float32)
        launching(run, "Y")
        run.step(lambda env: seen.append(env["Y"].clone()))
        launching(run, "X")
        run.zeros("Y", (2,), torch.float32)
        launching(run, "Y")

    def launched(one: Launched) -> int:
        (address,) = numbers(one, 1)
        cells = (ctypes.c_float * 2).from_address(address)
        seen.append((address, one.stream, [*cells] if len(seen) != 0 and len(seen) != 3 else None))
        cells[:] = 1.0, 2.0
        return 0

    with driver(launched):
        run = passing(steps)
        assert len(run.direct or ()) == 3 + 1 + 1 + 2
        env = run({})
    x, y, between, again, last = seen
    assert x[0] == again[0] == env["X"].data_ptr()
    assert {each[1] for each in (x, y, again, last)} == {7}
    assert y[2] == last[2] == [0.0, 0.0]
    assert between.tolist() == env["Y"].tolist() == [1.0, 2.0]
    assert last[0] == env["Y"].data_ptr()


def test_prepared_passes_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_MOST_PASSES", 3)
    program = Program(groups=(), min_tile=16, most_positions=1 << 30)
    for key in range(5):
        launch.remember(program, (key,), Pass(program, Q=Meta.of(torch.empty(1))))
    assert list(program.passes) == [(2,), (3,), (4,)]


def test_joined_passes(no_stream: None) -> None:
    """What the first one makes is scratch room of both: nobody else needs it."""

    def of_second(run: Pass) -> None:
        run.metas["X"] = Meta.of(torch.empty(5))
        run.empty("Y", (2,), torch.float32)
        run.scratch("Z", (2,), torch.float32)
        launching(run, "XYZ")

    def of_first(run: Pass) -> None:
        run.empty("X", (5,), torch.float32)
        launching(run, "XXX")

    seen: list[list[int]] = []
    with driver(lambda launched: seen.append(numbers(launched, 3)) or 0, most=3), scratch_memory() as rooms:
        run = joined(passing(of_first), passing(of_second))
        run.direct = run._bound()
        env = run({})
        assert len(run.direct or ()) == 2
    ((room, size),) = rooms.items()
    assert size == 512
    assert seen == [[room] * 3, [room, env["Y"].data_ptr(), room + 256]]
    assert "X" not in env


@pytest.mark.parametrize("hooked", [False, True])
def test_a_warm_pass_goes_straight_to_its_launches(
    monkeypatch: pytest.MonkeyPatch, no_stream: None, hooked: bool
) -> None:
    """On one stream; but not past a hook of Triton that wants to see them."""
    seen: list[Any] = []
    monkeypatch.setattr(launch, "hooked", lambda: hooked)
    monkeypatch.setattr(Launch, "__call__", lambda self, env: seen.append("by Triton"))
    with driver(lambda launched: seen.append(launched.stream) or 0):
        run = passing(lambda run: [launching(run, "Q"), launching(run, "Q")])
        run.compiled = True
        run({"Q": torch.empty(1)})
    assert seen == ["by Triton" if hooked else 7] * 2


def test_a_pass_waits_for_all_of_its_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until each is known, every one goes through Triton."""
    run, seen = Pass(EMPTY, Q=Meta.of(torch.empty(1))), []
    for _ in range(2):
        launching(run, "Q")
    run.steps[0].known, run.compiled = known("Q"), True
    monkeypatch.setattr(Launch, "__call__", lambda self, env: seen.append(self.known))
    run({"Q": torch.empty(1)})
    assert seen == [known("Q"), None]
    assert run.direct is None


# ---------------------------------------------------------------- graphs of launches


def test_several_launches_are_one_graph(no_stream: None) -> None:
    """Made at the second call, and changed where a call has other addresses."""
    graphs, alone = Graphs(1), []
    x, y = torch.empty(1), torch.empty(1)
    at_x, at_y = x.data_ptr(), y.data_ptr()
    with driver(lambda launched: alone.append(numbers(launched, 1)) or 0, graphs=graphs):
        run = passing(two_tensors)
        run({"Q": x, "P": x})
        assert (graphs.asked, alone) == ([], [[at_x], [at_x]])
        alone.clear()
        for first, second in ((x, y), (x, y), (y, y), (y, x)):
            run({"Q": first, "P": second})
        assert graphs.mode == 0  # what was captured elsewhere stays as it was
        made = ["make", "add", "add", "instantiate", ([[at_x], [at_y]], 7)]
        changed = ["set", ([[at_y], [at_y]], 7), "set", ([[at_y], [at_x]], 7)]
        assert graphs.asked == [*made, made[-1], *changed]
        assert graphs.behind == [[], [1]]
        graphs.capturing = True  # by the caller: into a graph of its own
        run({"Q": x, "P": y})
        assert (len(graphs.asked), alone) == (10, [[at_x], [at_y]])
        run.direct = None
        del run
    assert graphs.asked[10:] == ["free executable", "free graph"]
    assert (graphs.strict, graphs.mode) == ([], 0)


def test_launches_side_by_side_are_so_in_a_graph(no_stream: None) -> None:
    """What comes next waits for all of them."""
    graphs, x = Graphs(1), torch.empty(1)

    def five(run: Pass) -> None:
        for name in "QQPQP":
            launching(run, name)
        for place in (0, 2, 3):
            run.steps[place].beside = True

    with driver(lambda launched: 0, graphs=graphs):
        run = passing(five)
        for _ in range(2):
            run({"Q": x, "P": x})
    assert graphs.behind == [[], [1], [1], [1], [2, 3, 4]]


@pytest.mark.parametrize(("kind", "size"), [("b", 1), ("h", 2), ("i", 4), ("f", 4), ("q", 8), ("d", 8), ("m", 128)])
def test_what_a_call_gives_lies_within_the_parameters(kind: str, size: int) -> None:
    def line(room: int, name: int = 0) -> list[tuple]:
        return [(1, (1, 1, 1), 32, 0, bytes(room), (0,), ((room - size, name, 0, kind.encode()),))]

    with driver(lambda launched: 0) as native:
        assert native.Chain(("Q", "stream"), line(256)).names == ("Q", "stream")
        for lines in ([(*line(256)[0][:6], ((257 - size, 0, 0, kind.encode()),))], line(256, name=2)):
            with pytest.raises(ValueError, match="outside"):
                native.Chain(("Q", "stream"), lines)


@pytest.mark.parametrize("step", ["make", "add", "instantiate", "set", "launch"])
def test_launches_go_one_by_one_where_no_graph_is_to_be_had(no_stream: None, step: str) -> None:
    graphs, alone = Graphs(1), []
    x, y = torch.empty(1), torch.empty(1)
    at_x, at_y = x.data_ptr(), y.data_ptr()
    with driver(lambda launched: alone.append(numbers(launched, 1)) or 0, graphs=graphs):
        run = passing(two_tensors)
        for _ in range(2 if step == "set" else 1):
            run({"Q": y, "P": y})
        alone.clear()
        graphs.fails = step
        run({"Q": x, "P": y})
        asked = len(graphs.asked)
        run({"Q": x, "P": y})
        assert len(graphs.asked) == asked
        run.direct = None
        del run
    assert alone == [[at_x], [at_y]] * 2


def test_kernels_without_programs_are_in_no_graph(no_stream: None) -> None:
    graphs, alone = Graphs(1), []

    def steps(run: Pass) -> None:
        run.metas["P"] = run.metas["Q"]
        for _ in range(3):
            launching(run, "Q")

    x = torch.empty(1)
    with driver(lambda launched: alone.append(launched) or 0, graphs=graphs):
        run = passing(steps)
        for empty in (1, 2, 3):
            for step in run.steps[:empty]:
                step.known = step.known._replace(grid=(1, 0, 1))
            run.direct = run._bound()
            for _ in range(2):
                run({"Q": x})
        run.direct = None
        del run
    assert [each for each in graphs.asked if isinstance(each, tuple)] == [([[x.data_ptr()]] * 2, 7)]
    assert len(alone) == 2 + 2 * 1  # before there is a graph of two, and where one is left


def test_each_stream_has_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph waits for its last launch; streams beyond the first few launch one by one."""
    graphs, alone = Graphs(1), []
    x, stream = torch.empty(1), [0]
    monkeypatch.setattr(launch, "current_stream", lambda device: stream[0])
    with driver(lambda launched: alone.append(launched.stream) or 0, graphs=graphs):
        run = passing(two_tensors)
        for stream[0] in (0, 0, 1, 1, 0, 2, 2, 3, 3, 4, 4, 1):
            run({"Q": x, "P": x})
        run.direct = None
        del run
    assert alone == [s for s in (0, 1, 2, 3, 4, 4) for _ in range(2)]
    assert [each[1] for each in graphs.asked if isinstance(each, tuple)] == [0, 1, 0, 2, 3, 1]
    assert graphs.asked.count("make") == graphs.asked.count("free graph") == graphs.asked.count("free executable") == 4


def two_tensors(run: Pass) -> None:
    run.metas["P"] = run.metas["Q"]
    for name in "QP":
        launching(run, name)


# ---------------------------------------------------------------- parameters in memory


class CudaLauncher(SimpleNamespace):
    """Triton's, as far as it is looked at."""

    global_scratch_size = profile_scratch_size = launch_cooperative_grid = launch_pdl = 0


NVIDIA = SimpleNamespace(CudaLauncher=CudaLauncher, make_tensordesc_arg=lambda x, fields: [x, *fields[0], *fields[1]])
SCALARS = {"i1": "?", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u32": "I", "u64": "Q", "fp32": "f", "fp64": "d"}


def compiled(kinds: dict[str, Any], *boxes: Any, **more: Any) -> Any:
    """What Triton compiled, as far as it is looked at."""
    metadata = SimpleNamespace(num_warps=4, num_ctas=1, shared=99, tensordesc_meta=boxes)
    return SimpleNamespace(
        run=CudaLauncher(**more), metadata=metadata, src=SimpleNamespace(signature=kinds), function=5
    )


@st.composite
def parameters(draw: st.DrawFn) -> tuple[Any, Any, Any, list[tuple[str, Any]]]:
    """A type of Triton's, an argument, the name of what a call gives or None, and what a kernel finds: form, number."""
    kind = draw(st.sampled_from(["constexpr", "*bf16", *SCALARS]))
    given = draw(st.none() | st.sampled_from("QKV")) if kind in ("*bf16", "i32", "i64", "fp32", "fp64") else None
    if kind == "constexpr":
        return kind, draw(st.sampled_from([None, 1, "text"])), None, []
    form = SCALARS.get(kind, "Q")
    if form in "fd":
        value: Any = draw(st.floats(width=32, allow_nan=False))
    else:
        bits = 8 * struct.calcsize(form) - (form in "biqh") if form != "?" else 1
        value = draw(st.integers(-(1 << bits) if form in "biqh" else 0, (1 << bits) - 1))
    return kind, value, given, [(form, value)]


@given(st.lists(st.one_of(parameters(), st.lists(parameters(), max_size=3)), max_size=8), st.integers(0, 1 << 40))
def test_kernels_find_their_parameters(drawn: list[Any], offset: int) -> None:
    """Aligned, whatever their types, and with what a call gives in its places."""
    kinds, arguments, names, found = {}, [], {}, []
    for place, own in enumerate(drawn):
        if isinstance(own, list):
            kind, value, given_names = (tuple(each[part] for each in own) for part in range(3))
            each_found = [x for each in own for x in each[3]]
        else:
            kind, value, given_names, each_found = own
        kinds[f"p{place}"] = kind
        arguments.append(value)
        if isinstance(own, list) or given_names is not None:
            names[place] = given_names
        found += each_found
    env: dict[str, Any] = {"stream": 3}
    for own in drawn:
        for _, value, name, _ in own if isinstance(own, list) else [own]:
            if name is not None:
                assume(env.setdefault(name, value) == value and type(env[name]) is type(value))
    seen: list[Launched] = []

    def launched(one: Launched) -> int:
        for at, (form, value) in zip(one.parameters, [*found, ("Q", 0), ("Q", 0)], strict=False):
            assert at % struct.calcsize(form) == 0
            assert struct.unpack(form, ctypes.string_at(at, struct.calcsize(form))) == (value,)
        seen.append(one)
        return 0

    with driver(launched, most=len(found) + 2), patch.object(direct, "_nvidia", lambda: NVIDIA):
        made = direct.known_launch(compiled(kinds), (2, 3, 4), arguments, names, {})
        assert made is not None
        direct.chain([made], {})(env)
    assert [each[:5] for each in seen] == [(5, (2, 3, 4), 128, 99, 3)]


def test_a_tensor_map_is_moved_to_the_address_of_a_call() -> None:
    box = Box("K", [2, 6], [6, 1], [1, 2])
    seen: list[tuple] = []

    def launched(one: Launched) -> int:
        at = one.parameters[1]
        moved = struct.unpack("2q", ctypes.string_at(at, 16))
        sizes = [ctypes.c_int32.from_address(place).value for place in one.parameters[2:4]]
        sizes += [ctypes.c_int64.from_address(place).value for place in one.parameters[4:6]]
        seen.append((at % 128, *moved, *sizes))
        return 0

    room = torch.empty(64)
    with driver(launched) as made, patch.object(direct, "_nvidia", lambda: NVIDIA):
        made.bytes_of_map = lambda x: struct.pack("16q", *range(16))
        kinds = {"n": "i32", "K": "tensordesc<fp32[1, 2]>"}
        one = direct.known_launch(compiled(kinds, (box.shape, box.strides)), (1, 1, 1), [9, None], {}, {1: (box, None)})
        assert one is not None
        direct.chain([one], {})({"K": room, "stream": 0})
        direct.chain([one], {"K": ("room", 64)})({"room": room, "stream": 0})
    assert seen == [(0, room.data_ptr() + more, 1, 2, 6, 6, 1) for more in (0, 64)]


@pytest.mark.parametrize("more", [{"global_scratch_size": 8}, {"launch_pdl": True}, {"launch_cooperative_grid": True}])
def test_what_needs_more_than_parameters_is_left_to_triton(more: dict[str, Any]) -> None:
    with driver(lambda launched: 0), patch.object(direct, "_nvidia", lambda: NVIDIA):
        assert direct.known_launch(compiled({}, **more), (1, 1, 1), [], {}, {}) is None
        assert direct.known_launch(compiled({}), (1, 1, 1), [], {}, {}) is not None


def test_a_launch_that_fails_says_so() -> None:
    """As Triton's launchers do; the launches behind it are not made, and an empty grid is none."""
    seen: list[tuple] = []
    with driver(lambda launched: seen.append(launched.grid) or launched.grid[0]):
        run = direct.chain([known("Q", grid) for grid in ((0, 1, 1), (7, 1, 1), (1, 1, 1))], {})
        with pytest.raises(RuntimeError, match=r"Triton Error \[CUDA\]: error 7"):
            run({"Q": torch.empty(1), "stream": 0})
        with pytest.raises(KeyError, match="Q"):
            run({"stream": 0})
        with pytest.raises(AttributeError, match="data_ptr"):
            run({"Q": None, "stream": 0})
    assert seen == [(7, 1, 1)]
