"""`sparsec check --fix`: it makes what is safe, proves it, and leaves the rest alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MENDED = {
    "pattern p = causal and k < 3 && k >= 0\n": "pattern p = causal & k < 3 & k >= 0\n",
    "pattern p = past(8) | past(4)\n": "pattern p = past(8)\n",
    "pattern p = causal;\npattern r = causal | past(4) # all\n": "pattern p = causal\npattern r = causal # all\n",
    "pattern p = past(9) # \u202e\n": "pattern p = past(9) # \n",
    "pattern p = sinks(4) | past(8) \\ past(2)\n": "pattern p = sinks(4) | (past(8) \\ past(2))\n",
}


@pytest.mark.parametrize("text", MENDED)
def test_safe_edits_are_made(text: str, sparsec, spat) -> None:
    name = spat(text)
    before = sparsec("check", name)
    ran = sparsec("check", "--fix", name)
    assert Path(name).read_text() == MENDED[text]
    assert (ran.status, ran.out.splitlines()[0]) == (0, "p.spat: ok")
    assert ran.err.startswith("p.spat: line ")
    if before.status == 0:
        Path("old.spat").write_text(text)
        assert sparsec("diff", "old.spat", name, "-p", "p").status == 0
    again = sparsec("check", "--fix", name)
    assert "p.spat: line" not in again.err
    assert Path(name).read_text() == MENDED[text]


@pytest.mark.parametrize(
    "text",
    [
        "pattern p = causal and\n",  # the rest of it is not known
        "pattern p(w = 8) = past(w) | past(4)\n",  # not for every w
        "pattern p = pas(4)\n",  # `past`, or a set that is missing
        "pattern p = causal # x\r & past(4)\n",  # two texts that it may be
        "pattern p = causal\n",
        "pattern p = 1 <= q - k < 4\n",  # zeros may be meant
    ],
)
def test_all_else_is_left_alone(text: str, sparsec, spat) -> None:
    name = spat(text.encode())
    before = Path(name).read_bytes()
    ran = sparsec("check", "--fix", name)
    assert Path(name).read_bytes() == before
    assert ran.err == sparsec("check", name).err


def test_line_ends_marks_permissions_and_links_stay(sparsec, spat) -> None:
    name = spat(b"\xef\xbb\xbfpattern p = causal and k < 3\r\n# end\r\n")
    os.chmod(name, 0o640)
    Path("link.spat").symlink_to(name)
    assert sparsec("check", "--fix", "link.spat").status == 0
    assert Path(name).read_bytes() == b"\xef\xbb\xbfpattern p = causal & k < 3\r\n# end\r\n"
    assert Path("link.spat").is_symlink()
    assert Path(name).stat().st_mode & 0o777 == 0o640


def test_files_that_can_not_be_changed(sparsec, spat, monkeypatch: pytest.MonkeyPatch) -> None:
    spat("pattern p = causal;\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sparsec.cache.files.replace", full)
    ran = sparsec("check", "--fix", "p.spat")
    assert ran.status == 1
    assert "error[SP0702]" in ran.err
    assert Path("p.spat").read_text() == "pattern p = causal;\n"
    assert sparsec("check", "--fix", "-e", "causal").status == 2
    assert sparsec("check", "--fix", "-").status == 2


def test_several_files_have_a_last_line(sparsec, spat) -> None:
    spat("pattern p = causal\n")
    Path("b.spat").write_text("pattern b = pas(3)\n")
    assert sparsec("check", "p.spat", "b.spat").out.splitlines()[-1] == "2 files: 1 valid, 1 with errors"
    assert len(sparsec("check", "p.spat").out.splitlines()) == 1
