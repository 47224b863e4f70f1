"""`sparsec fmt`: what it writes, what it leaves alone, and what it says."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest
from support.command_line import Ran

ROOT = Path(__file__).parents[2]
UGLY, NEAT = "pattern  p(w=4)=past( w )  # last\n", "pattern p(w = 4) = past(w)  # last\n"


@pytest.fixture
def fmt(sparsec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, given: bytes | None = None) -> Ran:
        if given is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        return sparsec("fmt", *arguments)

    return run


def test_a_file_is_formatted_in_place(fmt) -> None:
    Path("p.spat").write_text(UGLY)
    assert fmt("p.spat") == Ran(0, "p.spat: formatted\n", "")
    assert Path("p.spat").read_text() == NEAT
    assert fmt("p.spat") == Ran(0, "", "")
    assert os.listdir() == ["p.spat"]


def test_a_neat_file_is_not_written(fmt) -> None:
    Path("p.spat").write_text(NEAT)
    os.utime("p.spat", (1, 1))
    fmt("p.spat")
    assert os.stat("p.spat").st_mtime == 1


def test_check_and_diff_write_nothing(fmt) -> None:
    Path("p.spat").write_text(UGLY)
    Path("neat.spat").write_text(NEAT)
    assert fmt("--check", "p.spat", "neat.spat") == Ran(1, "p.spat: would be formatted\n", "")
    ran = fmt("--diff", "p.spat", "neat.spat")
    assert ran.status == 1
    assert ran.out.splitlines() == [
        "--- p.spat",
        "+++ p.spat (formatted)",
        "@@ -1 +1 @@",
        f"-{UGLY.rstrip()}",
        f"+{NEAT.rstrip()}",
    ]
    assert Path("p.spat").read_text() == UGLY
    assert fmt("--check", "--diff", "neat.spat") == Ran(0, "", "")


def test_a_diff_tells_of_a_missing_line_end(fmt) -> None:
    Path("p.spat").write_text("set a = full")
    assert fmt("--diff", "p.spat").out.splitlines()[3:] == [
        "-set a = full",
        "\\ No newline at end of file",
        "+set a = full",
    ]


def test_a_diff_commands_no_host(fmt) -> None:
    """Comments are shown as messages show them; U+110BD is invisible, and files may hold it."""
    Path("p.spat").write_text("set  a = full  # ##[error]x \U000110bd\n#\u2003y\n", encoding="utf-8")
    ran = fmt("--diff", "p.spat")
    assert ran.out.splitlines()[3:5] == ["-set  a = full  # # #[error]x �", "+set a = full  # # #[error]x �"]


def test_standard_input(fmt) -> None:
    assert fmt("-", given=UGLY.encode()) == Ran(0, NEAT, "")
    assert fmt("-", given=NEAT.encode()) == Ran(0, NEAT, "")
    assert fmt("-", "--check", given=UGLY.encode()) == Ran(1, "<stdin>: would be formatted\n", "")
    broken = fmt("-", given=b"pattern = \n")
    assert (broken.status, broken.out) == (1, "")
    assert "<stdin>:1:9" in broken.err


def test_folders(fmt) -> None:
    for name in ("a/p.spat", "a/b/q.spat", "a/.hidden/r.spat", "a/s.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(UGLY)
    names = [str(Path("a/b/q.spat")), str(Path("a/p.spat"))]
    assert fmt("a", "a/p.spat").out.splitlines() == [f"{name}: formatted" for name in names]
    assert Path("a/s.txt").read_text() == Path("a/.hidden/r.spat").read_text() == UGLY
    Path("empty").mkdir()
    assert fmt("empty") == Ran(0, "", "empty: no .spat files\n")


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_windows_line_ends_stay(fmt, bom) -> None:
    Path("p.spat").write_bytes(bom + b'"""Two\r\nlines."""\r\n' + UGLY.replace("\n", "\r\n").encode())
    assert fmt("p.spat").status == 0
    assert Path("p.spat").read_bytes() == bom + b'"""Two\r\nlines."""\r\n' + NEAT.replace("\n", "\r\n").encode()
    assert fmt("--check", "p.spat").status == 0


def test_permissions_and_links_stay(fmt) -> None:
    Path("real.spat").write_text(UGLY)
    Path("real.spat").chmod(0o640)
    Path("link.spat").symlink_to("real.spat")
    assert fmt("link.spat").status == 0
    assert Path("link.spat").is_symlink()
    assert Path("real.spat").read_text() == NEAT
    assert stat.S_IMODE(os.stat("real.spat").st_mode) == 0o640


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"pattern p = causal & & past(4)\n", "SP0104"),
        (b"pattern p = causal # \xff\n", "SP0101"),
        (b"pattern p = causal # \xe2\x80\xae\n", "SP0102"),
        (b"\x00", "SP0102"),
        (b"#" * 4_000_001, "SP0801"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_in_the_language_is_left_alone(fmt, content: bytes, code: str) -> None:
    Path("p.spat").write_bytes(content)
    Path("q.spat").write_text(UGLY)
    ran = fmt("p.spat", "q.spat")
    assert (ran.status, ran.out) == (1, "q.spat: formatted\n")
    assert f"error[{code}]" in ran.err
    assert "Traceback" not in ran.err
    assert Path("p.spat").read_bytes() == content


def test_names_need_not_be_known(fmt) -> None:
    """A layout needs the grammar only."""
    Path("p.spat").write_text("pattern p=no_such_set(3)\n")
    assert fmt("p.spat").status == 0


def test_files_that_cannot_be_read_or_written(fmt, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "error[SP0701]" in fmt("missing.spat").err
    Path("p.spat").write_text(UGLY)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    ran = fmt("p.spat")
    assert ran.status == 1
    assert "error[SP0702]: can't write `p.spat`: permission denied" in ran.err
    assert Path("p.spat").read_text() == UGLY
    assert os.listdir() == ["p.spat"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_files_stay(fmt) -> None:
    Path("p.spat").write_text(UGLY)
    Path("p.spat").chmod(0o444)
    assert "error[SP0702]" in fmt("p.spat").err
    assert Path("p.spat").read_text() == UGLY


def test_usage(fmt) -> None:
    assert fmt().status == 2
    assert fmt("-", "p.spat").status == 2


def test_all_files_of_the_project_are_neat(fmt) -> None:
    ran = fmt("--check", str(ROOT / "examples"), str(ROOT / "grammar"))
    assert ran == Ran(0, "", "")
