"""Generated files define every name that they use: what a template calls, it prints."""

from __future__ import annotations

import ast
import builtins

import pytest
from support.generated import pattern_of

from sparsec import pipeline
from sparsec.codegen.emit import emit
from sparsec.plan.build import build

TEXTS = [
    "pattern p = past(100) with softcap(5), alibi",
    "pattern p = window(100) | global(3) with alibi",
    "pattern p = past(100 * (h + 1)) with softcap(5 + h), alibi",
    "pattern p = causal & (past(64) | stride(64)) with alibi",
    "input b: float[H] score x = s - b * abs(q - k) pattern p = past(150) | sinks(4) with x",
    "input t: float[H, d] score near = s + t[min(q - k, 127)] pattern p = past(150) with near",
    "input doc: int[n] pattern p = causal & doc[q] == doc[k]",
    "pattern p = causal & past(64) | sinks(4) | top_blocks(4, 64, bq = 64, among = causal)",
    "pattern p = block_window(64, 3) | global(64) | random_blocks(64, 3, 0)",
    "pattern p = causal & (past(32) | lsh(buckets = 16, rounds = 2, chunk = 32, seed = 1))",
]


def undefined(text: str) -> set[str]:
    """Names that some function loads, and neither it nor the module nor Python defines."""
    module = ast.parse(text)
    top = {name for statement in module.body for name in _bound(statement)} | set(dir(builtins))
    found = set()
    for function in (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.Lambda)):
        own = {name for node in ast.iter_child_nodes(function) for name in _bound(node)}
        found |= {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} - own - top
    return found


def _bound(statement: ast.AST) -> set[str]:
    """Names that a statement binds, those within functions left out."""
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {each.asname or each.name.split(".")[0] for each in names}
        case ast.Name(id=name, ctx=ast.Store()):
            return {name}
    return {name for part in ast.iter_child_nodes(statement) for name in _bound(part)}


def test_a_missing_name_is_seen() -> None:
    assert undefined("def f(x):\n    return g(x)\n") == {"g"}


@pytest.mark.parametrize("text", TEXTS)
def test_every_name_is_defined(text: str) -> None:
    pattern = pattern_of(text, heads=4 if "(h + 1)" in text else None)
    assert undefined(emit(build(pattern))) == set()
    if not any(word in text for word in ("input", "top_blocks", "lsh")):  # a step reads no data of the call
        assert undefined(pipeline.steps(pattern)) == set()
