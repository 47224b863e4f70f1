"""Kernels compile for GPUs that are not there, spill nothing where it was promised, and fit the shared memory."""

from __future__ import annotations

import pytest
from support.generated import EXAMPLES, example, module_of, pattern_of

from sparsec import pipeline
from sparsec.codegen import tuned_files
from sparsec.kernels.hopper.rules import TIER
from sparsec.kernels.launches import prepare
from sparsec.runtime.module import module
from sparsec.runtime.offline_compile import TARGETS, compile_kernels, compile_steps
from sparsec.syntax.read import read

PATTERNS = EXAMPLES.parent / "docs/benchmarks/patterns"
LONG, MIDDLE, SHORT = 8192, 4096, 1024  # lengths that get different kernels on sm_90
TYPES = {"float16": "f16", "bfloat16": "bf16"}


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of the plain tier; tests/runtime/test_hopper.py has the other one's."""
    monkeypatch.setenv(TIER, "plain")


def assert_fits(module, target: str, **call) -> None:
    """Every kernel within the target's shared memory, and no spills on sm_90 at D = 64 and 128 in 16 bits.

    Kernels that look into tables do spill, up to some 400 bytes, and so may those that list tiles, once for each call.
    """
    tables = hasattr(module, "_TABLE_0")
    for kernel in compile_kernels(module, target, **call):
        assert kernel.shared <= TARGETS[target].shared, (kernel.name, target, call)
        if (
            not tables
            and kernel.name not in ("list_tiles", "share_lines")
            and target == "sm_90"
            and call["dtype"] in TYPES
            and call["head_size"] in (64, 128)
        ):
            assert kernel.spills == 0, (kernel.name, kernel.registers, kernel.spills, call)


@pytest.mark.full
@pytest.mark.parametrize("packed", [False, True])
def test_kernels_read_no_variable_after_its_loop(packed: bool) -> None:
    """Its last value is there in the interpreter, and nothing of the kind on a GPU."""
    text = "input doc: int[n] input cls: bool[B, n] pattern p = past(512) & doc[q] == doc[k] | cls[q] | cls[k]"
    kernels = compile_kernels(module_of(pattern_of(text)), "sm_90", head_size=64, n=LONG, packed=packed)
    assert {"list_tiles_of_sequences"} <= {kernel.name for kernel in kernels} if packed else len(kernels) == 8
    for kernel in kernels:
        assert "ub.poison" not in str(kernel.stages["ttir"]), kernel.name


@pytest.mark.full
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "gfx942"])
@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("causal", {}),
        ("causal & (past(128) | stride(128))", {"rows": 3, "page": None}),
        ("past(20) | causal & k // 32 % 3 == 0", {"head_size": 64, "dtype": "float16"}),
        ("past(40) | causal & random_past_blocks(32, 2, 1)", {}),
        ("past(64) with softcap(30), alibi", {"head_size": 256, "heads": 8}),
    ],
)
def test_steps_of_decoding(text: str, call: dict, target: str) -> None:
    steps = module(pipeline.steps(pattern_of(f"pattern p = {text}")), f"steps_{abs(hash(text))}")
    for kernel in compile_steps(steps, target, **call):
        assert kernel.shared <= TARGETS[target].shared, kernel.name
        assert kernel.spills == 0 or target != "sm_90", kernel.name
        assert "ub.poison" not in str(kernel.stages["ttir"]), kernel.name


@pytest.mark.full
def test_products_of_packed_documents_overlap() -> None:
    """Registers are spilled around loops at most."""
    module = module_of(pattern_of("pattern p = causal"))
    for kernel in compile_kernels(module, "sm_90", head_size=128, dtype="bfloat16", n=LONG, packed=True):
        assert kernel.shared <= TARGETS["sm_90"].shared, kernel.name
        assert not kernel.serialized, kernel.name
        assert kernel.spills <= (512 if kernel.name == "dkdv" else 0), (kernel.name, kernel.spills)


@pytest.mark.parametrize("head_size", [pytest.param(64, marks=pytest.mark.full), 128])
@pytest.mark.parametrize(
    "name",
    ["mistral", *(pytest.param(name, marks=pytest.mark.full) for name in ("longformer", "sparse_transformer_strided"))],
)
def test_no_spills_on_sm_90(name, head_size):
    module = module_of(example(name))
    assert_fits(module, "sm_90", head_size=head_size, dtype="float16", n=LONG)
    assert_fits(module, "sm_90", head_size=head_size, dtype="bfloat16", n=MIDDLE)
    assert_fits(module, "sm_90", head_size=head_size, dtype="bfloat16", n=SHORT, group=4)


@pytest.mark.parametrize("head_size", [pytest.param(64, marks=pytest.mark.full), 128])
@pytest.mark.parametrize("target", ["sm_80", pytest.param("sm_100", marks=pytest.mark.full), "gfx942"])
def test_other_targets(target, head_size):
    assert_fits(module_of(example("longformer")), target, head_size=head_size, dtype="bfloat16")


