"""Kernels of scores that read float inputs, and the gradients of these, in Triton's interpreter: as on a CPU."""

from __future__ import annotations

import pytest
import torch
from support.exact import assert_as_exact
from support.generated import module_of, pattern_of, spread_module_of
from support.score_inputs import BY_HEAD, TEXTS, drawn_inputs
from support.two_paths import in_double

from sparsec.ir.nodes import Pattern
from sparsec.kernels.cpu.torch_path import backward_cpu, forward_cpu, input_gradients_cpu
from sparsec.kernels.operator import packed
from sparsec.kernels.operator.one_by_one import backward_each, forward_each, input_gradients_each
from sparsec.kernels.passes import read_gradients
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.inputs import checked_inputs
from sparsec.kernels.program.program import Program
from sparsec.kernels.sequences.sequences import of_documents, of_rows

pytestmark = pytest.mark.usefixtures("small_tiles")


@pytest.fixture(autouse=True)
def _small_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_gradients, "_READ_BLOCK", 16)


def call_of(program: Program, pattern: Pattern, n_q: int, n: int, q_offset: int, batch: int, **more) -> Call:
    """A call of four heads, of which two share a key head."""
    program.passes.clear()
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, 4, n_q, 16), (batch, 2, n, 16), (batch, 2, n, 16)
    q, k, v = (torch.randn(shape, generator=generator) for shape in shapes)
    inputs = checked_inputs(program.inputs, drawn_inputs(pattern, batch, 4, n), q, k)
    return Call(q, k, v, 0.25, q_offset, inputs=inputs, **more)


def assert_alike(program: Program, call: Call, gpu: tuple, cpu: tuple) -> None:
    """Forward and every gradient: `gpu` and `cpu` compute out and lse, gradients of tensors, and those of inputs."""
    exact_call = in_double(call)
    rounded, exact = cpu[0](program, call), cpu[0](program, exact_call)
    assert_as_exact(gpu[0](program, call), exact, rounded)
    generator = torch.Generator().manual_seed(1)
    g, dlse = (torch.randn(x.shape, generator=generator) for x in rounded)
    upstream, exactly = Upstream(g, *rounded, dlse), Upstream(g.double(), *exact, dlse.double())
    for one, other in zip(gpu[1:], cpu[1:], strict=True):
        wanted = other(program, exact_call, exactly)
        assert_as_exact(one(program, call, upstream), wanted, other(program, call, upstream))


GPU, CPU = (
    (forward_gpu, backward_gpu, read_gradients.input_gradients_gpu),
    (forward_cpu, backward_cpu, input_gradients_cpu),
)

EACH = zip((forward_each, backward_each, input_gradients_each), CPU, strict=True)
ALONE = tuple(lambda *given, run=run, one=one: run(one, *given) for run, one in EACH)
AT_ONCE = packed.forward_packed, packed.backward_packed, packed.input_gradients_packed


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("all", (20, 41, 21)),
        pytest.param("all", (41, 30, 4), marks=pytest.mark.full),
        pytest.param("heads", (30, 41, 11), marks=pytest.mark.full),
        pytest.param("strided", (20, 41, 21), marks=pytest.mark.full),
        pytest.param("random", (20, 41, 21), marks=pytest.mark.full),
        pytest.param("data", (20, 41, 21), marks=pytest.mark.full),
        ("documents", (20, 41, 21)),
        pytest.param("documents", (41, 30, 4), marks=pytest.mark.full),
        pytest.param("numbers", (20, 41, 21), marks=pytest.mark.full),
    ],
)
def test_kernels(name: str, sizes: tuple[int, int, int]) -> None:
    pattern = pattern_of(TEXTS[name], heads=4 if name in BY_HEAD else None)
    module = spread_module_of(pattern) if name == "strided" else module_of(pattern)
    assert_alike(module._PROGRAM, call_of(module._PROGRAM, pattern, *sizes, 2), GPU, CPU)


@pytest.mark.full
def test_pairs_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_gradients, "_PAIRS_ROOM", 1)
    pattern = pattern_of(TEXTS["pairs"])
    program = module_of(pattern)._PROGRAM
    assert_alike(program, call_of(program, pattern, 40, 41, 1, 1), GPU, CPU)


@pytest.mark.full
@pytest.mark.parametrize("name", ["strided", "pairs", "documents"])
def test_documents(name: str) -> None:
    pattern = pattern_of(TEXTS[name])
    program = module_of(pattern)._PROGRAM
    call = call_of(program, pattern, 60, 60, 0, 1, table=of_documents(torch.tensor([3, 20, 20, 51]), 60))
    assert packed.at_once(program, anywhere=True) == (name != "documents")
    assert_alike(program, call, AT_ONCE, ALONE)


@pytest.mark.parametrize("name", ["all", pytest.param("strided", marks=pytest.mark.full)])
def test_rows_whose_keys_begin_anywhere(name: str) -> None:
    pattern = pattern_of(TEXTS[name])
    program = module_of(pattern)._PROGRAM
    lengths, offsets = torch.tensor([20, 45], dtype=torch.int32), torch.tensor([-3, 23], dtype=torch.int32)
    table = of_rows(2, 24, 24, lengths.device, lengths, None, None, offsets)
    assert_alike(program, call_of(program, pattern, 24, 24, 0, 2, table=table), AT_ONCE, ALONE)


def test_programs_beyond_the_last_walk_read_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more programs than walks; numbers that stand behind the spans mean nothing."""
    spans_of = read_gradients.spans_of

    def before_garbage(*asked) -> torch.Tensor | None:
        spans = spans_of(*asked)
        garbage = torch.tensor([[1 << 29, (1 << 29) + 1]], dtype=torch.int32).expand(64, 2)
        return None if spans is None else torch.cat([spans, garbage])[: len(spans)]

    monkeypatch.setattr(read_gradients, "spans_of", before_garbage)
    pattern = pattern_of(TEXTS["all"])
    module = module_of(pattern)
    assert_alike(module._PROGRAM, call_of(module._PROGRAM, pattern, 20, 41, 21, 2), GPU, CPU)
