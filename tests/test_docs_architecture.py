"""The README, docs/architecture.md and templates/README.md say what is so.  (tests/docs runs the blocks of docs/.)"""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from support import pages

import sparsec
from sparsec import pipeline
from sparsec.codegen import answers, scores, support, variants
from sparsec.source import Source

ROOT = Path(__file__).parent.parent
ARCHITECTURE, README, TEMPLATES = ROOT / "docs/architecture.md", ROOT / "README.md", ROOT / "templates"


COMMANDS = [block for block in pages.blocks(README) if block.info == "console"]


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.place)
def test_commands_of_the_readme(block: pages.Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    pages.console(block, "0")


def test_python_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    q, k, v = torch.randn(3, 1, 2, 100, 16).unbind(0)
    names = {"q": q.requires_grad_(), "k": k, "v": v}
    use, sequences, steps, data, scores, neighbours = pages.texts(README, "python")
    exec(use, names)
    assert names["out"].shape == q.shape == q.grad.shape
    exec(sequences, names)
    assert torch.equal(names["packed"][:, :, 33:], names["attend"](*(x[:, :, 33:] for x in (q, k, v))))
    assert not names["padded"][:, :, 64:].any()
    exec(steps, names)
    torch.testing.assert_close(names["step"], names["attend"](q[:, :, -1:], k, v)[:, :, 0])
    exec(data, names)
    assert torch.equal(names["out"], sparsec.compile("pattern p = causal")(q, k, v))
    exec(scores, names)
    assert names["out"].shape == q.shape and names["out"].isfinite().all()
    exec(neighbours, names)
    assert names["blocks"].shape == (1, 1, 8192, 8192)
    assert "w = 4096" in names["text"] and "past(w)" in names["text"]


def test_excerpts_of_the_module() -> None:
    (text,) = pages.texts(ARCHITECTURE, "spat demo.spat")
    source = pipeline.compile(Source("demo.spat", text)).source + support.text()
    excerpts = pages.texts(ARCHITECTURE, "python emitted")
    assert excerpts
    for excerpt in excerpts:
        levels = [
            re.split(r"^ *\.\.\.\n", textwrap.indent(excerpt, indent), flags=re.MULTILINE)
            for indent in ("", " " * 4, " " * 8)
        ]
        assert any(in_order(pieces, source) for pieces in levels), excerpt


def in_order(pieces: list[str], text: str) -> bool:
    """Whether the pieces, whole lines, stand in the text one after the other."""
    place = 0
    for piece in pieces:
        found = f"\n{text}".find(f"\n{piece}", place)
        if found < 0:
            return False
        place = found + len(piece)
    return True


def kept(name: str) -> dict:
    """A table of tests/test_architecture.py."""
    tree = ast.parse((ROOT / "tests/test_architecture.py").read_text())
    (value,) = [each.value for each in tree.body if isinstance(each, ast.Assign) and each.targets[0].id == name]
    return ast.literal_eval(value)


def test_who_may_import_what() -> None:
    ranks, owners = kept("RANK"), kept("OWNERS")
    rows = re.findall(r"^\| (\d+) \| (.*?) \| .* \| (.*?) *\|$", ARCHITECTURE.read_text(), re.MULTILINE)
    said = {folder: (int(rank), owned) for rank, folders, owned in rows for folder in re.findall(r"\w+", folders)}
    assert {folder: rank for folder, (rank, _) in said.items()} == {
        folder: rank for folder, rank in ranks.items() if not folder.startswith("__")
    }
    for folder, (_, owned) in said.items():
        names = re.findall(r"\w+", owned)
        assert all(folder in owners[name] for name in names), folder
    assert {name for _, owned in said.values() for name in re.findall(r"\w+", owned)} == owners.keys() - {"numpy"}


def test_folders_of_kernels() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \| [^|]* \|$", ARCHITECTURE.read_text(), re.MULTILINE)
    said = {folder: int(rank) for rank, folders in rows for folder in re.findall(r"[\w/]+", folders)}
    assert said == kept("KERNELS_RANK")


# ---------------------------------------------------------------- the README


def test_commands_of_the_table() -> None:
    rows = re.findall(r"^\| `sparsec (\w+)[^`]*` \| (.*) \|$", README.read_text(), re.MULTILINE)
    known = re.findall(r"^  (\w+)  ", helped(), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(known)
    for name, says in rows:
        options = set(re.findall(r"(?<=`)--?\w[\w-]*", says))
        assert options <= set(re.findall(r"--?\w[\w-]*", helped(name))), name


def helped(*command: str) -> str:
    run = [sys.executable, "-m", "sparsec", *command, "--help"]
    return subprocess.run(run, capture_output=True, text=True, cwd=ROOT, check=True).stdout


def test_what_is_said_of_speed_stands_in_the_table() -> None:
    head, table = README.read_text().split("<!-- speed:", 1)
    said = re.findall(r"([\d.]+ / [\d.]+)\s+times", head)
    assert said and all(f"| {ratios} |" in table for ratios in said)


def test_shell_commands_are_those_that_are_run() -> None:
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert pages.texts(README, "sh")
    assert all(block.strip() in script for block in pages.texts(README, "sh"))


@pytest.mark.parametrize("page", [README, TEMPLATES / "README.md"], ids=lambda page: page.parent.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in pages.links(page):
        assert pages.leads_somewhere(page, *link), link


# ---------------------------------------------------------------- templates/README.md


def table(heading: str) -> list[str]:
    """First column of the table under a heading."""
    page = (TEMPLATES / "README.md").read_text()
    section = re.search(rf"^##+ {heading}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)[1]
    return re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)


def test_names_of_a_module() -> None:
    tree = ast.parse((ROOT / "sparsec/codegen/emit.py").read_text())
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call)]
    renders = [each for each in calls if isinstance(each.func, ast.Attribute) and each.func.attr == "render"]
    render = max(renders, key=lambda each: len(each.keywords))
    assert table("Names of a module") == [keyword.arg for keyword in render.keywords]


PRINTED = (
    *(variants.VariantText, variants.KernelText, answers.Answers, answers.Whole, scores.ScoreText, scores.ReadText),
    *(answers.Ranges, answers.Bounds),
)


@pytest.mark.parametrize("printed", PRINTED, ids=lambda printed: printed.__name__)
def test_fields(printed: type) -> None:
    assert table(printed.__name__) == [field.name for field in dataclasses.fields(printed)]


def test_which_template_includes_which() -> None:
    page = (TEMPLATES / "README.md").read_text()
    users = dict(re.findall(r"^\| `([\w.]+\.jinja)` \| (.*?) \|", page, re.MULTILINE))
    files = {path.name: path.read_text() for path in TEMPLATES.glob("*.jinja")}
    assert users.keys() == files.keys()
    for name, said in users.items():
        real = {other for other, text in files.items() if re.search(rf'(?:include|from) "{name}"', text)}
        assert set(re.findall(r"[\w.]+\.jinja", said)) == real, name
