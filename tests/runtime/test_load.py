"""`sparsec.load` and `sparsec.compile`: what they take, what they return, and what becomes of it in torch."""

from __future__ import annotations

import copy
import gc
import importlib.util
import io
import pickle
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparsec
from sparsec.runtime import build_or_load

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGFORMER = EXAMPLES / "longformer.spat"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build_or_load, "_told", set())


def tensors(heads: int = 2, n_q: int = 50, n: int = 50, size: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shapes = [(1, heads, n_q, size), (1, heads, n, size), (1, heads, n, size)]
    return tuple(torch.randn(shape, requires_grad=True) for shape in shapes)


def dense(mask: np.ndarray, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=torch.from_numpy(mask))


# ---------------------------------------------------------------- the README


def test_what_the_readme_shows() -> None:
    attend = sparsec.load(LONGFORMER, w=16, g=3)
    q, k, v = tensors(n_q=40)
    out, lse = attend(q, k, v, return_lse=True)
    torch.testing.assert_close(out, dense(attend.pattern.mask(40, 50), q, k, v))
    assert lse.shape == (1, 2, 40)
    attend(q, k, v, scale=0.1, q_offset=5).sum().backward()
    assert attend.pattern.count(50) == attend.pattern.mask(50, 50).sum()
    assert attend.pattern.count(1_000_000) > 10_000_000  # by formula
    for wrong in (-1, 8.0, "8"):
        for ask in (attend.pattern.count, attend.pattern.mask_mod, attend.pattern.block_mask):
            with pytest.raises(ValueError, match=r"^\[SP0601\] n must be an integer"):
                ask(wrong)
    assert attend.source.startswith('"""Attention over the pattern `longformer`')
    assert repr(attend) == "<sparsec.Attend longformer(w=16, g=3)>"


def test_the_pattern_says_what_it_is() -> None:
    pattern = sparsec.load(str(LONGFORMER), w=16).pattern
    assert (pattern.name, pattern.parameters, pattern.heads) == ("longformer", {"w": 16, "g": 64}, None)
    assert pattern.doc.startswith("Longformer (Beltagy et al., 2020")
    assert pattern.text.startswith("pattern longformer(w = 512")
    with pytest.raises(sparsec.SparsecError, match="SP0605"):
        pattern.mask(5, 4)
    assert pattern.mask(5, 4, q_offset=0).shape == (5, 4)


def test_patterns_of_heads() -> None:
    attend = sparsec.compile("pattern p = match h { 0 -> past(3), else -> causal }", heads=3)
    assert attend.pattern.heads == 3
    mask = attend.pattern.mask(20, 20)
    assert mask.shape == (3, 20, 20)
    assert attend.pattern.count(20) == mask.sum()
    q, k, v = tensors(heads=3, n_q=20, n=20)
    torch.testing.assert_close(attend(q, k, v), dense(mask, q, k, v))
    assert repr(attend) == "<sparsec.Attend p(), heads=3>"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["train", "train_packed"])
def test_the_layer_of_the_examples_learns(name: str) -> None:
    losses = example(name).train(steps=40)
    assert losses[-1] < 0.5 * losses[0]


def test_steps_of_the_examples_are_the_whole() -> None:
    assert example("decode_paged").main(steps=100) < 1e-5


def test_the_vendored_file_of_the_examples_runs(tmp_path: Path) -> None:
    assert example("vendor").vendor(tmp_path) == "attended without sparsec: (1, 2, 50, 16)\n"


# ---------------------------------------------------------------- keywords


def test_patterns_and_layers_are_chosen() -> None:
    text = "pattern a = causal\npattern b(w) = match layer { 0 -> causal, else -> past(w) }"
    assert sparsec.compile(text, pattern="b", layer=1, w=3).pattern.count(10) == 27
    assert sparsec.compile(text, pattern="b", layer=0, w=3).pattern.count(10) == 55
    for keywords in ({}, {"pattern": "c"}, {"pattern": "b"}, {"pattern": "b", "layer": 0}, {"pattern": "a", "w": 1}):
        with pytest.raises(sparsec.SparsecError):
            sparsec.compile(text, **keywords)


def test_parameters_of_any_name() -> None:
    text = "pattern p(parameters, text, path, self) = past(parameters + text + path + self)"
    attend = sparsec.compile(text, text=1, path=1, self=1, parameters={"parameters": 2})
    assert attend.pattern.parameters == {"parameters": 2, "text": 1, "path": 1, "self": 1}
    with pytest.raises(TypeError, match="twice"):
        sparsec.compile(text, text=1, parameters={"text": 2})


