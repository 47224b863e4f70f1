"""Tuned settings: files are checked, modules carry their own, kernels of a kind share them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.generated import EXAMPLES, example, module_of

from sparsec import pipeline
from sparsec.codegen import tuned_files
from sparsec.codegen.emit import emit, kernels_of
from sparsec.codegen.shape import named_shapes
from sparsec.codegen.tuned import EMPTY, Place, Tuned
from sparsec.diagnostics import SparsecError
from sparsec.kernels.launches import prepare
from sparsec.kernels.launches.launch import Meta
from sparsec.kernels.machine.settings import KERNELS, SETTINGS
from sparsec.plan.build import build
from sparsec.runtime.build_or_load import Chosen, fetch
from sparsec.runtime.module import module
from sparsec.source import Source

SETTING = (128, 32, 8, 2, None)
WORD = "contiguous.alone.r1.s16"
PLACE = Place("Some GPU", "tma", "bf16", 128, "forward", WORD)
PAST = Source("p", "pattern p = past(1024)")


def words(name: str, **chosen) -> dict[str, str]:
    """The shapes of an example's kernels by their names."""
    plan = build(example(name, **chosen))
    return {name: word for name, _, word in named_shapes(plan, kernels_of(plan).groups)}


# ---------------------------------------------------------------- shapes


def test_shapes_by_work():
    assert words("mistral")["forward"] == "contiguous.alone.r1.s64"
    assert words("mistral", w=1024)["forward"] == WORD
    assert words("mistral", w=1100) == words("mistral", w=1024)
    assert words("mistral", w=300)["dkdv"] == "contiguous.alone.r1.s4"


def test_shapes_by_layout():
    strided = words("sparse_transformer_strided")
    assert strided["forward_1_a"] == "contiguous.first.r1.s1"
    assert strided["forward_1_b"].startswith("residue.last.")
    fixed = words("sparse_transformer_fixed")
    assert any(word.startswith("gathered.") for word in fixed.values())
    assert "t64" in words("bigbird")["forward"]
    assert words("longformer")["dq"].endswith(".split")
    assert all(word.endswith(".heads") for word in words("longnet_heads", heads=8).values())


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.spat")))
def test_every_kernel_has_one(name):
    found = words(name, heads=8, layer=0)
    program = module_of(example(name, heads=8, layer=0))._PROGRAM
    variants = [variant for group in program.groups for variant in group.variants]
    assert found.keys() == {kernel.name for variant in variants for kernel in variant.kernels}
    for word in found.values():
        assert tuned_files._SHAPE.fullmatch(word)


# ---------------------------------------------------------------- modules


def test_a_module_carries_its_own():
    other = replace(PLACE, shape="contiguous.alone.r1.s1")
    made = pipeline.compile(PAST, tuned=Tuned({PLACE: SETTING, other: SETTING}))
    assert made.source.count("Some GPU") == 1
    assert '    ("Some GPU", "tma", torch.bfloat16, 128, "forward"): (128, 32, 8, 2, None),\n' in made.source
    assert pipeline.compile(PAST, tuned=Tuned({other: SETTING})).source == pipeline.compile(PAST, tuned=Tuned()).source


def test_lint_clean(tmp_path):
    import subprocess
    import sys

    (tmp_path / "made.py").write_text(emit(build(example("mistral", w=1024)), tuned=Tuned({PLACE: SETTING})))
    for command in (["check", "--line-length=120"], ["format", "--check", "--line-length=120"]):
        run = subprocess.run([sys.executable, "-m", "ruff", *command, tmp_path], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("gpu", "dtype", "size", "kernel", "tuned"),
    [
        ("Some GPU", torch.bfloat16, 128, "forward", True),
        ("Some GPU", torch.bfloat16, 104, "forward", True),  # rounded up
        ("Some GPU", torch.bfloat16, 64, "forward", False),
        ("Some GPU", torch.float16, 128, "forward", False),
        ("Some GPU", torch.bfloat16, 128, "dq", False),
        ("Another GPU", torch.bfloat16, 128, "forward", False),
    ],
)
def test_what_a_launch_takes(monkeypatch, gpu, dtype, size, kernel, tuned):
    """On its GPU, for its type, size and kernel the tuned setting; else the table's."""
    made = pipeline.compile(PAST, tuned=Tuned({PLACE: SETTING}))
    program = module(made.source, "tuned_under_test")._PROGRAM
    monkeypatch.setattr(prepare, "device_tier", lambda device, width: "tma")
    monkeypatch.setattr(prepare, "gpu_name", lambda device: gpu)
    (launched,) = program.groups[0].at(4096).of(kernel)
    q = Meta.of(torch.empty(1, 1, 4096, size, dtype=dtype))
    made = prepare.prepare_launch(program, launched, {"Q": q}, {"K": q, "V": q}, 0)
    found = (*made.blocks, made.options["num_warps"], made.options["num_stages"], made.options.get("maxnreg"))
    usual = getattr(SETTINGS["tma", 2, 1 << (size - 1).bit_length()], kernel)
    assert found == (SETTING if tuned else usual)


# ---------------------------------------------------------------- files


def entry(**other) -> dict:
    return {name: getattr(PLACE, name) for name in Place.__slots__} | {"setting": list(SETTING)} | other


def data(*entries: dict) -> bytes:
    return json.dumps({"format": 1, "settings": entries}).encode()


