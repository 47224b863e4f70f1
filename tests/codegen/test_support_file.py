"""The support library as one file."""

from __future__ import annotations

import ast
import dis
import re
from collections import Counter
from functools import cache
from pathlib import Path
from types import CodeType

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import sparsec
from sparsec import pipeline
from sparsec.codegen import renaming, support
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
            named = (part for target in node.targets for part in ast.walk(target))  # also a, (b, *c) = ...
            found.update(part.id for part in named if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] += 1
    return found


@cache
def library() -> Counter[str]:
    """What all modules of the library define."""
    return sum((defined(support._module(name).body) for name in support.modules()), Counter[str]())


def test_names_of_the_library_differ() -> None:
    """Modules become one file: a name defined in two of them, though private, would be that of the last."""
    assert [name for name, times in library().items() if times > 1] == []


def test_every_module_of_the_library_is_imported() -> None:
    """By another one, and so in the file; or by the package, as those of a step of decoding."""
    package = Path(sparsec.__file__).parent
    there = {path for path in (package / "kernels").rglob("*.py") if path.name != "__init__.py"}
    text = "\n".join(path.read_text() for path in package.rglob("*.py"))
    for path in there:
        *folder, name = path.relative_to(package.parent).with_suffix("").parts
        home = ".".join(folder)
        assert re.search(rf"from {home}\.{name} import|from {home} import {name}\b", text), path


def test_the_file_has_each_module_after_those_that_it_imports() -> None:
    """And all that generated modules have names of."""
    order = support.modules()
    for place, name in enumerate(order):
        assert set(support._module(name).inside) <= set(order[:place]), name
    assert set(support._module("support").inside) <= set(order)


def test_other_names_for_all() -> None:
    """The library with another name for everything at its top: the same byte code, but for those names."""
    text = support._body()
    renamed = renaming.renamed(text, {name: name + OTHER for name in renaming.names(text)})
    same_code(compile(text, "", "exec"), compile(renamed, "", "exec"), renaming.names(text), [])


OTHER = "_by_another_name"
GLOBAL = ("LOAD_GLOBAL", "STORE_GLOBAL", "LOAD_NAME", "STORE_NAME")


def same_code(one: CodeType, other: CodeType, top: frozenset[str], path: list[str]) -> None:
    first, second = instructions(one), instructions(other)
    of_class = {each.argval for each in first if each.opname == "STORE_NAME"} if path else set()
    for before, after in zip(first, second, strict=True):
        assert before.opname == after.opname, path
        if before.opcode in (*dis.hasjrel, *dis.hasjabs):  # how far depends on how many names there are
            continue
        if isinstance(before.argval, CodeType):
            same_code(before.argval, after.argval, top, [*path, before.argval.co_name])
        elif before.opname in GLOBAL:
            new = before.argval in top and before.argval not in of_class
            assert after.argval == before.argval + OTHER * new, path
        else:  # names of functions and annotations are constants
            found = repr(after.argval) if before.opname != "LOAD_CONST" else repr(after.argval).replace(OTHER, "")
            assert found == repr(before.argval), path


def instructions(code: CodeType) -> list[dis.Instruction]:
    return [each for each in dis.get_instructions(code) if each.opname != "EXTENDED_ARG"]


@given(data=st.data())
def test_other_names_in_any_scope(data: st.DataObject) -> None:
    """Names of a scope hide those of the top, each by the rules of Python."""
    text = "\n".join(["x = y = f = 1", *data.draw(statements(3))])
    try:
        code = compile(text, "", "exec")
    except SyntaxError:  # a name that is global after it was used
        assume(False)
    top = renaming.names(text)
    same_code(code, compile(renaming.renamed(text, {name: name + OTHER for name in top}), "", "exec"), top, [])


@st.composite
def statements(draw: st.DrawFn, depth: int) -> list[str]:
    """Lines of Python in which a few names mean something of every scope."""
    name = st.sampled_from("xyf")
    plain = st.sampled_from(
        [
            f"{draw(name)} = [{draw(name)} for {draw(name)} in {draw(name)}], {draw(name)}",
            f"o.{draw(name)} = g({draw(name)}={draw(name)})",
            f"import os as {draw(name)}",
            f"import {draw(name)}",
            f"from m import {draw(name)}",
            f"{draw(name)}(lambda {draw(name)}={draw(name)}: {draw(name)} + {draw(name)})",
            f"print(f'{{{draw(name)}}}')",
            f"{{({draw(name)} := i): {draw(name)} for i in {draw(name)}}}",
        ]
    )
    lines = draw(st.lists(plain, min_size=1, max_size=3))
    if depth:
        head = draw(
            st.sampled_from(
                [
                    f"def {draw(name)}({draw(name)}={draw(name)}, *, z: {draw(name)} = 2):",
                    f"class {draw(name)}({draw(name)}):",
                    f"for {draw(name)} in {draw(name)}:",
                    f"with {draw(name)} as {draw(name)}:",
                ]
            )
        )
        inside = draw(statements(depth - 1))
        if head.startswith("def") and draw(st.booleans()):
            inside = [f"global {draw(name)}", *inside]
        lines += [head, *(f"    {line}" for line in inside)]
    return lines


@pytest.mark.parametrize("name", ["tile_range", "ModuleType"])
def test_patterns_keep_their_names(name: str) -> None:
    """Though the library calls something of its own by them, which the module, or the file, needs."""
    made = pipeline.compile(Source("test", f"pattern {name} = past(9) | sinks(2)"))
    whole = module(support.standalone(made.source), f"file_with_both_{name}")
    q, k, v = torch.randn(3, 1, 2, 70, 16, generator=torch.Generator().manual_seed(0))
    expected = sparsec.compile("pattern p = past(9) | sinks(2)")(q, k, v)
    torch.testing.assert_close(getattr(whole, name)(q, k, v), expected)


def test_a_pattern_called_like_an_argument() -> None:
    """The function that other frameworks are told of is the pattern's, and not what the call gave for the argument."""
    attend = sparsec.compile("pattern scale = past(9)")
    traced = torch.fx.symbolic_trace(lambda q, k, v: attend(q, k, v, scale=0.5))
    q, k, v = torch.randn(3, 1, 2, 20, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(traced(q, k, v), attend(q, k, v, scale=0.5))


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
