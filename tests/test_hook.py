"""Imports of .spat files: what is found, what is left alone, and what the modules hold."""

from __future__ import annotations

import importlib
import inspect
import linecache
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from sparsec import hook
from sparsec.diagnostics import SparsecError

TEXT = '''"""The last w keys."""
pattern near(w = 4) = past(w)

set helper = causal

pattern by_head = past(h + 1) & helper
pattern wanting(w) = past(w)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty folder on sys.path; modules imported from it are forgotten again."""
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def patterns(folder: Path):
    (folder / "own_patterns.spat").write_text(TEXT)
    return importlib.import_module("own_patterns")


def test_a_module_has_the_patterns_of_its_file(patterns, folder) -> None:
    assert patterns.__all__ == ["near", "by_head", "wanting"]
    assert not hasattr(patterns, "helper")
    assert patterns.__file__ == str(folder / "own_patterns.spat")
    assert patterns.__spec__.origin == patterns.__file__
    assert patterns.__doc__.startswith("Patterns of own_patterns.spat.\n\nnear(w = 4)\n\nThe last w keys.")
    assert patterns.near.__doc__ == "near(w = 4)\n\nThe last w keys."
    assert inspect.getsource(patterns) == TEXT
    assert linecache.getline(patterns.__file__, 2) == "pattern near(w = 4) = past(w)\n"


def test_operators_attend(patterns) -> None:
    import torch

    q, k, v = torch.randn(3, 1, 2, 9, 16).unbind()
    assert patterns.near.pattern.count(9) == 4 * 9 - 6
    mask = torch.from_numpy(patterns.near.pattern.mask(9, 9))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(patterns.near(q, k, v), expected)
    out, lse = patterns.by_head.bind(heads=2)(q, k, v, return_lse=True)
    assert (out.shape, lse.shape) == (q.shape, q.shape[:-1])


def test_bind_makes_another_operator(patterns) -> None:
    assert patterns.near.bind(w=2).pattern.parameters == {"w": 2}
    assert patterns.near.pattern.parameters == {"w": 4}
    assert patterns.wanting.bind(w=3).bind(w=5).pattern.parameters == {"w": 5}
    for wrong, code in (
        (patterns.wanting, "SP0209"),
        (patterns.by_head, "SP0401"),
        (patterns.near.bind(u=1), "SP0208"),
    ):
        with pytest.raises(SparsecError, match=code):
            wrong.pattern  # noqa: B018


def test_threads_share_one_operator(patterns) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        assert len({id(each) for each in pool.map(lambda _: patterns.near.attend, range(8))}) == 1


def test_operators_can_be_pickled(patterns) -> None:
    again = pickle.loads(pickle.dumps(patterns.near.bind(w=7)))
    assert again.pattern.parameters == {"w": 7}
    assert repr(again) == f"<sparsec.hook.Operator near(w=7) of {patterns.__file__!r}>"


def test_packages_and_relative_use(folder: Path) -> None:
    (folder / "own_package/inside").mkdir(parents=True)
    (folder / "own_package/__init__.py").write_text("from .masks import wide\n")
    (folder / "own_package/inside/__init__.py").write_text("")
    (folder / "own_package/masks.spat").write_text('use "inside/deep.spat"\npattern wide = deep_set(3)\n')
    (folder / "own_package/inside/deep.spat").write_text("set deep_set(w) = past(w)\npattern deep = deep_set(2)\n")
    package = importlib.import_module("own_package")
    assert package.wide.__module__ == "own_package.masks"
    assert package.wide.pattern.count(10) == 27
    assert importlib.import_module("own_package.inside.deep").deep.pattern.count(10) == 19


def test_reload_reads_the_file_again(patterns, folder: Path) -> None:
    old = patterns.near
    (folder / "own_patterns.spat").write_text("pattern near(w = 2) = past(w)\n")
    assert importlib.reload(patterns) is patterns
    assert patterns.near.pattern.parameters == {"w": 2}
    assert old.pattern.parameters == {"w": 4}, "a text stays what it was when it was imported"


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"pattern p = causal\npattern q2 = pas(3)\n", "SP0201", 2),
        (b"pattern p = causal & & full\n", "SP0104", 1),
        (b"pattern p = causal # \xff\n", "SP0101", None),
    ],
)
def test_errors_say_where(folder: Path, content: bytes, code: str, line: int | None) -> None:
    (folder / "own_broken.spat").write_bytes(content)
    with pytest.raises(hook.PatternSyntaxError, match=code) as info:
        importlib.import_module("own_broken")
    assert isinstance(info.value, SyntaxError)
    assert isinstance(info.value, SparsecError)
    assert info.value.lineno == line
    assert code in info.value.msg
    assert "own_broken" not in sys.modules


def test_a_file_that_vanishes_is_an_import_error(folder: Path) -> None:
    spec = hook.SpatFinder().find_spec("own_patterns", [str(folder)])
    assert spec is None
    with pytest.raises(ImportError, match="SP0701"):
        hook.SpatLoader(str(folder / "gone.spat")).get_source("gone")


def test_ordinary_imports_come_first(folder: Path) -> None:
    (folder / "own_both.spat").write_text("pattern p = causal\n")
    (folder / "own_both.py").write_text("p = 3\n")
    assert importlib.import_module("own_both").p == 3
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("own_nothing")


def test_twice_is_harmless() -> None:
    before = sorted(type(each).__name__ for each in sys.meta_path)
    importlib.import_module("sparsec.hook")
    importlib.reload(hook)
    assert sorted(type(each).__name__ for each in sys.meta_path) == before
    assert before.count("SpatFinder") == 1


def test_no_torch_before_the_first_call(folder: Path) -> None:
    (folder / "own_patterns.spat").write_text(TEXT)
    code = "import sys, sparsec.hook; from own_patterns import near; near.bind(w=2); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_first_use_within_torch_compile(folder: Path):
    """It leaves the graph once, and says so where it may not; compiled before, it is part of the graph."""
    import torch

    (folder / "spat_cold.spat").write_text("pattern near(w = 4) = past(w) & q % 9 != 5")
    near = importlib.import_module("spat_cold").near
    q = torch.rand(1, 2, 12, 16)
    whole = torch.compile(lambda q: near(q, q, q) * 2, fullgraph=True, backend="eager")
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="for fullgraph=True, call it before"):
        whole(q)
    torch._dynamo.reset()
    cold = torch.compile(lambda q: near(q, q, q) * 2, backend="eager")(q)
    assert torch.equal(whole(q), cold)
    assert torch.equal(near(q, q, q) * 2, cold)


def test_foreign_arguments_say_so(folder: Path):
    import torch

    (folder / "spat_call.spat").write_text("pattern near(w = 4) = past(w)")
    q = torch.rand(1, 2, 12, 16)
    with pytest.raises(TypeError, match=r"^\[SP0611\]"):
        importlib.import_module("spat_call").near(q, q, q, is_causal=True)
