"""The compiler as a whole: its stages, its speed, and that no text of a user becomes code."""

from __future__ import annotations

import ast
import builtins
import io
import subprocess
import sys
import time
import tokenize
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsec import pipeline
from sparsec.codegen.emit import function_name
from sparsec.diagnostics import SparsecError
from sparsec.source import Source

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.spat"))
STAGES = ["parse", "lower", "plan", "picture", "emit"]


def compiled(text: str, **chosen) -> pipeline.Compiled:
    return pipeline.compile(Source("p.spat", text), **chosen)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_go_through_quickly(
    path: Path, monkeypatch: pytest.MonkeyPatch, in_time: Callable[[float, float], None]
) -> None:
    monkeypatch.setattr(pipeline, "perf_counter", time.process_time)  # other tests run beside it
    source = Source(str(path), path.read_text())
    runs = [pipeline.compile(source, heads=8, layer=0) for _ in range(2)]
    assert len({made.source for made in runs}) == 1, "the same text gives the same bytes"
    assert list(runs[0].seconds) == STAGES
    ast.parse(runs[0].source)
    seconds = min(sum(made.seconds[stage] for stage in ("parse", "lower", "plan")) for made in runs)
    in_time(seconds, 0.1 * len(runs[0].pattern.conditions))


def test_compiling_loads_neither_torch_nor_sympy() -> None:
    code = (
        "import sys\nfrom sparsec import pipeline\nfrom sparsec.source import Source\n"
        "pipeline.compile(Source('p', 'pattern p = past(4) | sinks(2)'))\n"
        "print({'torch', 'triton', 'sympy', 'rich'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_pictures_stand_at_the_top() -> None:
    one = compiled("pattern p = past(64)")
    assert "# ++" in one.source
    four = compiled("pattern p = past(2 ** h)", heads=6)
    assert "# heads 3\n" in four.source
    assert "# and 2 more\n" in four.source


# ---------------------------------------------------------------- hostile texts

MARK = "HOSTILE"
TEXTS = [
    f'pattern p = causal # """ {MARK}()',
    f"pattern p = causal # ''' {MARK} \\",
    f"pattern p =\n    # \\\n    # {{{{ {MARK} }}}} {{% include '{MARK}' %}} {{# {MARK}\n    causal",
    f"pattern p =\n    # fmt: off\n    # type: ignore {MARK}\n    # -*- coding: {MARK} -*-\n    causal",
    f'"""{MARK} \\""" \\n {{{{ 1 }}}} \'\'\' # """\npattern p = causal',
    f'"{MARK}\\" + {MARK}() + \\""\npattern p = causal',
    f"set {MARK}(x) = past(x)\npattern p = {MARK}(4)",
    f"pattern p({MARK} = 4) = past({MARK})",
    f"pattern p = causal # \x0c{MARK} \u2028{MARK}() \x85{MARK}()",
    f"pattern p = causal # \r{MARK}()",
    f"pattern p = causal # {'x' * 300} {MARK}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_users_reach_only_comments(text: str) -> None:
    try:
        source = compiled(text).source
    except SparsecError as error:  # odd characters are refused
        assert {item.code for item in error.diagnostics} == {"SP0102"}
        return
    code, docstring = code_of(source)
    assert MARK not in code
    assert docstring.count("\n") < 6
    assert max(map(len, source.splitlines())) < 200


def code_of(source: str) -> tuple[str, str]:
    """All of a module but its comments and its docstring, which may name parameters; and the docstring."""
    docstring = ast.get_docstring(ast.parse(source), clean=False)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    parts = [token.string for token in tokens if token.type not in (tokenize.COMMENT, tokenize.NL)]
    assert ast.literal_eval(parts[0]) == docstring
    return "\n".join(parts[1:]), docstring


NAMES = "torch triton tl functools SimpleNamespace TensorDescriptor LOG2_E sparsec self __name__ _Attention _check"
NAMES += " _register _forward_cpu lambda None case type print float max range " + "p" * 300


@pytest.mark.parametrize("name", NAMES.split())
def test_names_hide_nothing(name: str) -> None:
    plain, other = (compiled(f"pattern {each} = causal") for each in ("p", name))
    assert other.function == function_name(name)
    body = ast.parse(other.source).body
    bound = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not overload(node)]
    assert bound.count(other.function) == 1
    assert other.function not in module_names(plain.source) | set(dir(builtins))


def overload(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a function stands there for type checkers alone."""
    return [ast.unparse(each) for each in node.decorator_list] == ["overload"]


def module_names(source: str) -> set[str]:
    """What a module binds at its top level."""
    return {
        node.id if isinstance(node, ast.Name) else node.name.split(".")[0]
        for statement in ast.parse(source).body
        for node in ast.walk(statement)
        if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        or isinstance(node, ast.FunctionDef | ast.ClassDef | ast.alias)
    } - {"p"}
