"""Texts and file names of strangers: what of them may come out of the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SECRET = "TOKEN=hunter2"
COMMAND = re.compile(r"^\s*::|##\[", re.MULTILINE)


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is no part of what is checked, with files that are nobody else's business."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("environ", "secret.spat"):
        (folder / name).write_text(f"{SECRET}\n{SECRET}\0\n")
    (folder / "passwords").write_text(f"pattern {SECRET} hunter2(\nset {SECRET}\n")
    return folder


@pytest.mark.parametrize("form", ["human", "json", "sarif", "github"])
@pytest.mark.parametrize("name", ["environ", "passwords", "secret.spat"])
def test_a_used_file_from_elsewhere_is_not_quoted(name: str, form: str, elsewhere: Path, sparsec, spat) -> None:
    ran = sparsec("check", spat(f'use "{elsewhere / name}"\npattern p = causal\n'), "--output-format", form)
    assert ran.status == 1
    assert "SP0707" in ran.out + ran.err
    assert "hunter2" not in ran.out + ran.err
    assert "TOKEN" not in ran.out + ran.err


def test_a_link_from_elsewhere_is_not_quoted(elsewhere: Path, sparsec, spat) -> None:
    spat("pattern p = causal\n")
    Path("linked.spat").symlink_to(elsewhere / "environ")
    for names in (["."], ["linked.spat"]):
        ran = sparsec("check", *names)
        assert "error[SP0707]: `" in ran.err
        assert "TOKEN" not in ran.out + ran.err
    Path("p.spat").write_text('use "linked.spat"\npattern p = causal\n')
    assert "TOKEN" not in sparsec("check", "p.spat").err


def test_errors_found_later_show_no_line_of_it_either(elsewhere: Path, sparsec, spat) -> None:
    (elsewhere / "sets.spat").write_text("# hunter2\nset near = pas(4)  # hunter2\n")
    ran = sparsec("check", spat(f'use "{elsewhere}/sets.spat"\npattern p = near\n'))
    assert "error[SP0201]" in ran.err
    assert f"{elsewhere}/sets.spat:2:12" in ran.err
    assert "hunter2" not in ran.err


def test_files_of_the_same_tree_are_quoted(sparsec, spat) -> None:
    spat('use "sets/near.spat"\npattern p = causal\n')
    Path("sets").mkdir()
    Path("sets/near.spat").write_text("set near = past(4) past\n")
    assert "1 | set near = past(4) past" in sparsec("check", "p.spat").err
    Path("sets/p.spat").write_text('use "../other.spat"\npattern p = causal\n')
    Path("other.spat").write_text("set near = past(4) past\n")
    assert "1 | set near = past(4) past" in sparsec("check", "sets/p.spat").err


@pytest.mark.parametrize("name", ["a\n::warning file=x::injected.spat", "a\x1b[2J.spat", "a ##[error]x.spat"])
def test_no_file_name_commands_a_host_or_a_terminal(name: str, sparsec, spat) -> None:
    spat("pattern q = past(3)\n")
    for text in ("pattern p = past(9)\n", "pattern p = pas(9)\n", "pattern  p = past(9)\n", "\udcff"):
        Path(name).write_text(text, errors="surrogateescape")
        for command in ("check", "fmt --check", "cost", "diff p.spat"):
            ran = sparsec(*command.split(), name)
            assert not COMMAND.search(ran.out + ran.err)
            assert "\x1b" not in ran.out + ran.err
    Path(name).unlink()
    for command in (["check", name], ["show", name], ["new", "mine", "-o", name]):
        ran = sparsec(*command)
        assert not COMMAND.search(ran.out + ran.err)
        assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize("text", ["pattern p = past(9)\n", "pattern p = pas(9)\n", "pattern p = past(9) \\ past(4)\n"])
def test_names_are_escaped_in_workflow_commands(text: str, sparsec, spat) -> None:
    spat(text)
    Path("p.spat").rename("a\n::warning::injected \x1b[2J.spat")
    ran = sparsec("check", "--output-format", "github", ".")
    assert "\x1b" not in ran.out
    for line in ran.out.splitlines():
        assert line.startswith(("::error file=./a%0A", "::warning file=./a%0A"))


@pytest.mark.parametrize("found", ['"""a\n::warning::x"""', "# ##[error]x\n ?", "past(3) ##[error]x\n | sinks(2)"])
def test_no_text_commands_a_host(found: str, sparsec, spat) -> None:
    spat(f"pattern p = {found}\n")
    for command in (["check"], ["show", "--n", "32"], ["cost"], ["check", "--output-format", "human"]):
        ran = sparsec(*command, "p.spat")
        assert not COMMAND.search(ran.out + ran.err)
