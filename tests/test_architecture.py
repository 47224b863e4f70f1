"""Who imports what, what knows the prelude, and how fast the package is there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.sizes import LONGEST, sizes

from sparsec import resources
from sparsec.cli import COMMANDS
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sparsec"
MODULES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)

# Which folders may import a dependency.
OWNERS = {
    "lark": {"syntax"},
    "islpy": {"sets"},
    "sympy": {"analysis"},
    "jinja2": {"codegen"},
    "torch": {
        "fit",
        "kernels",
        "runtime",
        "bench",
        "tuning",
        "testing",
        "importers",
        "transformers",
        "nn",
        "distributed",
        "torchtitan",
        "vllm",
    },
    "transformers": {"transformers"},
    "torchtitan": {"torchtitan"},
    "spmd_types": {"torchtitan"},
    "vllm": {"vllm"},
    "triton": {"kernels", "runtime", "bench", "tuning", "testing"},
    "hypothesis": {"testing"},
    "typer": {"cli"},
    "pygments": {"editor"},
    "pygls": {"editor"},
    "lsprotocol": {"editor"},
    "numpy": {
        "fit",
        "ir",
        "show",
        "analysis",
        "plan",
        "bench",
        "runtime",
        "testing",
        "report",
        "distributed",
        "transformers",
    },
}

# A part imports only itself and parts with a lower number.
RANK = {
    "resources": 0,
    "source": 0,
    "terminal": 0,
    "files": 0,
    "kernels": 0,
    "diagnostics": 1,
    "cache": 2,
    "syntax": 3,
    "ir": 4,
    "lower": 5,
    "sets": 5,
    "importers": 6,
    "analysis": 6,
    "show": 7,
    "plan": 7,
    "lint": 8,
    "report": 9,
    "codegen": 8,
    "pipeline": 9,
    "runtime": 10,
    "testing": 11,
    "fit": 12,
    "bench": 12,
    "tuning": 13,
    "editor": 11,
    "nn": 11,
    "distributed": 11,
    "transformers": 11,
    "torchtitan": 11,
    "vllm": 11,
    "doctor": 12,
    "hook": 14,
    "cli": 15,
    "__init__": 16,
    "__main__": 17,
}

# A folder of the support library imports only itself and folders with a lower number; `support` imports all.
KERNELS_RANK = {
    "machine": 0,
    "native": 0,
    "dispatch": 0,
    "program": 1,
    "tiles": 1,
    "launches": 2,
    "sequences": 3,
    "weights": 4,
    "lists": 4,
    "groups": 5,
    "chosen": 5,
    "hopper/forward": 5,
    "hopper/backward": 5,
    "hopper": 6,
    "passes": 7,
    "cpu": 7,
    "decode": 8,
    "operator": 8,
}


def part(module: Path) -> str:
    """The stage that a file belongs to: its folder, or its own name at the top."""
    return module.parts[1].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=name, level=0, names=names):
                yield from (f"{name}.{each.name}" for each in names)
            case ast.ImportFrom():
                raise AssertionError(f"{module}: relative import")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_dependencies_stay_with_their_owners(module: Path) -> None:
    for name in imports(module):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or part(module) in owners, f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_stages_depend_downwards(module: Path) -> None:
    for name in imports(module):
        package, _, rest = name.partition(".")
        if package == "sparsec" and rest:
            target = rest.split(".")[0]
            lower_stage = RANK.get(target, RANK["__init__"]) < RANK[part(module)]
            assert target == part(module) or lower_stage, f"{module} imports {name}"


KERNELS = [module for module in MODULES if part(module) == "kernels" and len(module.parts) > 3]


@pytest.mark.parametrize("module", KERNELS, ids=str)
def test_folders_of_kernels_depend_downwards(module: Path) -> None:
    own = "/".join(module.parts[2:-1])
    for name in imports(module):
        if name.startswith("sparsec.kernels."):
            parts = name.split(".")[2:]
            target = next(folder for end in (2, 1) if (folder := "/".join(parts[:end])) in KERNELS_RANK)
            assert target == own or KERNELS_RANK[target] < KERNELS_RANK[own], f"{module} imports {name}"


def test_the_reference_is_kept_from_what_it_judges() -> None:
    judged = {"sets", "analysis", "plan", "codegen", "pipeline"}
    users = {
        part(module) for module in MODULES if any(name.startswith("sparsec.ir.reference") for name in imports(module))
    }
    assert not users & judged


# A program that is read from its beginning to its end: the script of a page.
LONGER = {"show/page.js"}


def test_files_are_short() -> None:
    too_long = {str(path.relative_to("sparsec")) for path, lines in sizes("sparsec").items() if lines > LONGEST}
    assert not too_long - LONGER


# ---------------------------------------------------------------- the prelude is a file like any other

PRELUDE = set(re.findall(r"^set (\w+)", resources.text("grammar/prelude.spat"), re.MULTILINE))
# Words of the planner's own trade: a full tile, the keys of a plan (columns), exact segments, a tensor's stride; and
# an argument of calls (learned sinks).
TRADE = {"full", "columns", "segments", "stride", "sinks"}


def words(path: Path) -> set[str]:
    """Identifiers and whole strings of a Python file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word) | ast.keyword(arg=word):
                found.add(word)
            case ast.FunctionDef(name=word) | ast.ClassDef(name=word) | ast.Constant(value=str(word)):
                found.add(word)
    return found


