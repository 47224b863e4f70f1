"""The standard streams as callers leave them, and colours."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sparsec.cli import streams
from sparsec.terminal import coloured

ROOT = Path(__file__).parents[2]
LONGFORMER = "examples/longformer.spat"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of sh; `sparsec` in it is this one."""
    line = line.replace("sparsec", f"'{sys.executable}' -m sparsec")
    return subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, env={**os.environ, **environment})


@pytest.mark.parametrize(
    ("line", "reason", "status"),
    [
        (f"sparsec check {LONGFORMER} >/dev/full", b"no space left on device", 1),
        (f"sparsec show {LONGFORMER} >&-", b"it is closed", 1),
        (f"sparsec cost {LONGFORMER} {LONGFORMER} >/dev/full", b"no space left on device", 1),
        (f"sparsec diff {LONGFORMER} {LONGFORMER} >/dev/full", b"no space left on device", 2),
        ("sparsec explain >/dev/full", b"no space left on device", 1),
    ],
)
def test_output_that_is_lost_is_an_error(line: str, reason: bytes, status: int) -> None:
    ran = shell(line)
    assert ran.returncode == status
    assert ran.stderr == b"error[SP0702]: can't write `<stdout>`: " + reason + b"\n\n"


@pytest.mark.parametrize("lost", ["2>&-", "2>/dev/full", ">/dev/null 2>&-"])
def test_messages_that_are_lost_change_no_status(lost: str, tmp_path: Path) -> None:
    (tmp_path / "p.spat").write_text("pattern p = pas(4)\n")
    ran = shell(f"sparsec check {tmp_path}/p.spat {LONGFORMER} {lost}")
    assert ran.returncode == 1
    assert ran.stderr == b""
    assert (b"longformer.spat: ok" in ran.stdout) == (">/dev/null" not in lost)


def test_a_reader_that_leaves_changes_no_status(tmp_path: Path) -> None:
    """Each command ends as it would have: the verdict of `check` is no other for `| head -1`."""
    (tmp_path / "p.spat").write_text("pattern p = pas(4)\n")
    for line, status in (("explain", 0), (f"cost {LONGFORMER}", 0), (f"check {LONGFORMER} {tmp_path}/p.spat", 1)):
        end = f"(sparsec {line} 2>/dev/null; echo $? > {tmp_path}/status) | true; cat {tmp_path}/status"
        ran = shell(end, PYTHONUNBUFFERED="1")
        assert (ran.stdout.strip(), ran.stderr) == (str(status).encode(), b"")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "wanted"),
    [
        (_Terminal(), {}, True),
        (_Terminal(), {"TERM": "dumb"}, False),
        (_Terminal(), {"NO_COLOR": "1"}, False),
        (_Terminal(), {"NO_COLOR": ""}, True),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        (io.StringIO(), {"FORCE_COLOR": "0"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_who_gets_colours(stream: io.StringIO, environment: dict[str, str], wanted: bool) -> None:
    assert coloured(stream, environment) == wanted


@pytest.mark.parametrize("command", ["check", "show --n 64", "cost"])
def test_every_command_obeys(command: str, sparsec, spat, monkeypatch: pytest.MonkeyPatch) -> None:
    name = spat("pattern p = sinks(4) | past(8) \\ past(2)\n")
    for variable in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTHONUTF8", "1")
    ran = sparsec(*command.split(), name)
    assert "\x1b" not in ran.out + ran.err
    monkeypatch.setenv("FORCE_COLOR", "1")
    ran = sparsec(*command.split(), name)
    assert "\x1b" in ran.out
    assert "\x1b" in ran.err
    monkeypatch.setenv("NO_COLOR", "1")
    ran = sparsec(*command.split(), name)
    assert "\x1b" not in ran.out + ran.err


def test_a_dumb_terminal_gets_no_colours(tmp_path: Path) -> None:
    (tmp_path / "p.spat").write_text("pattern p = pas(4)\n")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "COLORTERM": "truecolor"}
    run = [sys.executable, "-m", "sparsec", "check", str(tmp_path / "p.spat"), LONGFORMER]
    subprocess.run(run, cwd=ROOT, env=environment, stdout=theirs, stderr=theirs)
    assert b"\x1b" not in os.read(ours, 65536)


@pytest.mark.parametrize(
    "line",
    [
        "show p.spat -o missing/p.svg",
        "show p.spat -o p.spat/p.png",
        "show p.spat -o folder.html",
        "compile p.spat -o p.spat/build",
        "bench p.spat --n 16 --against none --repeats 1 --json missing/times.json",
        "new mine -o missing/mine.spat",
    ],
)
def test_a_file_that_cannot_be_written_is_the_same_error_everywhere(line: str, sparsec, spat) -> None:
    spat("pattern p = past(9)\n")
    Path("folder.html").mkdir()
    ran = sparsec(*line.split())
    assert ran.status == 1
    assert "error[SP0702]" in ran.err
    assert sorted(os.listdir()) == ["folder.html", "p.spat"]


class Notebook(io.StringIO):
    """A stream of a caller's own, on the descriptor of the standard output."""

    def fileno(self) -> int:
        return 1


def test_a_stream_that_is_not_pythons_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Notebook()
    monkeypatch.setattr(sys, "stdout", own)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    streams.prepare()
    assert sys.stdout is own
