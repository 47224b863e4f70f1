"""`sparsec compile` and `sparsec cache`: what they write, what they leave alone, and what they say."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
LONGFORMER = str(EXAMPLES / "longformer.spat")


@pytest.fixture
def sparsec(sparsec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs the command line in this process, in an empty folder and with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARSEC_CACHE", str(tmp_path / "cache"))
    return sparsec


# ---------------------------------------------------------------- the module

USE = """
import sys
import torch
from build.longformer import longformer
q, k, v = torch.randn(3, 1, 2, 50, 16, requires_grad=True).unbind(0)
longformer(q, k, v).sum().backward()
print("sparsec" in sys.modules)
"""


def test_the_file_works_without_sparsec(sparsec, tmp_path: Path) -> None:
    ran = sparsec("compile", LONGFORMER, "-o", "build", "-D", "w=16", "-D", "g=2")
    sizes = {name: (tmp_path / f"build/{name}.py").stat().st_size for name in ("longformer", "sparsec_kernels")}
    said = "".join(f"wrote build/{name}.py ({size:,} bytes)\n" for name, size in sizes.items())
    assert (ran.status, ran.out, ran.err) == (0, said, "")
    assert "with w = 16, g = 2" in (tmp_path / "build/longformer.py").read_text()
    run = subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr


def test_the_file_is_what_load_runs(sparsec, tmp_path: Path) -> None:
    from sparsec import load

    sparsec("compile", LONGFORMER, "--standalone")
    written = (tmp_path / "longformer.py").read_text()
    made_again = f"Made again by `sparsec compile {LONGFORMER} --standalone`; edit the pattern instead of this file.\n"
    assert written.replace(made_again, "Edit the pattern instead of this file.  ") == load(LONGFORMER).source
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["longformer.py"]


def alone(folder: Path, code: str) -> subprocess.CompletedProcess:
    """What a process says that does not see sparsec."""
    hidden = "import sys; sys.modules['sparsec'] = None\n"
    return subprocess.run([sys.executable, "-c", hidden + code], cwd=folder, capture_output=True, text=True)


CALL = "import torch; q = torch.ones(1, 1, 20, 16); print(longformer(q, q, q).sum().item())"


@pytest.mark.parametrize(
    ("options", "package", "statement"),
    [
        ((), False, "from longformer import longformer"),
        ((), True, "from build.longformer import longformer"),
        (("--standalone",), False, "from longformer import longformer"),
    ],
    ids=["folder", "package", "standalone"],
)
def test_files_find_the_library(options, package: bool, statement: str, sparsec, tmp_path: Path) -> None:
    assert sparsec("compile", LONGFORMER, "-o", "build", *options).status == 0
    if package:
        (tmp_path / "build/__init__.py").write_text("")
    ran = alone(tmp_path if package else tmp_path / "build", f"{statement}\n{CALL}")
    assert (ran.stdout, ran.stderr) == ("320.0\n", "")


def test_another_version_of_the_library_is_refused(sparsec, tmp_path: Path) -> None:
    sparsec("compile", LONGFORMER)
    library = tmp_path / "sparsec_kernels.py"
    library.write_text(re.sub('^VERSION = ".*"', 'VERSION = "other"', library.read_text(), flags=re.MULTILINE))
    ran = alone(tmp_path, "import longformer")
    assert "ImportError: longformer.py was generated with another sparsec_kernels.py" in ran.stderr
    assert "sparsec compile -o" in ran.stderr


def test_permissions_follow_the_users_mask(sparsec, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        sparsec("compile", LONGFORMER, "-o", "build")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "build/longformer.py").stat().st_mode) == 0o640


def test_other_files_are_left_alone(sparsec, tmp_path: Path) -> None:
    path = tmp_path / "longformer.py"
    path.write_text("mine = 1\n")
    ran = sparsec("compile", LONGFORMER)
    assert ran.status == 1
    assert "error[SP0702]" in ran.err
    assert "--force" in ran.err
    assert path.read_text() == "mine = 1\n"
    assert sparsec("compile", LONGFORMER, "--force").status == 0
    assert sparsec("compile", LONGFORMER, "-D", "w=4").status == 0, "its own files are overwritten"
    assert "with w = 4" in path.read_text()


def test_a_remark_for_linters_may_come_first(sparsec, tmp_path: Path) -> None:
    longnet = str(EXAMPLES / "longnet.spat")
    assert sparsec("compile", longnet).status == 0
    assert (tmp_path / "longnet.py").read_text().startswith("# ruff: noqa")
    assert sparsec("compile", longnet, "-D", "w=1024").status == 0, "its own files are overwritten"


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "broken link"])
def test_odd_files_are_left_alone(kind: str, sparsec, tmp_path: Path) -> None:
    path = tmp_path / "longformer.py"
    make = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(tmp_path / "mine"),
        "broken link": lambda: path.symlink_to("nowhere"),
    }
    (tmp_path / "mine").write_text("mine = 1\n")
    make[kind]()
    assert "error[SP0702]" in sparsec("compile", LONGFORMER).err
    assert (tmp_path / "mine").read_text() == "mine = 1\n"


def test_a_full_disk_leaves_the_old_file(sparsec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sparsec("compile", LONGFORMER)
    before = (tmp_path / "longformer.py").read_text()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ran = sparsec("compile", LONGFORMER, "-D", "w=4")
    assert (ran.status, ran.out) == (1, "")
    assert "no space left on device" in ran.err
    assert (tmp_path / "longformer.py").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["longformer.py", "sparsec_kernels.py"]


def test_folders_that_cannot_be(sparsec) -> None:
    for folder in ("/dev/null/build", "/proc/build"):
        ran = sparsec("compile", LONGFORMER, "-o", folder)
        assert ran.status == 1
        assert "error[SP0702]" in ran.err


def test_names_that_python_needs(sparsec, tmp_path: Path) -> None:
    (tmp_path / "p.spat").write_text("pattern lambda = causal\npattern torch = causal\n")
    for name in ("lambda", "torch"):
        assert sparsec("compile", "p.spat", "-p", name, "-o", "build").status == 0
        assert (tmp_path / f"build/{name}_.py").exists()


def test_patterns_and_heads_are_chosen(sparsec, tmp_path: Path) -> None:
    ran = sparsec("compile", str(EXAMPLES / "per_head_strides.spat"))
    assert ran.status == 1
    assert "SP0401" in ran.err
    assert sparsec("compile", str(EXAMPLES / "per_head_strides.spat"), "--heads", "8").status == 0
    (tmp_path / "p.spat").write_text("pattern p = sinks(4) | past(8) \\ past(2)\n")
    ran = sparsec("compile", "p.spat")
    assert "warning[SP0904]" in ran.err
    assert ran.status == 0


# ---------------------------------------------------------------- the plan, device code


def test_the_plan_in_words(sparsec, tmp_path: Path) -> None:
    out = sparsec("compile", LONGFORMER, "--emit", "plan").out
    assert out.startswith("The plan of `longformer`, generated by sparsec.\n\nevery head\n")
    for line in ("range      q_lo - 256 .. q_hi + 256", "precision  exact", "range      0 .. n - 1  when (q_lo <= 63)"):
        assert line in out
    assert "wrote build/longformer.plan.txt" in sparsec("compile", LONGFORMER, "--emit", "plan", "-o", "build").out
    assert (tmp_path / "build/longformer.plan.txt").read_text() == out
    out = sparsec("compile", str(EXAMPLES / "per_head_strides.spat"), "--heads", "8", "--emit", "plan").out
    assert "\n\nheads 4, 5, 6, 7\n" in out


def test_the_plan_says_why_a_rung_was_taken(sparsec, tmp_path: Path) -> None:
    keys = ", ".join(str(7 * i * i) for i in range(20))
    (tmp_path / "p.spat").write_text(f"pattern p = q - k in {{{keys}}}\n")
    out = sparsec("compile", "p.spat", "--emit", "plan").out
    assert re.search(r"precision  hull: .* \(.+\)\n", out)
    assert "with gaps" in out


@pytest.mark.parametrize(
    ("target", "emit", "start", "kernels"),
    [
        ("sm_90", "ptx", "//", ("backward", "forward", "row_stats")),  # kernels for Hopper GPUs
        ("gfx942", "amdgcn", "\t.amdgcn_target", ("dkdv", "dq", "forward")),
    ],
)
@pytest.mark.filterwarnings("error")  # what Triton tells its users is nothing to those of sparsec
def test_device_code(target: str, emit: str, start: str, kernels: tuple[str, ...], sparsec, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    given = ["--target", target, "--emit", emit, "--head-size", "64", "-o", "build"]
    ran = sparsec("compile", str(EXAMPLES / "mistral.spat"), *given)
    assert ran.status == 0, ran.err
    names = [f"mistral.{kernel}.{target}.{emit}" for kernel in kernels]
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == names
    for name in names:
        text = (tmp_path / "build" / name).read_text()
        assert text.lstrip("\n").startswith(start), text[:100]
        assert f"wrote build/{name} ({len(text):,} bytes)" in ran.out


def test_device_code_without_triton(sparsec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = sparsec("compile", LONGFORMER, "--target", "sm_90", "--emit", "cubin")
    assert ran.status == 1
    assert "error[SP0705]" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--emit", "ptx"],
        ["--emit", "ptx", "--target", "gfx942"],
        ["--emit", "amdgcn", "--target", "sm_80"],
        ["--emit", "ptx", "--target", "sm_12"],
        ["--emit", "nonsense"],
        ["--emit", "ptx", "--target", "sm_80", "--head-size", "20"],
        ["--emit", "ptx", "--target", "sm_80", "--head-size", "512"],
        ["--dtype", "int8"],
    ],
)
def test_wrong_usage(arguments: list[str], sparsec) -> None:
    assert sparsec("compile", LONGFORMER, *arguments).status == 2


# ---------------------------------------------------------------- the cache


def test_the_cache_is_looked_at_and_emptied(sparsec, tmp_path: Path) -> None:
    from sparsec import compile

    assert json.loads(sparsec("cache", "--json").out)["records"] == 0
    compile("pattern p = past(3)")
    held = json.loads(sparsec("cache", "--info", "--json").out)
    assert held["folder"] == str(tmp_path / "cache")
    assert (held["records"], held["modules"], held["stale"]) == (1, 1, 0)
    assert f"folder   {tmp_path / 'cache'}\nrecords  1\nmodules  1\n" in sparsec("cache").out
    assert sparsec("cache", "--prune").out.startswith("removed 0 files, 0 bytes")
    files = sum(path.is_file() for path in (tmp_path / "cache").rglob("*"))  # tables of the parser, where it is new
    assert files >= 2
    assert sparsec("cache", "--clear").out.startswith(f"removed {files} files")
    assert json.loads(sparsec("cache", "--json").out)["records"] == 0
    assert sparsec("cache", "--clear", "--prune").status == 2


def test_a_cache_that_cannot_be_used_is_said(sparsec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEC_CACHE", "/dev/null/cache")
    ran = sparsec("cache", "--clear")
    assert ran.status == 1
    assert "SP0703" in ran.err