@pytest.mark.full
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "gfx942"])
def test_kernels_that_read_data(target):
    """Those of documents, and of question tokens, with the kernels that list their tiles."""
    text = "input doc: int[n] input cls: bool[B, n] pattern p = past(512) & doc[q] == doc[k] | cls[q] | cls[k]"
    module = module_of(pattern_of(text))
    names = [kernel.name for kernel in compile_kernels(module, target, head_size=64, dtype="bfloat16", group=4)]
    shared = ["combine_splits", "reduce_splits", "share_lines"]
    assert sorted(set(names)) == sorted(["dkdv", "dq", "forward", "list_tiles", *shared])
    if target == "sm_90":
        assert_fits(module, target, head_size=64, dtype="bfloat16")


def test_stages():
    """Text and device code of every stage, under the kernel's name, in the types of the call."""
    module = module_of(pattern_of("pattern p = match h { 0 -> causal, else -> past(9) }", 2))
    for target, (text, binary) in {"sm_90": ("ptx", "cubin"), "gfx942": ("amdgcn", "hsaco")}.items():
        kernels = compile_kernels(module, target, head_size=16, dtype="bfloat16")
        names = [f"{kernel}_{part}" for kernel in ("forward", "dq", "dkdv") for part in (0, 1)]
        assert sorted(kernel.name for kernel in kernels) == sorted(names)
        for kernel in kernels:
            assert kernel.name in kernel.stages[text]
            assert isinstance(kernel.stages[binary], bytes)
            assert "bf16" in kernel.stages["ttir"]
            assert kernel.registers > 0


def test_the_driver_is_put_back():
    """Afterwards triton looks for this machine's own driver again; a later target is not taken for the first."""
    import torch
    import triton

    module = module_of(example("mistral"))
    first = compile_kernels(module, "sm_80", head_size=16)
    assert ".target sm_80" in first[0].stages["ptx"]
    assert ".target sm_90" in compile_kernels(module, "sm_90", head_size=16)[0].stages["ptx"]
    if torch.cuda.is_available():
        assert triton.runtime.driver.active.get_current_target().backend in ("cuda", "hip")
    else:
        with pytest.raises(RuntimeError, match="0 active drivers"):
            _ = triton.runtime.driver.active


@pytest.mark.full
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.spat")))
def test_every_example(name, target):
    module = module_of(example(name, heads=8, layer=7))
    for head_size in (16, 64, 80, 128, 256):
        for dtype in ("float16", "bfloat16", "float32"):
            for n in (LONG, SHORT) if target in ("sm_90", "sm_100") and dtype != "float32" else (LONG,):
                assert_fits(module, target, head_size=head_size, dtype=dtype, n=n)


@pytest.mark.full
@pytest.mark.parametrize("head_size", [64, 128])
@pytest.mark.parametrize("path", sorted(PATTERNS.glob("*.spat")), ids=lambda path: path.stem)
def test_tuned_settings_spill_no_more_than_usual(path, head_size, monkeypatch):
    """Those that come with sparsec for GPUs of sm_90."""
    made = pipeline.compile(read(str(path)), heads=16, tuned=tuned_files.packaged())
    tuned = module(made.source, f"tuned_{path.stem}")
    gpus = {key[0] for key in tuned._PROGRAM.tuned if "H200" in key[0] or "H100" in key[0]}
    if not gpus:
        pytest.skip("nothing is tuned for it")
    call = {"head_size": head_size, "dtype": "bfloat16", "n": 32768}
    usual = {kernel.name: kernel.spills for kernel in compile_kernels(tuned, "sm_90", **call)}
    for gpu in gpus:
        monkeypatch.setattr(prepare, "gpu_name", lambda device, gpu=gpu: gpu)
        for kernel in compile_kernels(tuned, "sm_90", **call):
            assert kernel.spills <= usual[kernel.name], (gpu, kernel.name)
            assert kernel.shared <= TARGETS["sm_90"].shared


@pytest.mark.full
@pytest.mark.parametrize("head_size", [64, 128])
def test_keys_share_the_first_step_of_dropout(head_size: int) -> None:
    """Four keys forward and for dq, two for dk and dv: as many multiplications by MIX as that leaves of all pairs."""
    module, shared = module_of(pattern_of("pattern p = past(4096)")), {"forward": 4, "dq": 4, "dkdv": 2}
    call = {"head_size": head_size, "dtype": "bfloat16", "n": LONG}
    assert_fits(module, "sm_90", **call, dropout_p=0.1)
    for kernel in compile_kernels(module, "sm_90", **call, dropout_p=0.1):
        code = kernel.stages["ptx"]
        pairs = code.count("ex2.approx") // 32 * 32  # one for each pair of a thread, and few for rows
        assert code.count(f", {0x21F0AAAD};") == pairs // shared[kernel.name], kernel.name
