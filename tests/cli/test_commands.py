"""The command line: what it prints, where, and with which status."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsec.diagnostics import CODES

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
LONGFORMER = str(EXAMPLES / "longformer.spat")


# ---------------------------------------------------------------- check


def test_check_all_examples(sparsec) -> None:
    names = sorted(map(str, EXAMPLES.glob("*.spat")))
    ran = sparsec("check", *names)
    assert ran.status == 0
    assert re.findall(r"^(.*): ok$", ran.out, re.MULTILINE) == names


def test_check_prints_all_errors_and_goes_on_to_the_next_file(sparsec, spat) -> None:
    ran = sparsec("check", spat("pattern a = pas(3)\npattern b = causal & 4\n"), LONGFORMER)
    assert ran.status == 1
    assert re.findall(r"error\[(\w+)\]", ran.err) == ["SP0201", "SP0203"]
    assert "p.spat:1:13" in ran.err
    assert ran.out == f"{LONGFORMER}: ok\n2 files: 1 valid, 1 with errors\n"


def test_check_prints_warnings_and_is_content(sparsec, spat) -> None:
    ran = sparsec("check", spat("pattern p = sinks(4) | past(8) \\ past(2)\n"))
    assert (ran.status, ran.out) == (0, "p.spat: ok\n")
    assert "warning[SP0904]" in ran.err


def test_check_looks_at_every_pattern_and_says_what_it_needs(sparsec, spat) -> None:
    ran = sparsec("check", spat("pattern a = past(h + 1)\npattern b(w) = past(w)\npattern c = causal\n"))
    assert ran.status == 0
    assert ran.out.splitlines()[1:] == [
        "  a: pass --heads to check what depends on it",
        "  b: pass -D to check what depends on it",
    ]
    assert sparsec("check", "p.spat", "-p", "a", "--heads", "4").out == "p.spat: ok\n"


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"\xff\xfe\x00", "SP0101"), (b"", "SP0108"), (b"pattern p = causal \xe2\x80\xae\n", "SP0102"), (b"\x00", "SP01")],
)
def test_odd_bytes_are_diagnostics(content: bytes, code: str, sparsec, spat) -> None:
    ran = sparsec("check", spat(content))
    assert ran.status == 1
    assert f"error[{code}" in ran.err
    assert "Traceback" not in ran.err


def test_files_that_cannot_be_read_are_diagnostics(sparsec, tmp_path: Path) -> None:
    for command in ("check", "show", "cost"):
        ran = sparsec(command, str(tmp_path / "missing.spat"))
        assert ran.status == 1
        assert "error[SP0701]" in ran.err
    assert "error[SP0701]" in sparsec("show", str(tmp_path)).err


def test_check_reads_folders_and_standard_input(sparsec, spat, monkeypatch: pytest.MonkeyPatch) -> None:
    spat("pattern p = causal\n")
    Path("sets").mkdir()
    Path("sets/a.spat").write_text("set near = past(4)\n")
    Path("sets/b.spat").write_text('use "a.spat"\npattern p = near | pas(2)\n')
    ran = sparsec("check", ".", "p.spat")
    valid = ["./p.spat: ok", "./sets/a.spat: ok", "p.spat: ok"]
    assert (ran.status, ran.out.splitlines()) == (1, [*valid, "4 files: 3 valid, 1 with errors"])
    assert "./sets/b.spat:2:20" in ran.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"pattern p = past(h)\r\n")))
    assert sparsec("check", "-").out.splitlines()[0] == "<stdin>: ok"
    monkeypatch.setattr(sys, "stdin", None)
    ran = sparsec("check", "-")
    assert (ran.status, ran.out) == (1, "")
    assert "error[SP0701]: can't read `<stdin>`: it is closed" in ran.err
    assert sparsec("check", "-", "p.spat").status == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "-", "--n", "8"), "p at n = 8"),
        (("cost", "-"), "p at n = 4,096"),
        (("compile", "-", "--emit", "plan"), "The plan of `p`"),
        (("diff", "-", "p.spat"), "<stdin>"),
        (("tune", "-", "--dry-run"), "forward"),
    ],
)
def test_standard_input_is_a_file(sparsec, spat, monkeypatch, arguments: tuple[str, ...], said: str) -> None:
    spat("pattern p = past(9)\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"pattern p = past(3)\n")))
    ran = sparsec(*arguments)
    assert ran.err == ""
    assert said in ran.out


def test_standard_input_stands_alone(sparsec) -> None:
    for command in ("check", "cost", "bench", "tune"):
        assert sparsec(command, "-", "-").status == 2


def test_windows_line_ends(sparsec, spat) -> None:
    assert sparsec("check", spat(b"pattern p(w = 4) =\r\n    past(w)\r\n")).status == 0


@pytest.mark.parametrize("end", ["\r", "\r\r\n", "\n\r"])
def test_a_lone_carriage_return_is_refused_by_every_way_to_read(end: str, sparsec, spat) -> None:
    """It ends a line for Python's `open` and for old editors: `past(4)` would stand in the comment, or not."""
    from sparsec.diagnostics import SparsecError
    from sparsec.runtime.load import compile, load

    text = f"pattern p = causal # the last 4 of it:{end}    & past(4)\n"
    assert "error[SP0102]" in sparsec("check", spat(text)).err
    for make in (lambda: load("p.spat"), lambda: compile(text)):
        with pytest.raises(SparsecError, match="SP0102"):
            make()


