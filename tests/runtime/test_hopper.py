"""The Hopper tier without a GPU: which kernels it takes, and what the compiler made of them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from support.generated import module_of, pattern_of
from support.sass import inner_loops

import sparsec
from sparsec.codegen.emit import emit
from sparsec.codegen.support import standalone
from sparsec.diagnostics import SparsecError
from sparsec.kernels.hopper import launch_backward as hopper_backward
from sparsec.kernels.hopper import tier as hopper_tier
from sparsec.kernels.hopper.backward.kernel import hopper_backward_kernel
from sparsec.kernels.hopper.backward_steps import STEP_QUERIES
from sparsec.kernels.hopper.resources import BACKWARD_TILES, HOPPER_TILES, SHARED
from sparsec.kernels.hopper.rules import TIER, HopperCase, lacks, slower_without
from sparsec.kernels.hopper.tier import backward_case, forward_case, gradients_on_hopper, known_gluon, on_hopper
from sparsec.kernels.launches.launch import Meta, Pass
from sparsec.kernels.passes.backward import backward_inputs, prepared_backward
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.program import Program
from sparsec.plan.build import build
from sparsec.runtime import offline_compile
from sparsec.runtime.offline_compile import TARGETS, CompiledKernel, compile_kernels

SLOPES = "input a: float[H] score sloped = s - a * abs(q - k)"
PRODUCTS = 8  # instructions of one product of 64 x 128 x 128


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU of the tier."""
    monkeypatch.delenv(TIER, raising=False)
    monkeypatch.setattr(hopper_tier, "capability", lambda device: (9, 0))
    monkeypatch.setattr(hopper_tier, "processors", lambda device: 132)
    monkeypatch.setattr(hopper_tier, "known_gluon", lambda: True)


def program_of(text: str, heads: int | None = None) -> Program:
    return module_of(pattern_of(text if "pattern" in text else f"pattern p = {text}", heads))._PROGRAM


def case_of(
    text: str, shape=(1, 16, 8192, 128), dtype=torch.bfloat16, lines=0, kind="forward", heads=None, strides=None
) -> HopperCase:
    x = Meta.contiguous(shape, dtype, torch.device("cpu"))
    y = x if strides is None else x._replace(strides=strides)
    table = {"SEQUENCES": Meta.contiguous((lines, 7), torch.int32, x.device)} if lines else {}
    program = program_of(text, heads)
    run, group = Pass(program, Q=x, K=y, V=y, **table), program.groups[0]
    variant = group.at(shape[2])
    return forward_case(run, variant.of(kind)[0], 0) if kind == "forward" else backward_case(run, group, variant, 0)


