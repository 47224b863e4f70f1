"""The support library as one file."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from sparsec import kernels, pipeline
from sparsec.codegen import support
from sparsec.runtime.module import module
from sparsec.source import Source

EXPECTED = Path(__file__).parent / "expected"


def defined(source: str) -> Counter[str]:
    """What a module defines at its top, and how often."""
    found: Counter[str] = Counter()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] += 1
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] += 1
    return found


def library() -> Counter[str]:
    """What all modules of the library define."""
    return sum((defined(support._source(name)) for name in support._MODULES), Counter[str]())


def test_names_of_the_library_differ() -> None:
    """Modules become one file: a name defined in two of them, though private, would be that of the last."""
    assert [name for name, times in library().items() if times > 1] == []


def test_every_module_of_the_library_is_in_the_file() -> None:
    there = {path.stem for path in Path(kernels.__file__).parent.glob("*.py")} - {"__init__", "support"}
    assert sorted(support._MODULES) == sorted(there)


@pytest.mark.parametrize("path", sorted(EXPECTED.glob("*.py")), ids=lambda path: path.stem)
def test_names_of_modules_are_no_names_of_the_library(path: Path) -> None:
    """In a file with both, the module's would take the place of the library's."""
    assert defined(path.read_text()).keys() & library().keys() == set()


def test_a_decoding_step_of_a_file_with_both() -> None:
    made = pipeline.compile(Source("test", "pattern p = past(9) | sinks(2)"))
    whole = module(support.standalone(made.source), "file_with_both")
    q, k, v = torch.randn(3, 1, 2, 70, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole.p(q[:, :, -1:], k, v), whole.p(q, k, v)[:, :, -1:])


def test_the_operator_is_that_of_a_library(monkeypatch) -> None:
    """Files of two versions may stand in one process: each has an operator of its own, also for one pattern."""
    made = pipeline.compile(Source("test", "pattern p = past(9)")).source
    names = set()
    for version in (support.version(), "of another"):
        monkeypatch.setattr(support, "version", lambda version=version: version)
        for text in (support.standalone(made), support.beside(made, "p")):
            (name,) = re.findall(r'sk\.Operator\("(.*?)"', text)
            names.add(name)
            assert name.endswith(f"_{version}")
    assert len(names) == 2