# ---------------------------------------------------------------- usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["check"],
        ["check", "--nonsense", LONGFORMER],
        ["show", LONGFORMER, "--n", "0"],
        ["show", LONGFORMER, "--n", "many"],
        ["show", LONGFORMER, "-D", "w"],
        ["cost", LONGFORMER, "--heads", "x"],
        ["explain", "SP9999"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], sparsec) -> None:
    ran = sparsec(*arguments)
    assert ran.status == 2
    assert "Error: " in ran.err or "Missing" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-D", "w=many"], "SP0211"),
        (["-D", "w=1_0"], None),
        (["-D", "ww=3"], "SP0208"),
        (["-D", "w=" + "9" * 400], "SP0305"),
        (["-D", "w=" + "9" * 10_000], "SP0211"),
        (["-p", "short"], "SP0210"),
        (["--heads", "0"], "SP0405"),
        (["--layer", "-1"], "SP0405"),
    ],
)
def test_wrong_values_are_diagnostics(arguments: list[str], code: str | None, sparsec) -> None:
    ran = sparsec("show", LONGFORMER, "--n", "32", *arguments)
    assert ran.status == (1 if code else 0)
    assert code is None or f"error[{code}]" in ran.err


def test_usage_has_each_bracket_once(sparsec) -> None:
    for command in ("explain", "tune", "bench", "check", "fmt", "cost", "new"):
        usage = sparsec(command, "--help").out.partition("\n\n")[0]
        assert "[[" not in usage
        assert "......" not in usage
        assert "{" not in usage
    assert "sparsec check [OPTIONS] FILES..." in sparsec("check", "--help").out


