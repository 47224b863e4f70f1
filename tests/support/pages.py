"""The code blocks of a page, and how each kind is run.  The word after the three backquotes says which kind it is:

| written | is |
|---|---|
| `spat`, `spat SP0904` | a valid pattern, or one with exactly these messages |
| `spat mine.spat`, `spat mine.spat SP0105` | the same, and kept under that name for the blocks below |
| `console`, `console 1` | commands after `$ ` that end with status 0, or 1, and what they print |
| `python` | run from top to bottom, in one namespace a page; with `>>>`, what it prints as well |
| `python gpu` | needs a GPU: compiled only |
| `python needs NAME` | run where the module NAME is installed, else compiled only |
| `python emitted` | an excerpt of a generated module (tests/test_docs_architecture.py) |
| `json` | valid JSON |
| `sh` | commands of .ci/run, word for word |
| `text`, `{toctree}` and other directives | not run |

A line `...` of an output stands for any lines.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sparsec.diagnostics import SparsecError
from sparsec.lower.file import lower_fully
from sparsec.source import Source
from sparsec.syntax.parse import parse

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block: `info` is the whole line after the backquotes, `line` that of its first line."""

    page: Path
    line: int
    info: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, from the top."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 2, found[1], found[2])
        for found in re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    ]


def texts(page: Path, info: str) -> list[str]:
    """The texts of the blocks with exactly this info string."""
    return [block.text for block in blocks(page) if block.info == info]


def run(block: Block, folder: Path, names: dict) -> None:
    """Run one block in `folder`, the working folder, with the Python names of the page so far."""
    match block.info.split():
        case ["spat", *rest]:
            _spat(block, folder, rest)
        case ["console", *status]:
            console(block, status[0] if status else "0")
        case ["python"] if block.text.startswith(">>> "):
            _doctest(block, names)
        case ["python"]:
            exec(_compiled(block), names)
        case ["python", "needs", name] if find_spec(name):
            exec(_compiled(block), names)
        case ["python", "gpu"] | ["python", "needs", _]:
            _compiled(block)
        case ["json"]:
            json.loads(block.text)
        case ["sh"]:
            assert block.text.strip() in (ROOT / ".ci/run").read_text().splitlines(), block.place
        case ["python", "emitted"] | ["text"]:
            pass
        case [word] if re.fullmatch(r"\{[\w-]+\}", word):
            pass
        case _:
            raise AssertionError(f"{block.place}: a block of no known kind, `{block.info}`")


def _spat(block: Block, folder: Path, rest: list[str]) -> None:
    name = next((word for word in rest if word.endswith(".spat")), "block.spat")
    (folder / name).write_text(block.text, encoding="utf-8")
    assert messages(folder / name) == [word for word in rest if word != name], block.place


def messages(path: Path) -> list[str]:
    """The codes of all messages of a file's patterns, for 16 heads and layer 7 of 32."""
    reported = []
    try:
        file = parse(Source(str(path), path.read_text(encoding="utf-8")))
    except SparsecError as error:
        return [item.code for item in error.diagnostics]
    for definition in file.definitions:
        if definition.kind == "pattern":
            try:
                reported += lower_fully(file, pattern=definition.name, heads=16, layer=7, layers=32).warnings
            except SparsecError as error:
                reported += error.diagnostics
    return [item.code for item in reported]


def console(block: Block, status: str) -> None:
    """Each command, with the output below it."""
    for each in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = each.partition("\n")
        entry = f'sparsec() {{ "{sys.executable}" -m sparsec "$@"; }}'  # what the console script does
        python = f'python() {{ "{sys.executable}" "$@"; }}'
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        run = subprocess.run(
            ["bash", "-c", f"{entry}\n{python}\n{command}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if status == "0" else subprocess.STDOUT,
            text=True,
            env={"COLUMNS": "80", **os.environ, "PYTHONPATH": paths},
            timeout=120,
        )
        assert run.returncode == int(status), f"{block.place}: {command}\n{run.stdout}{run.stderr}"
        real = "".join(f"{line.rstrip()}\n" for line in run.stdout.strip("\n").split("\n"))
        assert re.fullmatch(_pattern(output.strip("\n")), real), f"{block.place}: {command} prints\n{real}"


def _pattern(output: str) -> str:
    return "".join(r"(?:.*\n)*?" if line == "..." else re.escape(f"{line}\n") for line in output.split("\n"))


def _doctest(block: Block, names: dict) -> None:
    examples = doctest.DocTestParser().get_doctest(block.text, {}, block.place, str(block.page), block.line - 1)
    examples.globs = names
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(
        examples, out=report.append, clear_globs=False
    )
    assert result.attempted and not result.failed, "".join(report)


def _compiled(block: Block):
    return compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")


def links(page: Path) -> list[tuple[str, str]]:
    """Where a page's links lead: a file, relative to its folder and "" for itself, and a section of it or ""."""
    found = re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)[^)]*\)", page.read_text(encoding="utf-8"))
    return [(target, section) for target, section in found if not re.match(r"\w+://|mailto:", target)]


def sections(page: Path) -> set[str]:
    """By the names that links have for them: of its headings, and those that it gives itself."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    words = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).strip().lower() for title in titles]
    named = re.findall(r'<a id="([\w-]+)">|^\(([\w-]+)\)=$', text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", word).replace(" ", "-") for word in words} | {a or b for a, b in named}


def leads_somewhere(page: Path, target: str, section: str) -> bool:
    """Whether a link of a page does."""
    there = page.parent / target if target else page
    return there.exists() and (not section or there.suffix != ".md" or section in sections(there))
