"""The support library as one file."""

from __future__ import annotations

import ast
from collections import Counter

from sparsec.codegen import support


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
