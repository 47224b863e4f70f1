"""What the host does before a launch, without a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsec.kernels import backward, launch
from sparsec.kernels.launch import Launch, Meta, Pass
from sparsec.kernels.memory import as_readable, dense_strides, empty_as
from sparsec.kernels.prepare import tma_box
from sparsec.kernels.program import Program, cdiv

EMPTY = Program(groups=(), min_tile=16, most_positions=1 << 30)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_descriptor_sees_residue_classes(transposed: bool) -> None:
    """As a view that has them for a dimension of their own."""
    x = torch.empty(2, 96, 3, 16).transpose(1, 2) if transposed else torch.empty(2, 3, 96, 16)
    view = x.unflatten(2, (-1, 16)).transpose(2, 3)
    found = tma_box("Q", Meta.of(x), 16, 4, 16)
    assert (found.shape, found.strides, found.block) == ([*view.shape], [*view.stride()], [1, 1, 1, 4, 16])
    plain = tma_box("Q", Meta.of(x), 1, 4, 16)
    assert (plain.shape, plain.strides, plain.block) == ([*x.shape], [*x.stride()], [1, 1, 4, 16])


@pytest.mark.parametrize("numbers", [2, 4])  # of each row: with dropout two words more
@pytest.mark.parametrize(("n_q", "length"), [(16 * 128, 128), (16 * 128 + 1, 256), (16 * 128 - 1, 128), (5, 128)])
def test_rows_that_are_not_there_weigh_nothing(n_q: int, length: int, numbers: int) -> None:
    run = Pass(EMPTY, Q=Meta.of(torch.empty(2, 3, n_q, 16)))
    backward._class_stats(run, run.metas["Q"], 16, numbers)
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


def test_scratch_room_of_known_launches_is_one_tensor() -> None:
    """Of the size of the largest, where kernels that follow one another leave things under one name."""
    run, seen = Pass(EMPTY, Q=Meta.of(torch.empty(1))), {}
    run.launch(SimpleNamespace(arg_names=["Q"]), (1, 1, 1), {"Q": launch.Slot("Q")})
    for name, size in (("X", 3), ("Y", 1000), ("X", 500), ("Z", 1)):
        run.scratch(name, (size,), torch.int32)
    assert run.metas["Y"] == Meta.contiguous((1000,), torch.int32, torch.device("cpu"))
    run.steps[0].direct = lambda env: seen.update({name: env[name].data_ptr() for name in "XYZ"} | {"env": env})
    for step in run._bound() or ():
        step(seen.setdefault("env", {}))
    (room,) = (x for x in seen["env"].values() if isinstance(x, torch.Tensor))
    begins = sorted([(seen["X"], 2000), (seen["Y"], 4000), (seen["Z"], 4)])
    assert all(begin % 4 == 0 and begin >= room.data_ptr() for begin, _ in begins)
    ends = [begin + size for begin, size in begins]
    assert all(
        end <= begin for end, (begin, _) in zip(ends, [*begins[1:], (room.data_ptr() + len(room), 0)], strict=True)
    )


def test_prepared_passes_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_MOST_PASSES", 3)
    program = Program(groups=(), min_tile=16, most_positions=1 << 30)
    for key in range(5):
        launch.remember(program, (key,), Pass(program, Q=Meta.of(torch.empty(1))))
    assert list(program.passes) == [(2,), (3,), (4,)]


@pytest.mark.parametrize("watched", [False, True])
def test_a_warm_pass_goes_straight_to_its_launches(monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    """On one stream, which is asked for once; but not past a hook of Triton that wants to see them."""
    run, seen, streams = Pass(EMPTY, Q=Meta.of(torch.empty(1))), [], iter([7])
    for name in ("first", "second"):
        kernel = SimpleNamespace(arg_names=["Q"])
        run.launch(kernel, (1, 1, 1), {"Q": launch.Slot("Q"), "NAME": name})
        run.steps[-1].direct = lambda env, name=name: seen.append((name, env["stream"]))
    run.compiled = True
    monkeypatch.setattr(launch, "current_stream", lambda device: next(streams))
    monkeypatch.setattr(launch, "hooked", lambda: watched)
    monkeypatch.setattr(Launch, "__call__", lambda self, env: seen.append((self.name, None)))
    run({"Q": torch.empty(1)})
    assert seen == [("first", None if watched else 7), ("second", None if watched else 7)]


def test_a_pass_waits_for_all_of_its_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until each is known, every one goes through Triton."""
    run, seen = Pass(EMPTY, Q=Meta.of(torch.empty(1))), []
    for _ in range(2):
        run.launch(SimpleNamespace(arg_names=["Q"]), (1, 1, 1), {"Q": launch.Slot("Q")})
    run.steps[0].direct, run.compiled = pytest.fail, True
    monkeypatch.setattr(Launch, "__call__", lambda self, env: seen.append(self.direct))
    run({"Q": torch.empty(1)})
    assert seen == [pytest.fail, None]