places = st.builds(
    Place,
    gpu=st.sampled_from(["Some GPU", "AMD Instinct MI300X", "x" * 80]),
    tier=st.sampled_from(["large", "small"]),
    dtype=st.sampled_from(["fp32", "fp16", "bf16"]),
    head_size=st.sampled_from([16, 32, 64, 128, 256]),
    kernel=st.sampled_from(KERNELS),
    shape=st.from_regex(r"[a-z0-9]+(\.[a-z0-9]+){0,4}", fullmatch=True),
)
any_setting = st.tuples(
    st.sampled_from([16, 32, 64, 128]),
    st.sampled_from([16, 64, 256]),
    st.sampled_from([1, 4, 8]),
    st.integers(1, 8),
    st.none() | st.sampled_from([24, 128, 248]),
)


@given(st.dictionaries(places, any_setting, max_size=5), st.booleans())
def test_round_trip(settings, noted):
    tuned = Tuned(settings, {place: {"n": 32768} for place in settings} if noted else {})
    text = tuned.rendered()
    assert tuned_files.parse(text.encode(), "t.json") == tuned
    assert text.count("\n") == (len(settings) + 2 if settings else 1)


def test_the_upper_file_wins():
    other = replace(PLACE, kernel="dq")
    lower = Tuned({PLACE: (64, 64, 4, 2, None), other: SETTING}, {PLACE: {"n": 1}, other: {"n": 2}})
    assert Tuned({PLACE: SETTING}).over(lower) == Tuned({PLACE: SETTING, other: SETTING}, {other: {"n": 2}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it must be {"),
        (b'{"format": 1}', "it must be {"),
        (b'{"format": 2, "settings": []}', "its format is 2, and this sparsec reads 1"),
        (b'{"format": true, "settings": []}', "its format is True"),
        (b'{"format": 1, "settings": {}}', "`settings` must be a list"),
        (data([]), "entry 1: its fields must be"),
        (data(entry(speed=3)), "entry 1: its fields must be"),
        (data(entry(), entry()), "entry 2: an entry before it is for the same kernel"),
        (data(entry(), entry(head_size=100)), "entry 2: `head_size` must be one of 16, 32, 64, 128, 256"),
        (data(entry(head_size=128.0)), "`head_size` must be"),
        (data(entry(kernel=["dq"])), "`kernel` must be one of forward, dq, dkdv"),
        (data(entry(gpu='x"): 0}; import os #')), "`gpu` is no name"),
        (data(entry(gpu="x" * 81)), "`gpu` is no name"),
        (data(entry(shape="")), "`shape` is no name"),
        (data(entry(dtype="fp32")), "tier tma is not for fp32"),
        (data(entry(measured=3)), "`measured` must be an object"),
        (data(entry(setting=[64, 64, 4, 3])), "`setting` must be [BLOCK_M"),
        (data(entry(setting="64,64")), "`setting` must be [BLOCK_M"),
        (data(entry(setting=[256, 64, 4, 3, None])), "BLOCK_M must be one of 16, 32, 64, 128"),
        (data(entry(setting=[64, 48, 4, 3, None])), "BLOCK_N must be"),
        (data(entry(setting=[64, 64, True, 3, None])), "warps must be"),
        (data(entry(setting=[64, 64, 4, 0, None])), "stages must be one of 1 to 8"),
        (
            data(entry(setting=[64, 64, 4, 3, 100])),
            "registers must be one of null and the multiples of 8 from 24 to 248",
        ),
    ],
)
def test_wrong_files(content, said):
    with pytest.raises(SparsecError) as caught:
        tuned_files.parse(content, "t.json")
    assert str(caught.value).startswith("error[SP0706]: `t.json`")
    assert said in str(caught.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), st.lists, max_leaves=8))
def test_any_json_is_answered(value):
    for content in (value, {"format": 1, "settings": value}, {"format": 1, "settings": [entry(setting=value)]}):
        try:
            tuned_files.parse(json.dumps(content).encode(), "t.json")
        except SparsecError as error:
            assert error.diagnostics[0].code == "SP0706"


def test_the_packages_own_file_is_sound():
    assert tuned_files.known(b"") == tuned_files.packaged()
    assert tuned_files.parse(EMPTY.encode(), "t.json") == Tuned()


def test_where_a_users_file_is(monkeypatch, tmp_path):
    assert tuned_files.own_path() is None  # as tests/conftest.py sets it
    monkeypatch.setenv("SPARSEC_TUNED", str(tmp_path / "mine.json"))
    assert tuned_files.own_path() == tmp_path / "mine.json"
    monkeypatch.delenv("SPARSEC_TUNED")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert tuned_files.own_path().name == "tuned.json"
    assert tuned_files.read(tmp_path / "nothing") == tuned_files.read(None) == b""
    with pytest.raises(SparsecError, match="SP0701"):
        tuned_files.read(tmp_path)


def test_a_changed_file_makes_a_new_module(monkeypatch, tmp_path):
    """What was compiled with other settings is not taken from the cache, and is found again when they come back."""
    path = tmp_path / "tuned.json"
    monkeypatch.setenv("SPARSEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPARSEC_TUNED", str(path))

    def text() -> str:
        return fetch(PAST.name, PAST.text, Chosen()).text

    first = text()
    path.write_bytes(data(entry()))
    tuned = text()
    assert "Some GPU" not in first
    assert "Some GPU" in tuned
    path.write_bytes(data(entry(setting=[64, 32, 4, 2, None])))
    assert text() not in (first, tuned)
    path.unlink()
    monkeypatch.setattr(pipeline, "compile", None)
    assert text() == first
    path.write_bytes(data(entry()))
    assert text() == tuned


def test_a_broken_file_is_said_to_be(monkeypatch, tmp_path):
    (tmp_path / "tuned.json").write_text("{")
    monkeypatch.setenv("SPARSEC_TUNED", str(tmp_path / "tuned.json"))
    with pytest.raises(SparsecError, match="SP0706"):
        pipeline.compile(PAST)
