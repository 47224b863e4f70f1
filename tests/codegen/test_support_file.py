"""The support library as one file."""

from __future__ import annotations

import ast
import re
from collections import Counter

from sparsec import pipeline
from sparsec.codegen import support
from sparsec.source import Source


def test_names_of_the_library_differ() -> None:
    """Modules become one file: a name defined in two of them, though private, would be that of the last."""
    tops = (node for name in support._MODULES for node in ast.parse(support._source(name)).body)
    found: Counter[str] = Counter()
    for node in tops:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] += 1
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] += 1
    assert [name for name, times in found.items() if times > 1] == []


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
