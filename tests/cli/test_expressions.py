"""`-e EXPR` in the place of a file."""

from __future__ import annotations

import json

import pytest

from sparsec.cli.expressions import as_names, text


@pytest.mark.parametrize(
    "spelling", [["-e", "past(3)"], ["--expression", "past(3)"], ["--expression=past(3)"], ["-epast(3)"]]
)
def test_every_spelling_of_an_option(spelling: list[str]) -> None:
    [name] = as_names(spelling)
    assert text(name) == "pattern expression = past(3)\n"


def test_what_is_no_expression_stays() -> None:
    given = ["p.spat", "--emit", "plan", "-D", "w=3", "-e"]
    assert list(as_names(given)) == given
    assert list(as_names(["--", "-e", "x"])) == ["--", "-e", "x"]
    assert text("-e") is None


@pytest.mark.parametrize(
    "written", ["pattern p(w = 3) = past(w)", '"""Doc."""\npattern p = causal', "# x\npattern p = full"]
)
def test_declarations_stay_as_they_are(written: str) -> None:
    [name] = as_names(["-e", written])
    assert text(name) == written + "\n"


@pytest.mark.parametrize(
    "written",
    ["patterns(3)", "set_of", "causal # x", "(past(4)\n | sinks(2))", "match h { 0 -> full, else -> causal }"],
)
def test_expressions_become_a_pattern(written: str) -> None:
    [name] = as_names(["-e", written])
    assert text(name) == f"pattern expression = {written}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("check", "<expression>: ok"),
        ("show --n 16", "expression at n = 16"),
        ("cost", "expression at n = 4,096"),
        ("fmt", "pattern expression = past(4) | sinks(2)"),
        ("compile --emit plan", "The plan of `expression`"),
        ("verify --n 8", "expression equals dense attention"),
        ("tune --dry-run", "expression"),
        ("bench --n 16 --against none --repeats 1", "expression"),
    ],
)
def test_every_command_takes_one(line: str, said: str, sparsec) -> None:
    ran = sparsec(*line.split(), "-e", "past(4) | sinks(2)")
    assert (ran.status, ran.err) == (0, "")
    assert said in ran.out
    assert "-e, --expression EXPR" in " ".join(sparsec(line.split()[0], "--help").out.split())


def test_two_are_compared(sparsec, spat) -> None:
    assert sparsec("diff", "-e", "past(4)", "-e", "pattern p(w = 4) = past(w)").status == 0
    assert sparsec("diff", "-e", "past(4)", spat("pattern r = past(5)\n")).out.splitlines()[2].startswith("A in B")
    assert "only in <expression>" in sparsec("show", "-e", "past(6)", "--n", "16", "--diff", "p.spat").out


def test_equal_names_in_a_table_are_told_apart(sparsec, spat) -> None:
    spat("pattern r = past(5)\n")
    ran = sparsec("cost", "-e", "past(4)", "-e", "past(8)", "p.spat")
    names = [line.split("  ")[0] for line in ran.out.splitlines()[2:]]
    assert names == ["expression: past(4)", "expression: past(8)", "r"]
    rows = json.loads(sparsec("cost", "--json", "-e", "past(4)", "p.spat").out)
    assert [row["file"] for row in rows] == ["<expression>", "p.spat"]


def test_errors_name_the_expression(sparsec) -> None:
    ran = sparsec("check", "-e", "past(4")
    assert ran.status == 1
    assert " --> <expression>:1:" in ran.err
    assert sparsec("check", "-e").status == 2
