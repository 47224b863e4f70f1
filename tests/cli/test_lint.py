"""`sparsec check --lint`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

LOADED = """
import sys
from sparsec.cli import main
try:
    main()
except SystemExit as end:
    print(end.code, *sys.modules)
"""


def check(*arguments: object) -> tuple[str, set[str], str]:
    """Status, loaded modules, and what is printed to the error stream."""
    command = [sys.executable, "-c", LOADED, "check", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True)
    status, *loaded = run.stdout.splitlines()[-1].split()
    return status, set(loaded), run.stderr


@pytest.fixture
def two(tmp_path: Path) -> Path:
    (tmp_path / "two.spat").write_text("pattern a = past(512)\npattern b(s) = causal & stride(s)\n")
    return tmp_path / "two.spat"


def test_advice_is_asked_for(two: Path) -> None:
    status, loaded, printed = check(two, "-p", "a")
    assert (status, printed) == ("0", "")
    assert not {"islpy", "sympy", "numpy"} & loaded
    status, loaded, printed = check(two, "--lint", "-p", "a", "--depth", 4)
    assert status == "0"
    assert "warning[SP0908]" in printed and "warning[SP0909]" in printed
    assert not {"torch", "triton", "jinja2"} & loaded


def test_every_pattern_that_is_bound_gets_advice(two: Path) -> None:
    printed = check(two, "--lint")[2]
    assert "SP0908" in printed and "SP0911" not in printed
    assert "SP0911" in check(two, "--lint", "-p", "b", "-D", "s=64")[2]


def test_advice_does_not_hide_errors(tmp_path: Path, two: Path) -> None:
    (tmp_path / "wrong.spat").write_text("pattern a = past(512)\npattern b = past(2 ** 40)\n")
    status, _, printed = check("--lint", tmp_path / "wrong.spat", two, tmp_path / "missing.spat")
    assert status == "1"
    assert all(code in printed for code in ("SP0305", "SP0701", "SP0908"))


def test_depth_is_a_question_of_lint(two: Path) -> None:
    assert check(two, "--depth", 4)[0] == "2"
    assert check(two, "--lint", "--depth", 0)[0] == "2"


def test_advice_on_the_examples() -> None:
    status, _, printed = check(EXAMPLES, "--lint", "--depth", 2, "--heads", 8, "--layer", 0, "--layers", 8)
    assert status == "0"
    assert {"SP0908", "SP0909", "SP0910", "SP0911"} <= set(re.findall(r"warning\[(\w+)\]", printed))