@pytest.mark.parametrize("folder", ["sets", "plan", "codegen"])
def test_no_planner_names_a_set_of_the_prelude(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        assert not words(path) & (PRELUDE - TRADE), path


def test_no_template_names_a_set_of_the_prelude() -> None:
    for path in (ROOT / "templates").rglob("*"):
        if path.is_file() and path.suffix != ".md":
            code = re.sub(r"\{#.*?#\}|#[^\n]*", "", path.read_text(), flags=re.DOTALL)
            assert not set(re.findall(r"\w+", code)) & (PRELUDE - TRADE), path


def renamed(text: str) -> str:
    """A program with every name of the prelude replaced by another."""
    return re.sub(r"\b(" + "|".join(sorted(PRELUDE)) + r")\b", r"own_\1", text)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.spat")), ids=lambda path: path.stem)
def test_a_users_own_set_is_no_different(path: Path) -> None:
    text = path.read_text()
    own = renamed(resources.text("grammar/prelude.spat")) + renamed(text)
    given, same = (lower(parse(Source("p", each)), heads=8, layer=0) for each in (text, own))
    assert given.conditions == same.conditions
    assert given.head_conditions == same.head_conditions


# ---------------------------------------------------------------- what is loaded when

LOADED = """
import sys
from sparsec.cli import main
try:
    main()
except SystemExit as end:
    print(end.code, *sys.modules)
"""


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose cache holds the parser's tables."""
    environment = {**os.environ, "SPARSEC_CACHE": str(tmp_path_factory.mktemp("cache"))}
    code = "from sparsec.syntax.grammar import grammar; grammar()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=environment)
    return environment


@pytest.mark.parametrize(
    "command",
    [["check"], ["fmt", "--check"], ["explain", "SP0201"], ["show", "--n", "64"], ["cost"]],
    ids=lambda args: args[0],
)
def test_commands_load_no_more_than_they_need(command: list[str], cached: dict[str, str]) -> None:
    arguments = command if command[0] == "explain" else [*command, str(ROOT / "examples/longformer.spat")]
    run = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, cwd=ROOT, check=True, env=cached
    )
    status, *loaded = run.stdout.splitlines()[-1].split()
    assert status in ("0", "None")
    assert not {"torch", "triton", "sympy", "jinja2", "lark", "regex", "rich", "pydantic", "click"} & set(loaded)
    assert not {"islpy", "importlib.metadata"} & set(loaded) or command[0] == "cost"
    assert not {"hashlib", "importlib.resources", "secrets", "tempfile"} & set(loaded) or command[0] in ("show", "cost")
    assert "numpy" not in loaded or command[0] in ("show", "cost")
    others = {f"sparsec.cli.{name}" for name in COMMANDS if name != command[0]}
    assert not others & set(loaded)


def test_import_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import sparsec; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(run.stdout.split()) <= {"sparsec", "__future__"}