def test_a_dry_run_needs_no_file_to_write(sparsec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEC_TUNED", "")
    assert sparsec("tune", "--dry-run", LONGFORMER).status == 0
    assert "--output" in sparsec("tune", LONGFORMER).err


@pytest.mark.parametrize("columns", ["80", "60"])
def test_help_is_whole(columns: str, sparsec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    said = sparsec("--help").out
    assert "..." not in said.replace("[ARGS]...", "")
    assert max(map(len, said.splitlines())) <= int(columns)
    words = " ".join(said.split())
    for name in ("new", "check", "fmt", "cost", "show", "diff", "compile", "verify", "bench", "tune", "doctor", "lsp"):
        first = sparsec(name, "--help").out.partition("\n\n")[2].partition("\n\n")[0]
        sentence = " ".join(first.split()).partition(". ")[0].removesuffix(".")
        assert f"{name} {sentence}" in words


def test_help_and_version(sparsec) -> None:
    assert "check" in sparsec("--help").out
    assert sparsec("--version").out.startswith("sparsec ")
    assert sparsec().status == 2


def test_a_bug_says_that_it_is_one(sparsec, monkeypatch: pytest.MonkeyPatch) -> None:
    from sparsec.lower import file as lower

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(lower, "lower_fully", broken)
    ran = sparsec("show", LONGFORMER)
    assert ran.status == 3
    assert "bug in sparsec" in ran.err
    assert "report" in ran.err
    assert "ZeroDivisionError" in ran.err


# ---------------------------------------------------------------- explain, cost, show


def test_explain_every_code(sparsec) -> None:
    listed = sparsec("explain").out
    for code, kind in CODES.items():
        assert f"{code}  {kind.title}" in listed
        assert kind.cure in sparsec("explain", code.lower()).out


def test_cost_in_words_and_as_json(sparsec) -> None:
    words = sparsec("cost", LONGFORMER, "--n", "32768").out
    assert "20,901,568" in words
    assert "641*n - 102720 for n >= 320" in words
    assert "O(n*(w + g))" in words
    data = json.loads(sparsec("cost", LONGFORMER, "--n", "32768", "--json").out)
    assert data["pairs"] == 641 * 32768 - 102720
    assert data["tiles"]["full"] + data["tiles"]["partial"] + data["tiles"]["empty"] == (32768 // 64) ** 2


def test_cost_says_where_tiles_visit_more_than_pairs_touch(sparsec) -> None:
    gaps = "visit hulls of what they touch: gaps inside the segments"
    grid = "abs(q // 64 - k // 64) <= 6 & abs(q % 64 - k % 64) <= 6"
    assert sparsec("cost", "-e", grid).out.count(gaps) == 2
    assert gaps not in sparsec("cost", LONGFORMER).out


def test_cost_says_that_tiles_come_from_a_list(sparsec) -> None:
    grid = "q < 1024 & k < 1024 & abs(q // 32 - k // 32) <= 2 & abs(q % 32 - k % 32) <= 2"
    assert sparsec("cost", "-e", grid, "--n", "1024").out.count("from a list made for the length") == 2


def test_cost_over_heads(sparsec) -> None:
    name = str(EXAMPLES / "per_head_strides.spat")
    one, eight = (json.loads(sparsec("cost", name, "--heads", heads, "--json").out) for heads in ("4", "8"))
    assert one["pairs"] == 4 * (129 * 4096 - 8256)
    assert eight["pairs"] == one["pairs"] + 4 * (129 * 4096 - 16512)
    assert "SP0401" in sparsec("cost", name).err


def test_show_names_the_operands_as_written(sparsec) -> None:
    out = sparsec("show", LONGFORMER, "--n", "512", "-D", "w=64").out
    assert "longformer(w = 64, g = 64) at n = 512" in out
    assert re.search(r"^window\(w\) +[\d.]+ %$", out, re.MULTILINE)
    assert re.search(r"^global\(g\) +[\d.]+ % more$", out, re.MULTILINE)
    assert "\x1b" not in out


def test_show_leaves_out_operands_that_keep_nothing(sparsec, spat) -> None:
    name = spat("pattern p = past(4) & h < 2 | sinks(3) | causal & k < -1\n")
    out = sparsec("show", name, "--heads", "4", "--n", "64").out
    assert "heads 0, 1" in out
    assert out.count("sinks(3)") == 2
    assert out.count("past(4)") == 1
    assert "k < -1" not in out


# ---------------------------------------------------------------- processes


def command(*arguments: str, **keywords) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "sparsec", *arguments], cwd=ROOT, **keywords)


def test_a_closed_pipe_is_no_bug() -> None:
    shell = f"{sys.executable} -m sparsec show examples/longformer.spat --n 2048 | head -c 1"
    run = subprocess.run(shell, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in run.stderr
    assert "bug" not in run.stderr


def test_streams_that_know_only_ascii() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    run = command("check", "ünknown.spat", capture_output=True, env=environment)
    assert run.returncode == 1
    assert b"SP0701" in run.stderr


def colours(**changes: str) -> bytes:
    """What `show` writes to a pseudo-terminal."""
    environment = {
        **os.environ,
        "COLORTERM": "truecolor",
        "TERM": "xterm",
        "COLUMNS": "80",
        "PYTHONUTF8": "1",
        **changes,
    }
    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "sparsec", "show", LONGFORMER, "--n", "256"], cwd=ROOT, env=environment, stdout=theirs
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(ours)
    assert run.wait() == 0
    return written


def test_colours_on_a_terminal_only_where_wanted() -> None:
    assert "▀".encode() in colours(NO_COLOR="")
    for plain in ({"NO_COLOR": "1"}, {"COLORTERM": ""}, {"COLUMNS": "30"}):
        assert b"\x1b" not in colours(**{"NO_COLOR": "", **plain})


def test_check_answers_at_once(in_time: Callable[[float, float], None]) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        command("check", LONGFORMER, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    in_time(min(seconds), 0.3)