@pytest.mark.parametrize(
    ("lack", "case"),
    [
        ("", {"text": "past(1000) | sinks(4)"}),
        ("", {"text": "k < n", "shape": (1, 1, 100, 40), "dtype": torch.float16}),
        ("16-bit types", {"text": "causal", "dtype": torch.float32}),
        ("", {"text": "causal", "shape": (1, 16, 8192, 256)}),
        ("", {"text": "causal", "shape": (1, 16, 8192, 136), "lines": 16}),
        ("a head size from 40 to 256", {"text": "causal", "shape": (1, 16, 8192, 264)}),
        ("a head size from 40 to 256", {"text": "causal", "shape": (1, 16, 8192, 32)}),
        ("", {"text": "causal", "lines": 16}),
        ("", {"text": "causal with softcap(50), alibi"}),
        ("one region", {"text": "causal & (same_block(64) | k % 64 >= 60)"}),
        ("one softmax from start to end", {"text": "causal & (past(64) | stride(16))"}),
        ("positions as they are", {"text": "causal & stride(64)"}),
        ("ranges of tiles", {"text": "abs(q // 32 - k // 32) <= 2 & abs(q % 32 - k % 32) <= 2"}),
        ("", {"text": "random_blocks(64, 2, 1) | block_window(64, 3)"}),
        ("no tables but of whole blocks", {"text": "random_blocks(64, 2, 1) | past(100)"}),
        ("no tables but of whole blocks", {"text": "random_blocks(64, 2, 1)", "shape": (1, 16, 8192, 64)}),
        ("no data of the call", {"text": "input doc: int[n] pattern p = causal & doc[q] == doc[k]"}),
        ("no data of the call", {"text": f"{SLOPES} pattern p = causal with sloped"}),
        # Heads that read none have the arguments of those that do.
        (
            "no data of the call",
            {"text": "input w: int[H] pattern p = match h { 0 -> past(700), else -> past(w[h]) }", "heads": 4},
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_it_takes(lack: str, case: dict) -> None:
    assert lacks(case_of(**case)) == lack


def test_expanded_keys_are_not_taken(here: None) -> None:
    case = case_of("causal", strides=(0, 1 << 20, 128, 1))
    assert lacks(case) == "tensors that are not expanded"


def test_other_machines_have_none(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setattr(hopper_tier, "known_gluon", lambda: False)
        assert lacks(case_of("causal")) == "Gluon of Triton 3.6 to 3.9"
        without.setattr(hopper_tier, "driver_version", lambda: 11080)
        assert lacks(case_of("causal")) == "a driver for CUDA 12"
    for found in ((8, 0), (10, 0), (0, 0)):
        monkeypatch.setattr(hopper_tier, "capability", lambda device, found=found: found)
        assert lacks(case_of("causal")) == "a GPU of capability 9.0"


@pytest.mark.parametrize(
    ("text", "shape", "chosen"),
    [
        ("k < n", (1, 16, 8192, 128), True),
        ("past(1024)", (1, 16, 32768, 128), True),
        ("past(1024) | sinks(4)", (1, 16, 32768, 128), True),
        ("past(256)", (1, 16, 32768, 128), True),  # a mask in two of three steps
        ("past(128)", (1, 16, 32768, 128), False),
        ("window(512) | global(64)", (1, 16, 32768, 128), True),
        ("window(512) | global(300)", (1, 16, 32768, 128), True),
        ("block_window(64, 3)", (1, 16, 32768, 128), False),  # tiles of 64 keys need no mask
        ("past(4096)", (1, 16, 32768, 64), True),
        ("past(1024)", (1, 16, 32768, 64), False),
        ("past(4096) with softcap(50)", (1, 16, 32768, 128), True),
        ("past(4096) with softcap(70)", (1, 16, 32768, 128), False),  # takes a maximum
        ("past(4096) with softcap(50), alibi", (1, 16, 32768, 128), False),
        ("past(4096) with alibi", (1, 16, 32768, 128), True),
        ("k < n", (1, 16, 8192, 64), True),
        ("causal", (1, 16, 1024, 128), False),
        ("causal", (1, 1, 8192, 128), False),  # 64 tiles for 132 processors
    ],
)
def test_what_is_worth_it(text, shape, chosen, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    program, x = program_of(text), Meta.contiguous(shape, torch.bfloat16, torch.device("cpu"))
    run, kernel = Pass(program, Q=x, K=x, V=x), program.groups[0].at(shape[2]).of("forward")[0]
    assert on_hopper(run, kernel, 0) == chosen
    for tier, forced in (("plain", False), ("hopper", True)):
        monkeypatch.setenv(TIER, tier)
        assert on_hopper(run, kernel, 0) == forced
        assert (gradients_on_hopper(run, 0) is not None) == forced


def test_packed_documents_of_small_heads_are_not_worth_it_backward(here: None) -> None:
    assert slower_without(case_of("causal", (1, 16, 32768, 64), lines=16)) == ""
    case = case_of("causal", (1, 16, 32768, 64), lines=16, kind="dkdv")
    assert slower_without(case) == "a head size above 64, of several sequences"


@pytest.mark.parametrize(
    ("text", "lines", "chosen", "forced"),
    [
        ("causal", 16, True, True),
        ("causal", 64, True, True),
        ("causal", 128, False, True),
        ("causal", 32768, False, False),  # as many as tokens: too many sums of dq
        ("past(1000) | sinks(4)", 16, False, True),  # all queries of a sequence visit one of its tiles of keys
    ],
)
def test_long_documents_are_worth_it(
    text: str, lines: int, chosen: bool, forced: bool, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of the table of sequences."""
    program, x = program_of(text), Meta.contiguous((1, 16, 32768, 128), torch.bfloat16, torch.device("cpu"))
    table = Meta.contiguous((lines, 7), torch.int32, torch.device("cpu"))
    run, kernel = Pass(program, Q=x, K=x, V=x, DO=x, SEQUENCES=table), program.groups[0].at(32768).of("forward")[0]
    assert on_hopper(run, kernel, 0) == (lines <= 64)
    assert (gradients_on_hopper(run, 0) is not None) == chosen
    monkeypatch.setenv(TIER, "hopper")
    assert (gradients_on_hopper(run, 0) is not None) == forced


@pytest.mark.parametrize(
    ("text", "shape", "chosen"),
    [
        ("k < n", (1, 16, 8192, 128), True),
        ("causal", (4, 32, 4096, 96), True),
        ("past(256)", (1, 16, 32768, 128), True),
        ("causal & q % 3 != 0", (1, 16, 8192, 128), False),  # a mask in every step
        ("causal", (1, 16, 8192, 64), True),
        ("past(1024)", (1, 16, 32768, 64), False),
        ("causal", (1, 16, 1024, 128), False),
        ("causal", (1, 1, 8192, 128), False),
        ("past(1024) | sinks(4)", (1, 16, 32768, 128), True),
        ("window(512) | global(64)", (1, 16, 32768, 128), True),
        ("past(4096) with softcap(50)", (1, 16, 32768, 128), True),
        ("past(4096) with alibi", (1, 16, 32768, 128), True),
    ],
)
def test_whose_gradients_are_worth_it(text, shape, chosen, here: None) -> None:
    x = Meta.contiguous(shape, torch.bfloat16, torch.device("cpu"))
    assert (gradients_on_hopper(Pass(program_of(text), Q=x, K=x, V=x, DO=x), 0) is not None) == chosen


@pytest.mark.parametrize("documents", [False, True], ids=["", "documents"])
def test_whose_sums_have_one_order(documents: bool, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """All, unless a call leaves the order free and torch does, too, when gradients are made."""
    monkeypatch.setattr(hopper_backward, "processors", lambda device: 132)
    program, x = program_of("causal"), torch.empty(1, 16, 4096, 128, dtype=torch.bfloat16)
    env = backward_inputs(Call(x, x, x, 1.0), Upstream(x, x, torch.empty(1, 16, 4096)))
    if documents:
        env["SEQUENCES"] = torch.zeros(2, 7, dtype=torch.int32)

    def ordered(deterministic: bool) -> bool:
        run = prepared_backward(program, env, 0, deterministic=deterministic)
        (launch,) = (step for step in run.steps if getattr(step, "kernel", None) is hopper_backward_kernel)
        return launch.arguments[hopper_backward_kernel.arg_names.index("ORDERED")]

    assert (ordered(True), ordered(False)) == (True, False)
    torch.use_deterministic_algorithms(True)
    try:
        assert ordered(True) and ordered(False)
    finally:
        torch.use_deterministic_algorithms(False)
    assert not ordered(False)


def test_other_tiers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIER, "fast")
    program, x = program_of("causal"), Meta.contiguous((1, 16, 8192, 128), torch.bfloat16, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"\[SP0708\] SPARSEC_TIER must be plain or hopper.* got 'fast'"):
        gradients_on_hopper(Pass(program, Q=x, K=x, V=x, DO=x), 0)
    with pytest.raises(SparsecError, match="SP0708"):
        sparsec.compile("pattern p = past(123)")(*torch.zeros(3, 1, 1, 16, 16))


@pytest.mark.parametrize(
    ("lack", "case"),
    [
        ("", {"text": "past(1000) | sinks(4)"}),
        ("", {"text": "window(512) | global(64)"}),
        ("", {"text": "causal with softcap(50), alibi"}),
        ("", {"text": "k < n", "shape": (1, 1, 100, 40), "dtype": torch.float16}),
        ("16-bit types", {"text": "causal", "dtype": torch.float32}),
        ("a head size from 40 to 128", {"text": "causal", "shape": (1, 16, 8192, 192)}),
        ("", {"text": "causal", "lines": 16}),
        ("sequences that are few for their tokens", {"text": "causal", "lines": 8192}),
        ("at most 16,777,216 tiles of pairs", {"text": "causal", "shape": (1, 1, 1 << 19, 128), "lines": 16}),
        ("one region", {"text": "causal & (past(64) | stride(16))"}),
        ("positions as they are", {"text": "causal & stride(64)"}),
        ("ranges of tiles", {"text": "abs(q // 32 - k // 32) <= 2 & abs(q % 32 - k % 32) <= 2"}),
        ("no tables", {"text": "random_blocks(64, 2, 1) | block_window(64, 3)"}),
        ("no data of the call", {"text": "input doc: int[n] pattern p = causal & doc[q] == doc[k]"}),
        ("one pattern for all heads", {"text": "pattern p = match h { 0 -> past(77), else -> causal }", "heads": 2}),
        ("1 to 4,194,304 tiles of pairs", {"text": "causal", "shape": (1, 1, 1 << 20, 128)}),
        ("1 to 4,194,304 tiles of pairs", {"text": "past(9) & q > 9999"}),
    ],
)
@pytest.mark.usefixtures("here")
def test_whose_gradients_it_makes(lack: str, case: dict) -> None:
    assert lacks(case_of(kind="dkdv", **case)) == lack


@pytest.mark.parametrize(
    ("text", "head_size", "dropout_p", "spills"),
    [
        ("past(1000) | sinks(4)", 128, 0.0, (256, 512, 12)),  # in the loop Triton 3.9; 3.6: 1
        pytest.param("k < n", 128, 0.0, (256, 200, 2), marks=pytest.mark.full),
        pytest.param("window(512) | global(64)", 128, 0.0, (512, 512, 10), marks=pytest.mark.full),
        # Triton 3.9: in branches of masks; 3.6: 20
        pytest.param("causal", 64, 0.0, (256, 800, 80), marks=pytest.mark.full),
        pytest.param("past(1000) with alibi", 128, 0.0, (256, 512, 10), marks=pytest.mark.full),
        pytest.param("past(1000)", 256, 0.0, (256,), marks=pytest.mark.full),
        pytest.param("past(1000)", 128, 0.1, (256, 800, 40), marks=pytest.mark.full),  # Triton 3.9; 3.6: 0
    ],
)
def test_what_the_compiler_made(text: str, head_size: int, dropout_p: float, spills: tuple[int, ...]) -> None:
    """`spills`: bytes of the forward kernel, then those of the backward one, and how many are in its loop."""
    if not known_gluon():
        pytest.skip("needs the Gluon of Triton 3.6 to 3.9")
    module, words = module_of(pattern_of(f"pattern p = {text}")), 3 if dropout_p else 2
    options = {"dtype": "bfloat16", "tier": "hopper", "head_size": head_size, "dropout_p": dropout_p}
    found = compile_kernels(module, "sm_90", **options)
    kernels = {kernel.name: kernel for kernel in found if "warp_specialize" in kernel.stages["ttgir"]}
    assert_overlaps(kernels.pop("forward"), head_size, spills[0])
    if head_size <= 128:
        assert_gradients_overlap(kernels.pop("backward"), head_size, words, *spills[1:])
    assert not kernels


def assert_overlaps(kernel: CompiledKernel, head_size: int, spills: int) -> None:
    """Products overlap with the softmax of their own group, and nothing is spilled there; each group has one loop."""
    tiles = HOPPER_TILES[head_size]
    assert not kernel.serialized
    assert kernel.shared <= SHARED
    assert 0 <= kernel.shared - tiles.shared(head_size) < 2048  # numbers and barriers besides
    assert kernel.registers == {2: 168, 3: 128}[tiles.groups]  # of a thread, the mean
    assert kernel.spills <= spills  # around tiles
    products = head_size // 16 + tiles.keys // 16  # instructions of a step
    steps = list(inner_loops(kernel.stages["cubin"], "HGMMA", products))
    assert len(steps) >= tiles.groups  # a loop of each
    for loop in steps[: tiles.groups]:
        exponentials = [at for at, each in enumerate(loop) if "MUFU.EX2" in each]
        waits = [at for at, each in enumerate(loop) if "WARPGROUP.DEPBAR" in each][-2:]
        spilled = [at for at, each in enumerate(loop) if each.split()[0].startswith(("LDL", "STL")) and at > waits[0]]
        assert len(spilled) <= 40  # all of them in branches of masks
        assert sum(at >= exponentials[0] for at in spilled) <= 2  # of steps from a list, by Triton 3.9
        assert waits[0] < exponentials[0]  # for the scores
        # Nearly all stand before the wait for the values.
        assert sum(at < waits[1] for at in exponentials) >= tiles.keys // 2 - 4


def assert_gradients_overlap(kernel: CompiledKernel, head_size: int, words: int, spills: int, in_loop: int) -> None:
    """dv is in flight while weights get their gradients, and dk while dq leaves; little is spilled in the loop.

    `words`: that are kept of each query.
    """
    assert not kernel.serialized
    assert kernel.shared <= SHARED
    assert 0 <= kernel.shared - BACKWARD_TILES[head_size].shared(head_size, words) < 2048
    assert kernel.registers == 168
    assert kernel.spills <= spills
    loops = inner_loops(kernel.stages["cubin"], "HGMMA", PRODUCTS * (2 + head_size // 64))
    exponentials = STEP_QUERIES[head_size] // 2  # of a thread
    steps = [loop for loop in loops if sum("MUFU.EX2" in each for each in loop) == exponentials]
    assert len(steps) >= 2  # a loop of each group
    for loop in steps[:2]:
        assert sum(each.split()[0].startswith(("LDL", "STL")) for each in loop) <= in_loop
        waits = [each.split(",")[-1].strip() for each in loop if "WARPGROUP.DEPBAR" in each]
        # how many products may be in flight: of two halves of the queries, more
        assert waits == [f"0x{count}" for count in ((1, 1, 1, 0) if head_size == 128 else (3, 3, 4, 4, 3, 0))]


@pytest.mark.full
def test_the_joined_library_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one file, functions of the host stand beside kernels, and Triton may take their names for a kernel's own."""
    if not known_gluon():
        pytest.skip("needs the Gluon of Triton 3.6 to 3.9")
    text = standalone(emit(build(pattern_of("pattern p = past(300)"))))
    (tmp_path / "joined_library.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    joined, target = importlib.import_module("joined_library"), TARGETS["sm_90"]
    choose = joined.device_tier.__wrapped__
    monkeypatch.setenv(TIER, "hopper")
    monkeypatch.setattr(joined, "device_tier", lambda _, width: choose(torch.device("cuda", 0), width))
    monkeypatch.setattr(joined, "capability", lambda _: (9, 0))
    monkeypatch.setattr(joined, "processors", lambda _: 132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: target.properties)
    q, program = torch.empty(1, 1, 4096, 128, dtype=torch.bfloat16), joined._PROGRAM
    with offline_compile._driver(target):
        joined.forward_gpu(program, joined.Call(q, q, q, 1.0))
        joined.backward_gpu(program, joined.Call(q, q, q, 1.0), joined.Upstream(q, q, torch.zeros(1, 1, 4096)))
    assert sorted(key[0] for key in program.compiled) == ["backward", "forward", "row_stats"]
