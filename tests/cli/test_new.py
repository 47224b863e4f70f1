"""`sparsec new`: what it writes, and what it never touches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sparsec import resources
from sparsec.lower.file import lower
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read


@pytest.fixture
def sparsec(sparsec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return sparsec


@pytest.mark.parametrize("template", resources.names("examples", ".spat"))
def test_every_template_makes_a_valid_neat_file_of_the_same_meaning(sparsec, template: str) -> None:
    ran = sparsec("new", "mine", "--template", template)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == f"wrote mine.spat, begun from {template}"
    assert os.listdir() == ["mine.spat"]
    assert sparsec("fmt", "--check", "mine.spat").status == 0
    given = {"heads": 8, "layer": 0, "layers": 8}
    mine = lower(parse(read("mine.spat")), pattern="mine", **given)
    theirs = parse(read(Path(__file__).parents[2] / f"examples/{template}.spat"))
    first = next(each.name for each in theirs.definitions if each.kind == "pattern")
    assert mine.conditions == lower(theirs, pattern=first, **given).conditions


def test_nothing_is_overwritten(sparsec) -> None:
    Path("mine.spat").write_text("mine")
    ran = sparsec("new", "mine")
    assert (ran.status, ran.out) == (1, "")
    assert "error[SP0702]: can't write `mine.spat`: it exists" in ran.err
    assert Path("mine.spat").read_text() == "mine"
    Path("link.spat").symlink_to("nowhere")
    assert sparsec("new", "link").status == 1
    assert sorted(os.listdir()) == ["link.spat", "mine.spat"]


def test_output(sparsec) -> None:
    assert sparsec("new", "mine", "-o", "other.spat").status == 0
    assert "pattern mine(" in Path("other.spat").read_text()
    assert "pattern longformer(" in sparsec("new", "-o", "-").out
    assert "error[SP0702]" in sparsec("new", "mine", "-o", "missing/mine.spat").err
    for name in ("\0", "."):
        assert "error[SP0702]" in sparsec("new", "mine", "-o", name).err
    assert os.listdir() == ["other.spat"]


def test_the_name_of_a_template_is_that_template(sparsec) -> None:
    assert "begun from mistral" in sparsec("new", "mistral").out
    assert "begun from bigbird" in sparsec("new", "mistral", "-t", "bigbird", "-o", "other.spat").out
    ran = sparsec("new", "mistrl")
    assert (ran.status, ran.err) == (0, "did you mean the template mistral?  sparsec new mistrl --template mistral\n")
    assert "begun from longformer" in ran.out
    assert sparsec("new", "mine").err == ""
    assert "there is no template ''" in sparsec("new", "x", "-t", "").err


@pytest.mark.parametrize("name", ["my-own", "9", "", "é", "a b", "match", "q", "window", "../up"])
def test_what_can_not_be_a_name_is_wrong_usage(sparsec, name: str) -> None:
    ran = sparsec("new", name)
    assert ran.status == (2 if name else 0)
    assert os.listdir() == ([] if name else ["longformer.spat"])
    assert name != "my-own" or "such as my_own" in ran.err


def test_templates_are_listed(sparsec) -> None:
    listed = sparsec("new", "--list").out.splitlines()
    assert [line.split()[0] for line in listed] == resources.names("examples", ".spat")
    assert all(len(line.split()) > 3 for line in listed)
    assert "did you mean longformer?" in sparsec("new", "--template", "longfromer").err
    assert sparsec("new", "--template", "longfromer").status == 2


@pytest.mark.parametrize(
    ("name", "template"),
    [("gemma", "local_global"), ("gemma3", "local_global"), ("Gemma", "local_global"), ("llama4", "chunked"),
     ("gpt_oss", "gpt_oss"), ("mine", "longformer"), ("windows", "longformer")],
)  # fmt: skip
def test_the_name_of_a_model_begins_from_its_template(sparsec, name: str, template: str) -> None:
    ran = sparsec("new", name)
    assert ran.out.splitlines()[0] == f"wrote {name}.spat, begun from {template}"