@pytest.mark.parametrize(
    ("keywords", "code"),
    [
        ({"w": True}, "SP0211"),
        ({"w": 2.5}, "SP0211"),
        ({"w": "4"}, "SP0211"),
        ({"w": None}, "SP0211"),
        ({"w": 10**5000}, "SP0305"),
        ({"zz": 1}, "SP0208"),
        ({"parameters": {1: 2}}, "SP0208"),
        ({"heads": 0}, "SP0405"),
        ({"heads": "8"}, "SP0405"),
        ({"layer": -1}, "SP0405"),
    ],
)
def test_wrong_keywords_are_diagnostics(keywords: dict, code: str) -> None:
    with pytest.raises(sparsec.SparsecError) as info:
        sparsec.load(LONGFORMER, **keywords)
    assert [item.code for item in info.value.diagnostics] == [code]


@pytest.mark.parametrize("path", ["nowhere.spat", "/", "a\0b", "/dev/zero"])
def test_files_that_cannot_be_read(path: str) -> None:
    with pytest.raises(sparsec.SparsecError, match="SP0701"):
        sparsec.load(path)


def test_a_text_in_the_place_of_a_file() -> None:
    with pytest.raises(sparsec.SparsecError, match=r"SP0701(.|\n)*sparsec.compile takes one"):
        sparsec.load("pattern p = causal")


def test_texts_that_are_none() -> None:
    with pytest.raises(TypeError, match="not bytes"):
        sparsec.compile(b"pattern p = causal")
    for text in ("", "pattern p = \ud800", "pattern p = caus", "\0"):
        with pytest.raises(sparsec.SparsecError):
            sparsec.compile(text)
    assert sparsec.compile("pattern p =\r\n causal\r\n").pattern.count(3) == 6


def test_warnings_come_each_time_and_point_at_the_caller() -> None:
    for _ in range(2):  # compiled, then from the cache
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sparsec.compile("pattern p = sinks(4) | past(8) \\ past(2)")
        [warning] = caught
        assert str(warning.message).startswith("warning[SP0904]: ")
        assert "<text>:1:" in str(warning.message)
        assert warning.filename == __file__


def test_a_cache_that_cannot_be_used_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEC_CACHE", "/dev/null/cache")
    with pytest.warns(UserWarning, match="SP0703"):
        first = sparsec.compile("pattern p = past(3)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = sparsec.compile("pattern p = past(3)")
    q, k, v = tensors()
    assert torch.equal(first(q, k, v), second(q, k, v))


# ---------------------------------------------------------------- one module, in this process and through torch


def test_a_module_is_run_once_in_a_process() -> None:
    loaded: list[sparsec.Attend] = []
    text = "pattern threads = past(7) | sinks(3)"
    threads = [threading.Thread(target=lambda: loaded.append(sparsec.compile(text))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 8
    assert len({each._function for each in loaded}) == 1
    assert loaded[0]._function.__module__ in sys.modules


def test_names_of_patterns_are_free() -> None:
    q, k, v = tensors()
    wanted = sparsec.compile("pattern p = past(5)")(q, k, v)
    for name in ("torch", "lambda", "print", "float", "max", "_check", "tl", "sparsec", "_register", "p" * 300):
        attend = sparsec.compile(f"pattern {name} = past(5)")
        assert torch.equal(attend(q, k, v), wanted), name
        assert attend.pattern.name == name


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = sparsec.compile("pattern p = past(5)")
        self.project = nn.Linear(16, 16)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.attend(self.project(q), k, v)


def test_copies_and_pickles() -> None:
    layer = Layer()
    inputs = tensors()
    wanted = layer(*inputs)
    for other in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(*inputs), wanted)
        assert other.attend.pattern.count(9) == layer.attend.pattern.count(9)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(*inputs), wanted)


@pytest.mark.parametrize("number", [1, 2])
def test_inside_torch_compile(number: int) -> None:
    """A module that holds an operator, and a function that closes over one, without a break in the graph."""
    layer = Layer()
    function = layer if number == 1 else lambda q, k, v: layer.attend(q, k, v) * 2
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (30, 50, 70):
        inputs = tensors(n_q=n, n=n)
        out = compiled(*inputs)
        torch.testing.assert_close(out, function(*inputs))
        out.sum().backward()
        assert all(each.grad is not None for each in inputs)


@pytest.mark.parametrize("name", ["mine.spat", "examples/longformer.spat"])
def test_a_file_name_is_no_text(name):
    with pytest.raises(ValueError, match=r"sparsec\.load reads"):
        sparsec.compile(name)


def test_what_a_pattern_keeps() -> None:
    """A new text keeps its module and operators, as much as the documentation says; the same one keeps nothing more."""

    def kept(w: int) -> int:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        sparsec.compile("pattern kept(w) = past(w) | sinks(3)", w=w)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    sparsec.compile("pattern kept(w) = past(w) | sinks(3)", w=70)  # what only the first one needs
    tracemalloc.start()
    try:
        assert 50_000 < kept(71) < 500_000
        modules = set(sys.modules)
        assert kept(71) < 20_000
        assert set(sys.modules) == modules
    finally:
        tracemalloc.stop()
